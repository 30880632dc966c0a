from __future__ import annotations

from django import forms


class WebhookForm(forms.Form):
    url = forms.CharField(
        label="Address",
        max_length=500,
        help_text="An https address of yours. It gets a signed POST when a run of your submissions ends.",
        widget=forms.URLInput(attrs={"placeholder": "https://hooks.example.org/longboard"}),
    )
