"""A Run as the contract sees it."""

from __future__ import annotations

from django.conf import settings

from longboard.registry.suites import suite_info
from longboard.submissions.models import Run
from longboard_tasks.contract import Limits, RunSpec


def spec_of(run: Run) -> RunSpec:
    """The RunSpec that a node executes and that its bundle must carry back unchanged."""
    return RunSpec(
        run_id=str(run.pk),
        system=run.system.as_spec(),
        suite=run.suite.name,
        suite_version=run.suite.version,
        tasks=tuple(run.tasks),
        context_length=run.context_length,
        samples=run.samples,
        seed=run.seed,
        limits=Limits(wall_s=settings.TRAINING_WALL_S if suite_info(run.suite).trains else settings.RUN_WALL_S),
    )
