"""Sign-up, the profile, API tokens. Sign-in and sign-out are Django's own views."""

from __future__ import annotations

from typing import cast

from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from longboard.accounts import services
from longboard.accounts.forms import SignUpForm, TokenForm
from longboard.accounts.models import ApiToken, User
from longboard.errors import LongboardError
from longboard.form_errors import show_on
from longboard.quantities import duration_text
from longboard.reports.models import Report
from longboard.reports.queries import report_lines
from longboard.submissions.quota import quota_of
from longboard.submissions.submission_page import submissions_of


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def sign_up(request: HttpRequest) -> HttpResponse:
    if request.user.is_authenticated:
        return redirect("profile")
    form = SignUpForm(request.POST or None, label_suffix="")
    if request.method == "POST" and form.is_valid():
        login(request, form.save())
        return redirect("profile")
    return render(request, "accounts/sign_up.html", {"form": form}, status=422 if form.errors else 200)


@login_required
@require_safe
@never_cache
def profile(request: HttpRequest) -> HttpResponse:
    user, now = _signed_in(request), timezone.now()
    quota = quota_of(user, now)
    context = {
        "submissions": submissions_of(user, now),
        "reports": report_lines(Report.objects.filter(author=user)),
        "quota_allowed": "no limit" if quota.allowed is None else duration_text(quota.allowed),
        "quota_used": duration_text(quota.used),
        "quota_held": duration_text(quota.held),
        "quota_refunded": duration_text(quota.refunded),
    }
    return render(request, "accounts/profile.html", context)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def tokens(request: HttpRequest) -> HttpResponse:
    """The list, and a new token: its secret is in this answer and nowhere else, so no redirect follows."""
    user, now, secret = _signed_in(request), timezone.now(), ""
    form = TokenForm(request.POST or None, label_suffix="")
    if request.method == "POST" and form.is_valid():
        try:
            _, secret = services.make_token(user=user, now=now, **form.cleaned_data)
            form = TokenForm(label_suffix="")
        except LongboardError as error:
            show_on(form, error)
    rows = [(token, token.is_live(now)) for token in user.api_tokens.all()]
    context = {"form": form, "tokens": rows, "secret": secret}
    return render(request, "accounts/tokens.html", context, status=422 if form.errors else 200)


@login_required
@require_POST
def revoke_token(request: HttpRequest, token_id: int) -> HttpResponse:
    token = get_object_or_404(ApiToken, pk=token_id, user=_signed_in(request))
    services.revoke_token(token=token, now=timezone.now())
    messages.success(request, f'The token "{token.name}" no longer works.')
    return redirect("tokens")


def _signed_in(request: HttpRequest) -> User:
    return cast(User, request.user)
