"""Result bundles that ship with the project: measured by us, signed, loaded into a fresh site by `manage.py load_baselines`.

A folder a machine, because a key vouches for one machine: `public_key` (Ed25519, hex) and `<model>.jsonl.gz`, one SignedBundle
a line. `pack` makes them. Standard library and the contract only: the platform reads this.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from longboard_tasks.contract import ResultBundle, SignedBundle

FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Baseline:
    """One signed bundle and what it says."""

    machine: str  # the folder's name
    signed: SignedBundle
    bundle: ResultBundle


def machines(folder: Path = FOLDER) -> list[Path]:
    """The folders that hold a machine's bundles, by name."""
    return sorted(path.parent for path in folder.glob("*/public_key"))


def public_key(machine: Path) -> str:
    return (machine / "public_key").read_text().strip()


def read_baselines(machine: Path) -> Iterator[Baseline]:
    """Every bundle of a machine, in the order of the files. Raises pydantic's ValidationError for a line that is none."""
    for path in sorted(machine.glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                signed = SignedBundle.model_validate_json(line)
                yield Baseline(machine.name, signed, ResultBundle.model_validate_json(signed.payload))
