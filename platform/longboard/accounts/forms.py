from __future__ import annotations

from django import forms
from django.contrib.auth.forms import UserCreationForm

from longboard.accounts.models import ApiToken, User


class SignUpForm(UserCreationForm):
    class Meta:
        model = User
        fields = ("username",)


class TokenForm(forms.Form):
    name = forms.CharField(max_length=80, help_text="What will use it, for example: laptop, or nightly job.")
    scope = forms.ChoiceField(choices=ApiToken.Scope.choices, initial=ApiToken.Scope.SUBMIT)
    days = forms.IntegerField(label="Days until it ends", initial=90, min_value=1, max_value=366)
