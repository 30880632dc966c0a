"""Sign the bundles of `zoo.evaluate` and put them where `manage.py load_baselines` looks.

    python -m longboard_tasks.baselines.pack BUNDLES --machine xeon-2-cores --key ~/baseline.key

The key is made when it is not there, readable by its owner alone, and belongs outside the repository.
"""

from __future__ import annotations

import argparse
import gzip
import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from longboard_tasks.baselines import FOLDER
from longboard_tasks.contract import ResultBundle, SignedBundle, canonical_json


def load_key(path: Path) -> Ed25519PrivateKey:
    """The private key in `path` (32 bytes, hex), made first if need be."""
    if not path.exists():
        key = Ed25519PrivateKey.generate().private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(key.hex())
    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(path.read_text()))


def sign(bundle: ResultBundle, key: Ed25519PrivateKey) -> SignedBundle:
    payload = canonical_json(bundle)
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
    return SignedBundle(payload=payload.decode(), public_key=public, signature=key.sign(payload).hex())


def pack(bundles: Path, machine: Path, key: Ed25519PrivateKey) -> int:
    """Every file BUNDLES/<model>/*.json, signed, as machine/<model>.jsonl.gz; how many there were."""
    machine.mkdir(parents=True, exist_ok=True)
    count = 0
    for folder in sorted(path for path in bundles.iterdir() if path.is_dir()):
        found = [ResultBundle.model_validate_json(path.read_bytes()) for path in sorted(folder.glob("*.json"))]
        lines = b"".join(canonical_json(sign(bundle, key)) + b"\n" for bundle in found)
        (machine / f"{folder.name}.jsonl.gz").write_bytes(gzip.compress(lines, 9, mtime=0))
        count += len(found)
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
    (machine / "public_key").write_text(public + "\n")
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description="Sign bundles and ship them as baselines.")
    parser.add_argument("bundles", type=Path)
    parser.add_argument("--machine", required=True, help="folder name, say h100-80gb")
    parser.add_argument("--key", type=Path, required=True)
    arguments = parser.parse_args()
    count = pack(arguments.bundles, FOLDER / arguments.machine, load_key(arguments.key))
    print(f"{count} bundles in {FOLDER / arguments.machine}")


if __name__ == "__main__":
    main()
