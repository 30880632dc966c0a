"""Submission -> Runs -> Attempts. The rows here are the truth; a message on the broker only hints at them."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q


class Submission(models.Model):
    """A person's request: one System, suites, context lengths, pools. Its state is computed from its Runs."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="submissions")
    system = models.ForeignKey("registry.System", on_delete=models.PROTECT, related_name="submissions")
    note = models.CharField(max_length=300, blank=True)
    idempotency_key = models.CharField(max_length=100, blank=True)
    request_digest = models.CharField(
        max_length=64, help_text="of the request that made it: the same key must bring the same request"
    )
    created_at = models.DateTimeField()

    class Meta:
        ordering = ["-created_at", "-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["author", "idempotency_key"],
                condition=~Q(idempotency_key=""),
                name="one_submission_per_author_and_key",
            )
        ]

    def __str__(self) -> str:
        return f"{self.system} by {self.author}"


class Run(models.Model):
    """One unit of execution on one node: System x suite tasks x context length x pool x seed."""

    class State(models.TextChoices):
        QUEUED = "queued", "queued"
        LEASED = "leased", "leased"
        RUNNING = "running", "running"
        UPLOADED = "uploaded", "uploaded"
        ACCEPTED = "accepted", "accepted"
        FAILED = "failed", "failed"
        CANCELLED = "cancelled", "cancelled"
        REJECTED = "rejected", "rejected"

    FINAL = (State.ACCEPTED, State.FAILED, State.CANCELLED, State.REJECTED)
    HELD = (State.LEASED, State.RUNNING, State.UPLOADED)  # some node works on it

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    submission = models.ForeignKey(Submission, on_delete=models.CASCADE, related_name="runs")
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="runs", help_text="the submission's author"
    )
    system = models.ForeignKey("registry.System", on_delete=models.PROTECT, related_name="runs")
    suite = models.ForeignKey("registry.Suite", on_delete=models.PROTECT, related_name="runs")
    tasks = models.JSONField(help_text="names of the suite's tasks")
    context_length = models.PositiveIntegerField()
    pool = models.ForeignKey("fleet.Pool", on_delete=models.PROTECT, related_name="runs")
    samples = models.PositiveIntegerField()
    seed = models.BigIntegerField()
    state = models.CharField(max_length=10, choices=State, default=State.QUEUED)
    priority = models.SmallIntegerField(default=0)
    fence = models.PositiveIntegerField(
        default=0, help_text="rises with every lease; calls with an older one are refused"
    )
    round = models.PositiveSmallIntegerField(default=1, help_text="rises when a person asks for the run again")
    memory_bytes = models.BigIntegerField(default=0, help_text="least memory of a node that can run it; 0: not known")
    held_gpu_s = models.FloatField(default=0, help_text="set aside of its owner's quota until it ends")
    retries_from = models.PositiveSmallIntegerField(
        default=0, help_text="attempts before the last re-run; not counted again"
    )
    failure_class = models.CharField(max_length=20, blank=True)
    failure_message = models.TextField(blank=True)
    done = models.PositiveIntegerField(default=0)
    total = models.PositiveIntegerField(default=0)
    tokens = models.BigIntegerField(default=0)
    eta_s = models.FloatField(null=True)
    progress_note = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField()
    queued_at = models.DateTimeField()
    hinted_at = models.DateTimeField(null=True, help_text="last time that its pool's queue was told")
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["created_at", "pk"]
        indexes = [
            models.Index(
                fields=["pool", "owner", "-priority", "queued_at"],
                condition=Q(state="queued"),
                name="run_queue_by_owner",
            ),
            models.Index(fields=["state", "hinted_at"], name="run_state"),
            # What a board shows of Runs without a number, and whether that has changed.
            models.Index(fields=["suite", "context_length"], condition=~Q(state="accepted"), name="run_without_number"),
            models.Index(fields=["suite", "queued_at"], name="run_newest"),
            models.Index(fields=["suite", "finished_at"], name="run_last_ended"),
        ]

    def __str__(self) -> str:
        return f"{self.suite} at {self.context_length}: {self.system}"

    @property
    def is_final(self) -> bool:
        return self.state in self.FINAL


class Attempt(models.Model):
    """One lease of a Run by a Node. Append-only: a retry is a new row."""

    class ClosedAs(models.TextChoices):
        OPEN = "", "open"
        DONE = "done", "done"
        FAILED = "failed", "failed"
        LOST = "lost", "lost"
        CANCELLED = "cancelled", "cancelled"
        REJECTED = "rejected", "rejected"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="attempts")
    node = models.ForeignKey("fleet.Node", on_delete=models.PROTECT, related_name="attempts")
    number = models.PositiveSmallIntegerField()
    fence = models.PositiveIntegerField()
    leased_at = models.DateTimeField()
    lease_until = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)
    closed_as = models.CharField(max_length=10, choices=ClosedAs, blank=True, default=ClosedAs.OPEN)
    failure_class = models.CharField(max_length=20, blank=True)
    failure_message = models.TextField(blank=True)
    log_head = models.TextField(blank=True)
    log_tail = models.TextField(blank=True)
    log_skipped_bytes = models.BigIntegerField(default=0)
    cancel_requested = models.BooleanField(default=False)
    is_offline = models.BooleanField(default=False, help_text="exported to a machine with no way out: it cannot beat")

    class Meta:
        ordering = ["number"]
        constraints = [
            models.UniqueConstraint(fields=["run"], condition=Q(closed_as=""), name="one_open_attempt_per_run"),
            models.UniqueConstraint(fields=["run", "number"], name="attempts_are_numbered_once"),
        ]

    def __str__(self) -> str:
        return f"attempt {self.number} of run {self.run_id}"


class GpuSpend(models.Model):
    """What one closed Attempt cost its Run's owner, in seconds of a node. Refunded where the work was not their fault."""

    attempt = models.OneToOneField(Attempt, on_delete=models.CASCADE, related_name="spend")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="gpu_spends")
    gpu_s = models.FloatField()
    refunded_for = models.CharField(max_length=20, blank=True, help_text="why it is not counted; empty: counted")
    closed_at = models.DateTimeField()

    class Meta:
        ordering = ["-closed_at", "-pk"]
        indexes = [
            models.Index(fields=["user", "closed_at"], name="spend_by_user"),
            # All that a claim reads of it: the sum is made from the index alone.
            models.Index(
                fields=["user", "closed_at"], include=["gpu_s"], condition=Q(refunded_for=""), name="spend_counted"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.gpu_s:.0f} s{' refunded' if self.refunded_for else ''}"
