"""Shapes of public models, one small JSON file each: for random weights and for the cost model. No torch here.

A file has the configuration class in transformers with its settings, the public model whose sizes they are, and how many
positions that model was published with (None: it has no such number). `max_position_embeddings` in the settings is larger,
so that memory and time can be measured beyond it; pages say where that is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Shape:
    id: str
    title: str
    family: str
    like: str  # the public model
    positions: int | None  # published
    class_name: str  # of the configuration in transformers
    settings: dict[str, Any]
    note: str = ""


@cache
def load_shapes() -> dict[str, Shape]:
    """Every shape by id, in the order of the ids."""
    shapes = {}
    for path in sorted(FOLDER.glob("*.json")):
        body = json.loads(path.read_text())
        shapes[path.stem] = Shape(
            id=path.stem,
            title=body["title"],
            family=body["family"],
            like=body["like"],
            positions=body["positions"],
            class_name=body["class"],
            settings=body["settings"],
            note=body.get("note", ""),
        )
    return shapes
