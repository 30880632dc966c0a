"""What a person may type after --model: a zoo id, a pinned hub name, or a folder."""

from __future__ import annotations

from pathlib import Path

from longboard_tasks.contract import ModelRef
from longboard_tasks.zoo.registry import ZOO


def model_ref(name: str) -> ModelRef:
    """Raises ValueError with what may be written."""
    if name in ZOO:
        return ModelRef(source="zoo", id=name)
    if (folder := Path(name)).is_dir():
        return ModelRef(source="upload", id=folder.resolve().name)
    repository, _, revision = name.partition("@")
    if "/" in repository and revision:
        return ModelRef(source="hub", id=repository, revision=revision)
    raise ValueError(
        f'"{name}" is no zoo model ({", ".join(ZOO)}), no folder, and no hub name of the form owner/name@40-digit-commit.'
    )


def models_folder(name: str, models_dir: Path | None) -> Path | None:
    """Where the engine looks for weights: beside a folder that was named, else the given folder."""
    return Path(name).resolve().parent if name not in ZOO and Path(name).is_dir() else models_dir
