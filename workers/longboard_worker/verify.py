"""`longboard verify EXPORT`: checks an evidence export offline. It needs this file's imports and nothing of the site's.

An export is JSON lines (.gz too): one header, then one line a receipt of the site's public log, oldest first, each with the
bundle that it is about and the rows that the site made of it.

    receipts   number by number, each holding the digest of the one before it, each signed with a key that the header names
    bundles    signed with a key that an earlier receipt announced as that node's; digest as the receipt says
    rows       equal to the measurements inside the signed bundle, and to the digest in the receipt
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from longboard_tasks.contract import canonical_json, samples_root, sha256
from longboard_worker.identity import is_signed_by

FORMAT = "longboard-evidence/1"
MAX_PROBLEMS = 50


@dataclass
class Verdict:
    receipts: int = 0
    bundles: int = 0
    rows: int = 0
    first: int = 1
    keys: dict[str, str] = field(default_factory=dict)  # node key -> node, as announced
    problems: list[str] = field(default_factory=list)

    def blame(self, what: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(what)


def verify(lines: Iterator[str], *, server_key: str = "") -> Verdict:
    """Reads an export to its end and collects what is wrong. `server_key`: the key that you trust, if you know it."""
    verdict = Verdict()
    try:
        header = json.loads(next(lines))
        if header["format"] != FORMAT:
            raise ValueError(header["format"])
    except (StopIteration, ValueError, KeyError, TypeError):
        verdict.blame(f"line 1: this is no {FORMAT} export")
        return verdict
    trusted = {server_key} if server_key else set(header["server_keys"])
    verdict.first = expected = header["first"]
    previous = header["previous"]
    for at, line in enumerate(lines, start=2):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            body = json.loads(entry["body"])
        except (ValueError, KeyError, TypeError):
            verdict.blame(f"line {at}: not readable")
            previous = ""
            continue
        name = f"receipt {body.get('number')}"
        digest = sha256(entry["body"].encode())
        if body.get("number") != expected:
            verdict.blame(f"{name}: number {expected} was due")
        if body.get("previous") != previous:
            verdict.blame(f"{name}: it does not continue the receipt before it")
        if entry["key"] not in trusted or entry["key"] != body.get("server_key"):
            verdict.blame(f"{name}: signed with a key that is not the site's")
        elif not is_signed_by(entry["key"], entry["signature"], entry["body"].encode()):
            verdict.blame(f"{name}: the site's signature does not fit")
        previous, expected = digest, (body.get("number") or expected) + 1
        verdict.receipts += 1
        if body.get("kind") == "node-key":
            verdict.keys[body["node_key"]] = body["node"]
        if entry.get("bundle") is not None:
            _check_bundle(verdict, name, body, entry)
    if header.get("last") is not None and expected != header["last"] + 1:
        verdict.blame(f"the export ends at receipt {expected - 1}; its header says {header['last']}")
    return verdict


def _check_bundle(verdict: Verdict, name: str, body: dict[str, Any], entry: dict[str, Any]) -> None:
    bundle = entry["bundle"]
    verdict.bundles += 1
    what = f"{name}, run {body.get('run')}"
    payload = bundle["payload"].encode()
    if sha256(payload) != body.get("bundle_sha256"):
        verdict.blame(f"{what}: the bundle is not the one that was received")
    key = body.get("node_key", "")
    if verdict.keys.get(key, "" if verdict.first == 1 else body.get("node")) != body.get("node"):
        verdict.blame(f"{what}: no receipt announced this key as the node's")
    if bundle["public_key"] != key or not is_signed_by(key, bundle["signature"], payload):
        verdict.blame(f"{what}: the node's signature does not fit the bundle")
    try:
        inside = json.loads(payload)
        told, attempt = inside["measurements"], inside["attempt_id"]
    except (ValueError, KeyError, TypeError):
        verdict.blame(f"{what}: the bundle is not readable")
        return
    if attempt != body.get("attempt"):
        verdict.blame(f"{what}: the bundle belongs to another attempt")
    _check_samples(verdict, what, inside)
    if body.get("kind") != "accepted":
        return
    rows = entry.get("rows", [])
    verdict.rows += len(rows)
    if sha256(canonical_json({"rows": told})) != body.get("rows_sha256"):
        verdict.blame(f"{what}: the receipt names other measurements than the bundle")
    for at, (row, stated) in enumerate(zip(rows, told, strict=False)):
        if row != stated:
            changed = [key for key in stated if row.get(key) != stated[key]]
            verdict.blame(
                f"{what}: row {at} ({stated['task']}/{stated['metric']}) differs from the signed bundle in {', '.join(changed)}"
            )
    if len(rows) != len(told):
        verdict.blame(f"{what}: {len(rows)} rows, but the signed bundle has {len(told)}")


def _check_samples(verdict: Verdict, what: str, inside: dict[str, Any]) -> None:
    from longboard_tasks.contract import SampleRecord

    provenance = inside.get("manifest", {}).get("provenance") or {}
    root = provenance.get("samples_root")
    try:
        if root and root != samples_root(SampleRecord.model_validate(sample) for sample in inside["samples"]):
            verdict.blame(f"{what}: the samples are not those of the manifest's root")
    except (ValueError, KeyError):
        verdict.blame(f"{what}: the samples are not readable")


def open_export(path: Path) -> TextIO:
    return gzip.open(path, "rt") if path.suffix == ".gz" else path.open()


def verify_command(args: argparse.Namespace) -> int:
    """0: everything fits. 1: something does not, named line by line. 2: no such file."""
    try:
        with open_export(args.export) as file:
            verdict = verify(iter(file), server_key=args.server_key)
    except OSError as error:
        print(f"{args.export}: {error.strerror or error}", file=sys.stderr)
        return 2
    for problem in verdict.problems:
        print(f"WRONG  {problem}")
    span = f"{verdict.receipts} receipts from number {verdict.first} on, {verdict.bundles} bundles, {verdict.rows} rows"
    if verdict.problems:
        print(f"{args.export}: {len(verdict.problems)} problems in {span}.")
        return 1
    print(f"{args.export}: everything fits: {span}.")
    return 0


def add_verify(commands: Any) -> None:
    parser = commands.add_parser("verify", help="check an evidence export offline: signatures, hash chain, rows")
    parser.add_argument("export", type=Path, help="evidence.jsonl or evidence.jsonl.gz, downloaded from a site")
    parser.add_argument("--server-key", default="", help="the site's key, hex, if you have it from elsewhere")
    parser.set_defaults(run=verify_command)


def main(argv: list[str] | None = None) -> int:
    """The `longboard` command: what anyone may do with a site's exports."""
    parser = argparse.ArgumentParser(prog="longboard", description="Check what a Longboard site published.")
    add_verify(parser.add_subparsers(required=True, metavar="COMMAND"))
    args = parser.parse_args(argv)
    return args.run(args)


if __name__ == "__main__":
    sys.exit(main())
