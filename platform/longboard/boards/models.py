"""Summaries that pages read: written in the transaction that accepts a result, so a page costs a few queries."""

from __future__ import annotations

from uuid import uuid4

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
    updated_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["suite", "task", "metric", "context_length", "hardware", "system"], name="one_cell_per_key"
            )
        ]
        indexes = [models.Index(fields=["system", "suite", "task", "metric"], name="cell_of_a_system")]

    def __str__(self) -> str:
        return f"{self.metric}@{self.context_length} = {self.value:g} {self.unit}"


class PastCell(models.Model):
    """What a Cell said from `since` until `until`, when another number took its place. Append-only."""

    system = models.ForeignKey("registry.System", on_delete=models.CASCADE, related_name="past_cells")
    hardware = models.ForeignKey("fleet.Hardware", on_delete=models.CASCADE, related_name="+")
    suite = models.ForeignKey("registry.Suite", on_delete=models.CASCADE, related_name="+")
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
    since = models.DateTimeField()
    until = models.DateTimeField()

    class Meta:
        ordering = ["pk"]
        indexes = [
            models.Index(fields=["suite", "task", "metric", "hardware", "until"], name="past_cell_slice"),
            models.Index(fields=["system", "until"], name="past_cell_of_a_system"),
        ]

    def __str__(self) -> str:
        return f"{self.metric}@{self.context_length} = {self.value:g} {self.unit} until {self.until:%Y-%m-%d %H:%M}"


class CellScores(models.Model):
    """The score of each sample behind an accuracy Cell, so that two Systems are compared on the same samples.

    `seeds`: [[seed, samples], ...] rising. `scores`: little-endian float32, seed by seed, sample 0 first.
    """

    cell = models.OneToOneField(Cell, on_delete=models.CASCADE, primary_key=True, related_name="scores")
    seeds = models.JSONField()
    scores = models.BinaryField()

    def __str__(self) -> str:
        return f"scores of cell {self.cell_id}"


class Column(models.Model):
    """All Cells of one metric at one length on one hardware, packed by System id: what a board reads in one go.

    Derived: `columns.rebuild` makes it again from the Cells. `systems` and `numbers` are described there.
    """

    suite = models.ForeignKey("registry.Suite", on_delete=models.CASCADE, related_name="+")
    task = models.SlugField(max_length=64)
    metric = models.SlugField(max_length=64)
    context_length = models.PositiveIntegerField()
    hardware = models.ForeignKey("fleet.Hardware", on_delete=models.CASCADE, related_name="+")
    size = models.PositiveIntegerField(help_text="Systems with a number here")
    systems = models.BinaryField()
    numbers = models.BinaryField()
    updated_at = models.DateTimeField(db_index=True)  # of its newest Cell; the newest Column is a page's version
    ranked_at = models.DateTimeField(null=True, help_text="when the rank ranges were worked out; null: they are due")
    revision = models.UUIDField(default=uuid4, help_text="of `systems` and `numbers`: another one with every change")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["suite", "task", "metric", "hardware", "context_length"], name="one_column_per_slice"
            )
        ]
        indexes = [models.Index(fields=["suite", "updated_at"], name="column_version")]

    def __str__(self) -> str:
        return f"{self.metric}@{self.context_length}: {self.size} systems"


class FrontEntry(models.Model):
    """A System's place in one front: (accuracy suite, task and metric; efficiency metric; context length; hardware).

    Only Systems that can be on it have a row: on the front, or in at least one draw.
    """

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
        indexes = [models.Index(fields=["hardware", "context_length", "cost_metric"], name="fronts_at_a_place")]

    def __str__(self) -> str:
        return f"{self.system_id} {'on' if self.on_front else 'off'} the front ({self.probability:.2f})"
