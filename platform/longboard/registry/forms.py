from __future__ import annotations

from django import forms


class HubModelForm(forms.Form):
    repository = forms.CharField(
        max_length=200, help_text="owner/name on the hub, for example HuggingFaceTB/SmolLM2-135M-Instruct"
    )
    revision = forms.CharField(
        max_length=40, help_text="The full 40-digit commit hash: a branch name would not stay about the same weights."
    )
    title = forms.CharField(
        max_length=160, required=False, help_text="How boards call it. Left out: the repository's name."
    )
