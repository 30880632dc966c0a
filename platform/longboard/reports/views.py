"""Reports: the form, a report's page, withdrawing it."""

from __future__ import annotations

from typing import cast

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from pydantic import ValidationError

from longboard.accounts.models import User
from longboard.errors import LongboardError
from longboard.form_errors import show_invalid_on, show_on
from longboard.reports import queries, services
from longboard.reports.forms import EXAMPLE, ReportForm
from longboard.reports.models import Report


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def new_report(request: HttpRequest) -> HttpResponse:
    """A good report leads to its page; a refused one comes back filled in, with the reason beside the field."""
    user = cast(User, request.user)
    form = ReportForm(request.POST or None, user=user, initial={"model": request.GET.get("model", "")[:120]})
    if request.method == "POST" and form.is_valid():
        try:
            report, _ = services.post_report(author=user, request=form.as_request(), now=timezone.now())
            return redirect("report", report.pk)
        except LongboardError as error:
            if error.field.startswith("numbers"):
                error.field = "numbers"
            show_on(form, error)
        except ValidationError as error:
            show_invalid_on(form, error)
    context = {"form": form, "example": EXAMPLE}
    return render(request, "reports/new.html", context, status=422 if form.errors else 200)


@require_safe
def report(request: HttpRequest, report_id: int) -> HttpResponse:
    return render(request, "reports/report.html", {"page": queries.report_page(_find(report_id), request.user)})


@login_required
@require_POST
def withdraw(request: HttpRequest, report_id: int) -> HttpResponse:
    row = _find(report_id)
    try:
        because = request.POST.get("because", "")
        services.withdraw_report(report=row, actor=cast(User, request.user), because=because, now=timezone.now())
        messages.success(request, "The report is withdrawn: its numbers are on no board any more.")
    except LongboardError as error:
        messages.error(request, error.message)
    return redirect("report", row.pk)


def _find(report_id: int) -> Report:
    row = queries.find_report(report_id)
    if row is None:
        raise Http404("There is no such report.")
    return row
