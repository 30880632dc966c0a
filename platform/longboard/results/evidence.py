"""The evidence export: the public log with the bundles that it is about, as JSON lines for `longboard verify`.

Line 1 is a header; then one line a receipt. Rows are read from the tables that boards are made of, not from the bundles: a
number changed there shows.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

from longboard import server_key
from longboard.results.models import Bundle, Measurement, Receipt
from longboard_tasks import contract

FORMAT = "longboard-evidence/1"
BATCH = 50
ROW_FIELDS = tuple(contract.Measurement.model_fields)


def evidence_lines(*, after: int = 0, limit: int | None = None) -> Iterator[str]:
    """Receipts number `after` + 1 to at most `after` + `limit`. Memory is bounded by one batch of bundles."""
    numbers = Receipt.objects.filter(number__gt=after).order_by("number").values_list("number", flat=True)
    span = list(numbers[:limit] if limit else numbers)
    before = Receipt.objects.filter(number=after).first()
    keys = {server_key.public_key(), *Receipt.objects.order_by().values_list("public_key", flat=True).distinct()}
    yield _line(
        {
            "format": FORMAT,
            "first": after + 1,
            "last": span[-1] if span else after,
            "previous": before.digest if before else "0" * 64,
            "server_keys": sorted(keys),
        }
    )
    for start in range(0, len(span), BATCH):
        for receipt in Receipt.objects.filter(number__in=span[start : start + BATCH]).select_related("bundle"):
            yield _line(_entry(receipt))


def _entry(receipt: Receipt) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "body": receipt.body,
        "key": receipt.public_key,
        "signature": receipt.signature,
        "bundle": None,
    }
    bundle = receipt.bundle
    # Once for each bundle: with the receipt that settles it, or with the only one that a late bundle has.
    if bundle is not None and (receipt.kind != "received" or bundle.state == Bundle.State.LATE):
        entry["bundle"] = {
            "payload": gzip.decompress(bytes(bundle.payload_gz)).decode(),
            "public_key": bundle.public_key,
            "signature": bundle.signature,
        }
    if receipt.kind == "accepted":
        rows = Measurement.objects.filter(bundle=bundle).order_by("pk").values(*ROW_FIELDS)
        entry["rows"] = [contract.Measurement.model_validate(row).model_dump(mode="json") for row in rows]
    return entry


def _line(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n"
