"""Cursors of keyset pages: opaque, signed, and good for the one list that gave them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from django.utils.crypto import constant_time_compare, salted_hmac

from longboard.errors import BadRequest

SIGNATURE = 12  # characters; a forged cursor would at worst start a page elsewhere in the same public list


def after_pk(listing: str, position: int | str) -> str:
    """The cursor of the page that starts behind `position`, a primary key or another unique sort key."""
    body = base64.urlsafe_b64encode(str(position).encode()).decode().rstrip("=")
    return f"{body}.{_sign(listing, body)}"


def position_of(listing: str, cursor: str) -> str:
    """What `after_pk` was given; empty for no cursor. Raises BadRequest for one that this list did not make."""
    if not cursor:
        return ""
    body, _, signature = cursor.partition(".")
    try:
        if not constant_time_compare(signature, _sign(listing, body)):
            raise ValueError
        return base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)).decode()
    except (ValueError, binascii.Error) as error:
        raise BadRequest("This cursor is not one of this list's. Start again without it.", field="cursor") from error


def next_cursor(listing: str, rows: Sequence[Any], limit: int) -> str | None:
    """`rows` were read with one more than `limit`: the cursor of the next page, or None on the last."""
    return after_pk(listing, rows[limit - 1].pk) if len(rows) > limit else None


def _sign(listing: str, body: str) -> str:
    return salted_hmac("longboard.cursor", f"{listing}/{body}").hexdigest()[:SIGNATURE]
