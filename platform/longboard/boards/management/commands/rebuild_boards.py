"""Makes everything that boards read again: Cells from the Measurements, means over whole suites, Columns, rank ranges, fronts.

For repair, after a restore, and after an update that adds any of these or works any of them out by another rule.
"""

from __future__ import annotations

import time
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from longboard.boards.columns import rebuild_all
from longboard.boards.ranking import refresh_due
from longboard.boards.summaries import rebuild_means, rebuild_tasks


class Command(BaseCommand):
    help = __doc__ or ""

    def handle(self, *args: Any, **options: Any) -> None:
        start = time.monotonic()
        tasks = rebuild_tasks(now=timezone.now())
        self.stdout.write(f"{tasks} numbers of single tasks written in {time.monotonic() - start:.1f} s.")
        start = time.monotonic()
        means = rebuild_means(now=timezone.now())
        self.stdout.write(f"{means} means over whole suites written in {time.monotonic() - start:.1f} s.")
        start = time.monotonic()
        packed = rebuild_all(now=timezone.now())
        self.stdout.write(f"{packed} columns packed in {time.monotonic() - start:.1f} s.")
        start, places = time.monotonic(), 0
        while done := refresh_due(now=timezone.now()):
            places += done
        self.stdout.write(f"Ranks and fronts of {places} places worked out in {time.monotonic() - start:.1f} s.")
