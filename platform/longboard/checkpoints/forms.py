"""Small checkpoints by one plain form; larger ones go in pieces, by script or by the page's own JavaScript."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.files.uploadedfile import UploadedFile

from longboard.checkpoints.requests import CheckpointRequest, FileIn
from longboard_tasks.sizes import bytes_text

PLAIN_BYTES = 32 * 2**20


class ManyFilesInput(forms.ClearableFileInput):
    allow_multiple_selected = True


class ManyFiles(forms.FileField):
    """Several files from one control."""

    widget = ManyFilesInput

    def clean(self, data: Any, initial: Any = None) -> list[UploadedFile]:
        given = data if isinstance(data, list | tuple) else [data]
        return [super(ManyFiles, self).clean(one, initial) for one in given]


class CheckpointForm(forms.Form):
    title = forms.CharField(max_length=160, help_text="How boards call it.")
    licence = forms.CharField(max_length=80, required=False, help_text="For example Apache-2.0.")
    chosen = ManyFiles(
        label="Files",
        help_text="model.safetensors (or its numbered parts), config.json and the tokenizer's files. "
        f"Without JavaScript at most {bytes_text(PLAIN_BYTES)} in all; with it up to 4 GiB, in pieces that go on after a break.",
    )

    def clean_chosen(self) -> list[UploadedFile]:
        files: list[UploadedFile] = self.cleaned_data["chosen"]
        if (total := sum(file.size or 0 for file in files)) > PLAIN_BYTES:
            raise forms.ValidationError(
                f"These are {bytes_text(total)}; by plain form at most {bytes_text(PLAIN_BYTES)}. "
                "Turn JavaScript on, or use longboard-worker site upload."
            )
        return files

    def as_request(self) -> CheckpointRequest:
        """Raises pydantic's ValidationError for what is not taken."""
        files = tuple(FileIn(name=file.name or "", size=file.size or 0) for file in self.cleaned_data["chosen"])
        return CheckpointRequest(title=self.cleaned_data["title"], licence=self.cleaned_data["licence"], files=files)
