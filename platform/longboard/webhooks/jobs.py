"""Celery entry points."""

from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from longboard.webhooks.services import deliver_due, find_events


@shared_task(name="longboard.webhooks.jobs.tell", ignore_result=True, expires=60)
def tell() -> None:
    find_events(now=timezone.now())
    deliver_due(now=timezone.now())
