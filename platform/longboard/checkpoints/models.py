"""Uploaded checkpoints: safetensors with their configuration and tokenizer, in pieces until they are whole."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models


class Checkpoint(models.Model):
    """Files of one model on their way up, then for good. Its hex id is the Model's `ref`, and its folder's name."""

    class State(models.TextChoices):
        OPEN = "open", "under way"
        COMPLETE = "complete", "complete"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="checkpoints")
    title = models.CharField(max_length=160)
    licence = models.CharField(max_length=80, blank=True)
    state = models.CharField(max_length=10, choices=State, default=State.OPEN)
    request_digest = models.CharField(max_length=64)
    size = models.BigIntegerField(help_text="bytes of all files, as announced")
    model = models.OneToOneField(
        "registry.Model",
        null=True,
        on_delete=models.PROTECT,
        related_name="checkpoint",
        help_text="once it is complete",
    )
    created_at = models.DateTimeField()
    touched_at = models.DateTimeField(
        db_index=True, help_text="of the last piece; long after it an open one is dropped"
    )

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            # The same files announced again are the same upload: so a browser that was closed goes on.
            models.UniqueConstraint(
                fields=["owner", "request_digest"],
                condition=models.Q(state="open"),
                name="one_open_checkpoint_per_request",
            )
        ]

    def __str__(self) -> str:
        return f"{self.title} ({self.state})"


class CheckpointFile(models.Model):
    """One file. `received` bytes of it lie on disk; more than that there is what a crash left, and is cut off."""

    checkpoint = models.ForeignKey(Checkpoint, on_delete=models.CASCADE, related_name="files")
    name = models.CharField(max_length=80)
    size = models.BigIntegerField()
    received = models.BigIntegerField(default=0)
    sha256 = models.CharField(max_length=64, blank=True, help_text="as announced, then as found")

    class Meta:
        ordering = ["pk"]
        constraints = [models.UniqueConstraint(fields=["checkpoint", "name"], name="one_file_per_name")]

    def __str__(self) -> str:
        return f"{self.name}: {self.received} of {self.size}"
