"""Hardware, Pools, Nodes: where Runs execute, and who vouches for it."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

from django.conf import settings
from django.core.validators import MinValueValidator, URLValidator
from django.db import models


class Hardware(models.Model):
    """A spec sheet: results are compared only within one."""

    slug = models.SlugField(max_length=80, unique=True)
    title = models.CharField(max_length=120)
    kind = models.CharField(max_length=8, choices=[("cpu", "CPU"), ("cuda", "CUDA GPU")])
    memory_bytes = models.BigIntegerField()
    peak_flops = models.FloatField(null=True, blank=True, help_text="dense bf16 FLOP/s, vendor's figure")
    bandwidth_bytes_per_s = models.FloatField(null=True, blank=True)
    usd_per_hour = models.FloatField(
        "USD per hour",
        null=True,
        blank=True,
        validators=[MinValueValidator(0.0)],
        help_text="what an hour of it costs; boards show cost in money from it, with its source. Empty: no such cost",
    )
    price_source = models.CharField(max_length=160, blank=True, help_text="who says so: a price list, a contract")
    price_url = models.CharField(
        max_length=300,
        blank=True,
        validators=[URLValidator(["https", "http"])],
        help_text="where a reader can look it up",
    )
    price_day = models.DateField("price as of", null=True, blank=True)
    updated_at = models.DateTimeField(auto_now=True)  # the newest one is the version of all prices

    class Meta:
        ordering = ["slug"]
        verbose_name_plural = "hardware"
        constraints = [
            models.CheckConstraint(
                condition=models.Q(usd_per_hour__isnull=True)
                | (models.Q(usd_per_hour__gte=0) & ~models.Q(price_source="")),
                name="a_price_has_a_source",
                violation_error_message="A price needs its source: readers see both.",
            )
        ]

    def __str__(self) -> str:
        return self.title


class Pool(models.Model):
    """A queue of like nodes with one owner. First-party pools are woken through the broker; others pull over HTTPS."""

    slug = models.SlugField(max_length=80, unique=True)
    title = models.CharField(max_length=120)
    hardware = models.ForeignKey(Hardware, on_delete=models.PROTECT, related_name="pools")
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="pools"
    )
    is_first_party = models.BooleanField(default=False)
    accepts_public_runs = models.BooleanField(default=True)

    class Meta:
        ordering = ["slug"]

    def __str__(self) -> str:
        return self.title

    @property
    def queue(self) -> str:
        return f"pool.{self.slug}"


class EnrolmentCode(models.Model):
    """A one-use code that lets a machine join a pool. Stored as a digest."""

    pool = models.ForeignKey(Pool, on_delete=models.CASCADE, related_name="enrolment_codes")
    digest = models.CharField(max_length=64, unique=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)
    needs_approval = models.BooleanField(default=False, help_text="the machine waits until its pool's owner lets it in")

    def __str__(self) -> str:
        return f"code for {self.pool.slug}, until {self.expires_at:%Y-%m-%d %H:%M}"


class Node(models.Model):
    """One registered machine. Its key was made there: we hold the public half. Its tokens are signed, never stored."""

    class State(models.TextChoices):
        PENDING = "pending", "waits for approval"
        ACTIVE = "active", "active"
        PAUSED = "paused", "paused"
        DRAINING = "draining", "draining"
        REVOKED = "revoked", "revoked"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=80)
    pool = models.ForeignKey(Pool, on_delete=models.PROTECT, related_name="nodes")
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="nodes")
    state = models.CharField(max_length=10, choices=State, default=State.ACTIVE)
    public_key = models.CharField(max_length=64, unique=True, help_text="Ed25519, hex")
    past_keys = models.JSONField(default=list, help_text="public keys before the last rotation, oldest first")
    credential_serial = models.PositiveIntegerField(default=1, help_text="raised to end every token at once")
    report = models.JSONField(default=dict, help_text="HardwareReport of the enrolment")
    software = models.JSONField(default=dict)
    self_test = models.JSONField(default=dict, help_text="SelfTestReport of the enrolment; empty: none was sent")
    state_note = models.CharField(max_length=300, blank=True, help_text="why it is not active")
    enrolled_at = models.DateTimeField()
    last_seen_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["pool__slug", "name"]
        constraints = [models.UniqueConstraint(fields=["pool", "name"], name="one_node_name_per_pool")]

    def __str__(self) -> str:
        return self.name

    def is_alive(self, now: datetime) -> bool:
        return self.last_seen_at is not None and self.last_seen_at > silent_since(now)


def silent_since(now: datetime) -> datetime:
    """A node that was last heard from before this is silent: two beats and a bit."""
    return now - timedelta(seconds=2.5 * settings.BEAT_S + 5)
