"""Celery entry points."""

from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from longboard.boards.ranking import refresh_due


@shared_task(name="longboard.boards.jobs.refresh_boards", ignore_result=True, expires=60)
def refresh_boards() -> None:
    refresh_due(now=timezone.now())
