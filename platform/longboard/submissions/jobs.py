"""Celery entry points."""

from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from longboard.results.services import check_uploaded
from longboard.submissions.sweep import sweep as sweep_now


@shared_task(name="longboard.submissions.jobs.sweep", ignore_result=True, expires=60)
def sweep() -> None:
    now = timezone.now()
    sweep_now(now=now)
    check_uploaded(now=now)
