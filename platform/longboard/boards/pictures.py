"""A board's front at both widths, drawn once for all pages and orders of its table: these do not change the picture.

Nothing else on a cold page is as dear to work out.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np

from longboard.boards.figures import NARROW, FrontPoint, draw_front
from longboard_tasks.catalogue.metrics import MetricInfo

MOST = 96  # pairs of pictures, 15 MB with 60 marks each: eight lengths and twelve costs

Pair = tuple[dict[str, Any], dict[str, Any]]

_drawn: OrderedDict[tuple[Any, ...], Pair] = OrderedDict()
_lock = threading.Lock()


def draw_wide_and_narrow(
    points: Sequence[FrontPoint], *, gain: MetricInfo, cost: MetricInfo, rest: tuple[np.ndarray, np.ndarray]
) -> Pair:
    """Both forms of `draw_front`, which follow from these arguments alone: `points` and `rest` in an order that no table sets.

    Readers share what comes back: nobody writes to it.
    """
    digest = hashlib.sha256(b"".join(part.tobytes() for part in rest)).digest()
    key = (tuple(points), gain.name, cost.name, digest)
    with _lock:
        found = _drawn.get(key)
        if found is not None:
            _drawn.move_to_end(key)
            return found
    words: dict[str, Any] = {"gain": gain, "cost": cost, "rest": rest}
    pair = draw_front(points, **words), draw_front(points, **words, size=NARROW)
    with _lock:
        _drawn[key] = pair
        while len(_drawn) > MOST:
            _drawn.popitem(last=False)
    return pair
