"""Self-reported results: numbers that a System's own people state, with their source. No node of ours has seen them.

They live apart from Measurements and Cells, so that nothing verified can be mixed with them by oversight: a board reads them only
when its reader asks for that trust level.
"""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.db import models

from longboard.results.models import Trust


class Report(models.Model):
    """What one person reported of one System at once. Withdrawn, it stays to be read, and its numbers leave the boards."""

    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="reports")
    system = models.ForeignKey("registry.System", on_delete=models.PROTECT, related_name="reports")
    hardware_text = models.CharField(max_length=160, help_text="as its author calls it")
    hardware = models.ForeignKey(
        "fleet.Hardware",
        null=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="when the text names one of ours",
    )
    source_url = models.CharField(max_length=300)
    note = models.CharField(max_length=300, blank=True)
    idempotency_key = models.CharField(max_length=100, blank=True)
    request_digest = models.CharField(max_length=64)
    created_at = models.DateTimeField(db_index=True)
    withdrawn_at = models.DateTimeField(null=True, db_index=True)
    withdrawn_because = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["author", "idempotency_key"],
                condition=~models.Q(idempotency_key=""),
                name="one_report_per_idempotency_key",
            )
        ]

    def __str__(self) -> str:
        return f"report {self.pk}{' (withdrawn)' if self.withdrawn_at else ''}"

    @property
    def trust(self) -> str:
        return str(Trust.SELF_REPORTED)

    def is_live(self, at: datetime) -> bool:
        return self.created_at <= at and (self.withdrawn_at is None or self.withdrawn_at > at)


class ReportedNumber(models.Model):
    """One number of a Report, in the unit of its metric. Immutable."""

    report = models.ForeignKey(Report, on_delete=models.CASCADE, related_name="numbers")
    system = models.ForeignKey("registry.System", on_delete=models.PROTECT, related_name="+")
    suite = models.ForeignKey("registry.Suite", on_delete=models.PROTECT, related_name="+")
    task = models.SlugField(max_length=64)
    metric = models.SlugField(max_length=64)
    context_length = models.PositiveIntegerField()
    value = models.FloatField()
    ci_low = models.FloatField()
    ci_high = models.FloatField()
    n = models.PositiveIntegerField()
    unit = models.CharField(max_length=12)

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["report", "suite", "task", "metric", "context_length"], name="one_reported_number_per_key"
            )
        ]
        indexes = [models.Index(fields=["suite", "task", "metric", "context_length"], name="reported_slice")]

    def __str__(self) -> str:
        return f"{self.metric}@{self.context_length} = {self.value:g} {self.unit}, self-reported"
