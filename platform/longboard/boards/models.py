"""Summaries that pages read: written in the transaction that accepts a result, so a page costs a few queries."""

from __future__ import annotations

from django.db import models


class Cell(models.Model):
    """The current number of a System at one context length on one hardware, over all its accepted Runs."""

    system = models.ForeignKey("registry.System", on_delete=models.CASCADE, related_name="cells")
    hardware = models.ForeignKey("fleet.Hardware", on_delete=models.CASCADE, related_name="cells")
    suite = models.ForeignKey("registry.Suite", on_delete=models.CASCADE, related_name="cells")
    task = models.SlugField(max_length=64)
    metric = models.SlugField(max_length=64)
    context_length = models.PositiveIntegerField()
    value = models.FloatField()
    ci_low = models.FloatField()
    ci_high = models.FloatField()
    n = models.PositiveIntegerField()
    unit = models.CharField(max_length=12)
    trust = models.CharField(max_length=14)
    runs = models.PositiveIntegerField()
    last_run = models.ForeignKey("submissions.Run", on_delete=models.PROTECT, related_name="+")
    updated_at = models.DateTimeField(db_index=True)  # the newest one is the page's version

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["suite", "task", "metric", "context_length", "hardware", "system"], name="one_cell_per_key"
            )
        ]

    def __str__(self) -> str:
        return f"{self.metric}@{self.context_length} = {self.value:g} {self.unit}"


class FrontEntry(models.Model):
    """A System's place in one front: (accuracy suite, task and metric; efficiency metric; context length; hardware)."""

    suite = models.ForeignKey("registry.Suite", on_delete=models.CASCADE, related_name="+")
    task = models.SlugField(max_length=64)
    metric = models.SlugField(max_length=64)
    cost_metric = models.SlugField(max_length=64)
    context_length = models.PositiveIntegerField()
    hardware = models.ForeignKey("fleet.Hardware", on_delete=models.CASCADE, related_name="+")
    system = models.ForeignKey("registry.System", on_delete=models.CASCADE, related_name="front_entries")
    on_front = models.BooleanField()
    probability = models.FloatField(help_text="share of bootstrap draws over both axes in which nothing dominates it")
    updated_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["suite", "task", "metric", "cost_metric", "context_length", "hardware", "system"],
                name="one_front_entry_per_key",
            )
        ]

    def __str__(self) -> str:
        return f"{self.system_id} {'on' if self.on_front else 'off'} the front ({self.probability:.2f})"
