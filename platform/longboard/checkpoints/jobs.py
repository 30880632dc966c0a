"""Celery entry points."""

from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from longboard.checkpoints.services import reap as reap_now


@shared_task(name="longboard.checkpoints.jobs.reap", ignore_result=True, expires=3_600)
def reap() -> None:
    reap_now(now=timezone.now())
