"""The public log: each receipt holds the digest of the one before it and is signed by the site.

Whoever kept one receipt can tell later whether anything before it was changed. `longboard verify` checks an export offline.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import transaction

from longboard import server_key
from longboard.results.models import Bundle, ChainHead, Receipt
from longboard_tasks.contract import canonical_json, sha256


@transaction.atomic
def append_receipt(kind: str, facts: dict[str, Any], *, now: datetime, bundle: Bundle | None = None) -> Receipt:
    """Adds a link in the caller's transaction: either both are there or neither.

    Locks the chain's end until the transaction ends, so call it last: after the Run's and the hardware's row.
    """
    ChainHead.objects.get_or_create(pk=1)
    head = ChainHead.objects.select_for_update().get(pk=1)
    number = head.number + 1
    body = canonical_json(
        {
            "schema": 1,
            "number": number,
            "previous": head.digest,
            "kind": kind,
            "at": now.isoformat(),
            "server_key": server_key.public_key(),
            **facts,
        }
    )
    receipt = Receipt.objects.create(
        number=number,
        kind=kind,
        body=body.decode(),
        digest=sha256(body),
        previous=head.digest,
        public_key=server_key.public_key(),
        signature=server_key.sign(body),
        bundle=bundle,
        created_at=now,
    )
    head.number, head.digest = number, receipt.digest
    head.save(update_fields=["number", "digest"])
    return receipt
