"""People and their API tokens."""

from __future__ import annotations

import hashlib
from datetime import datetime

from django.contrib.auth.models import AbstractUser
from django.db import models


class User(AbstractUser):
    """A person who signs in. Our own table from the first migration on, so that it can grow."""

    gpu_quota_s = models.FloatField(
        null=True, blank=True, help_text="GPU-seconds in 30 days; empty: what the site gives everybody"
    )


def digest_secret(secret: str) -> str:
    """How a token is stored. Tokens carry 256 random bits, so one fast hash is enough; passwords never come here."""
    return hashlib.sha256(secret.encode()).hexdigest()


class ApiToken(models.Model):
    """A named, expiring token of a person. The token itself is shown once and never stored."""

    class Scope(models.TextChoices):
        READ = "read", "read"
        REPORT = "report", "read and report own results"
        SUBMIT = "submit", "read and submit"

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=80)
    scope = models.CharField(max_length=10, choices=Scope, default=Scope.SUBMIT)
    digest = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-created_at", "-pk"]

    def __str__(self) -> str:
        return self.name

    def is_live(self, now: datetime) -> bool:
        return self.revoked_at is None and now < self.expires_at
