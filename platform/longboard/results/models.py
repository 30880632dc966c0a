"""What nodes handed in: bundles as they came, and the numbers and samples read out of them."""

from __future__ import annotations

from django.db import models


class Trust(models.TextChoices):
    SELF_REPORTED = "self-reported", "self-reported"
    MEASURED = "measured", "measured"
    REPRODUCED = "reproduced", "reproduced"


class Bundle(models.Model):
    """A signed result bundle, kept byte for byte. At most one of an Attempt."""

    class State(models.TextChoices):
        RECEIVED = "received", "received"
        ACCEPTED = "accepted", "accepted"
        LATE = "late", "late"  # of a lost Attempt: kept, never counted
        REJECTED = "rejected", "rejected"

    attempt = models.OneToOneField("submissions.Attempt", on_delete=models.PROTECT, related_name="bundle")
    node = models.ForeignKey("fleet.Node", on_delete=models.PROTECT, related_name="bundles")
    state = models.CharField(max_length=10, choices=State)
    reason = models.TextField(blank=True)
    digest = models.CharField(max_length=64, db_index=True, help_text="SHA-256 of the payload's UTF-8 bytes")
    payload_gz = models.BinaryField()
    public_key = models.CharField(max_length=64)
    signature = models.CharField(max_length=128)
    manifest = models.JSONField(default=dict)
    received_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"bundle {self.digest[:12]} ({self.state})"


class UploadChunk(models.Model):
    """A piece of a bundle under way. Gone once the bundle is whole."""

    attempt = models.ForeignKey("submissions.Attempt", on_delete=models.CASCADE, related_name="chunks")
    offset = models.PositiveIntegerField(help_text="bytes before it")
    content = models.BinaryField()
    sha256 = models.CharField(max_length=64)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ["offset"]
        constraints = [models.UniqueConstraint(fields=["attempt", "offset"], name="one_chunk_per_offset")]

    def __str__(self) -> str:
        return f"{self.offset}: {self.sha256[:12]}"


class ChainHead(models.Model):
    """One row: the end of the receipts' chain. Its lock puts receipts in a row."""

    number = models.PositiveBigIntegerField(default=0)
    digest = models.CharField(max_length=64, default="0" * 64)

    def __str__(self) -> str:
        return f"{self.number}: {self.digest[:12]}"


class Receipt(models.Model):
    """One link of the public log: what the site says happened, signed, with the digest of the link before it.

    `body` is canonical JSON, kept byte for byte: its digest is the link, its signature is the site's.
    """

    number = models.PositiveBigIntegerField(unique=True)
    kind = models.CharField(max_length=10)
    body = models.TextField()
    digest = models.CharField(max_length=64, unique=True)
    previous = models.CharField(max_length=64, unique=True, help_text="digest of the link before: no fork")
    public_key = models.CharField(max_length=64)
    signature = models.CharField(max_length=128)
    bundle = models.ForeignKey(Bundle, null=True, on_delete=models.PROTECT, related_name="receipts")
    created_at = models.DateTimeField()

    class Meta:
        ordering = ["number"]

    def __str__(self) -> str:
        return f"{self.number}: {self.kind}"


class Measurement(models.Model):
    """One number of an accepted bundle, with interval, n and unit. Immutable."""

    run = models.ForeignKey("submissions.Run", on_delete=models.PROTECT, related_name="measurements")
    bundle = models.ForeignKey(Bundle, on_delete=models.PROTECT, related_name="measurements")
    system = models.ForeignKey("registry.System", on_delete=models.PROTECT, related_name="measurements")
    hardware = models.ForeignKey("fleet.Hardware", on_delete=models.PROTECT, related_name="measurements")
    suite = models.ForeignKey("registry.Suite", on_delete=models.PROTECT, related_name="measurements")
    task = models.SlugField(max_length=64)
    metric = models.SlugField(max_length=64)
    context_length = models.PositiveIntegerField()
    depth = models.FloatField(null=True)
    value = models.FloatField()
    ci_low = models.FloatField()
    ci_high = models.FloatField()
    n = models.PositiveIntegerField()
    unit = models.CharField(max_length=12)
    trust = models.CharField(max_length=14, choices=Trust)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ["pk"]
        indexes = [
            models.Index(
                fields=["system", "hardware", "suite", "task", "metric", "context_length"], name="measurement_cell"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.metric}@{self.context_length} = {self.value:g} {self.unit}"


class Sample(models.Model):
    """One prompt's answer and score. The score is the platform's own, worked out again from the answer."""

    run = models.ForeignKey("submissions.Run", on_delete=models.PROTECT, related_name="sample_rows")
    task = models.SlugField(max_length=64)
    index = models.PositiveIntegerField()
    depth = models.FloatField(null=True)
    prompt_tokens = models.PositiveIntegerField()
    prompt_sha256 = models.CharField(max_length=64)
    prompt_tail = models.TextField(blank=True)
    target = models.TextField()
    answer = models.TextField(blank=True)
    score = models.FloatField()
    truncated = models.BooleanField(default=False)

    class Meta:
        ordering = ["task", "index"]
        constraints = [models.UniqueConstraint(fields=["run", "task", "index"], name="one_row_per_sample")]

    def __str__(self) -> str:
        return f"{self.task} {self.index}: {self.score:g}"
