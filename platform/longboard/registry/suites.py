"""A stored suite version as the catalogue's own class."""

from __future__ import annotations

from longboard.registry.models import Suite
from longboard_tasks.catalogue.suites import SuiteInfo, TaskInfo


def suite_info(suite: Suite) -> SuiteInfo:
    """The suite as the catalogue had it when this version was current: read back from the row, so old ones stay true."""
    stored = suite.definition
    known = {name: stored[name] for name in SuiteInfo.__dataclass_fields__ if name in stored}
    tasks = tuple(
        TaskInfo(**{**task, "metrics": tuple(task["metrics"]), "lengths": tuple(task.get("lengths", ()))})
        for task in stored["tasks"]
    )
    return SuiteInfo(**{**known, "tasks": tasks})
