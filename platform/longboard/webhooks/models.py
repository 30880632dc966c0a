"""Webhooks: a person's own address that is told when runs of their submissions end."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models


class Webhook(models.Model):
    """One https address of a person. `secret` signs what goes there; it is shown once, and kept since we have to sign."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="webhooks")
    url = models.URLField(max_length=500)
    secret = models.CharField(max_length=64)
    created_at = models.DateTimeField()
    seen_until = models.DateTimeField(help_text="runs that ended before are told, or were from before the webhook")
    failures = models.PositiveIntegerField(default=0, help_text="deliveries given up in a row")
    stopped_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-created_at", "-pk"]

    def __str__(self) -> str:
        return self.url


class Delivery(models.Model):
    """One event on its way to one webhook, with what became of it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, related_name="deliveries")
    run = models.ForeignKey("submissions.Run", on_delete=models.CASCADE, related_name="+")
    ended_at = models.DateTimeField(help_text="of the run: a repeated run is another event")
    body = models.TextField()
    created_at = models.DateTimeField()
    attempts = models.PositiveSmallIntegerField(default=0)
    next_at = models.DateTimeField(null=True, db_index=True, help_text="null: delivered, or given up")
    status = models.PositiveSmallIntegerField(null=True)
    error = models.CharField(max_length=200, blank=True)
    delivered_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-created_at", "-pk"]
        constraints = [
            models.UniqueConstraint(fields=["webhook", "run", "ended_at"], name="one_delivery_per_event"),
        ]

    def __str__(self) -> str:
        return f"{self.run_id} to {self.webhook_id}"
