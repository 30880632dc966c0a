"""How far the load of the shipped bundles is: a small file, since the web server is another process than the loader."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

STALE_S = 30  # a bundle takes 50 ms: whoever has not been heard of for so long was killed


@dataclass(frozen=True, slots=True)
class Loading:
    done: int
    total: int


def say_loading(done: int, total: int) -> None:
    """Told after each bundle; the last one ends it."""
    path = _path()
    if done == total:
        path.unlink(missing_ok=True)
        return
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps({"done": done, "total": total}))
    partial.replace(path)


def loading_now() -> Loading | None:
    """None: no load is under way."""
    try:
        if time.time() - _path().stat().st_mtime > STALE_S:
            return None
        return Loading(**json.loads(_path().read_text()))
    except OSError:
        return None


def _path() -> Path:
    return Path(settings.DATA_DIR) / "loading-baselines.json"
