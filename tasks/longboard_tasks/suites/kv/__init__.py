"""`kv@1`: what a smaller cache costs. `kept_positions` is loaded when asked for: the platform reads `plan` without torch."""

from __future__ import annotations

from typing import Any

__all__ = ["kept_positions"]


def __getattr__(name: str) -> Any:
    if name == "kept_positions":
        from longboard_tasks.suites.kv.positions import kept_positions

        return kept_positions
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
