"""The submission form, submissions and runs with live progress."""

from __future__ import annotations

import gzip
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from pydantic import ValidationError

from longboard.boards.views import is_partial
from longboard.errors import LongboardError
from longboard.form_errors import show_invalid_on, show_on
from longboard.registry.models import Model
from longboard.results.models import Bundle
from longboard.submissions import services
from longboard.submissions.forms import SubmissionForm
from longboard.submissions.models import Run, Submission
from longboard.submissions.quotes import quote
from longboard.submissions.run_page import find_run, live_run, run_page
from longboard.submissions.sample_page import sample_page
from longboard.submissions.submission_page import submission_page


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def submit(request: HttpRequest) -> HttpResponse:
    """A good request leads to its submission's page; a refused one comes back filled in, with the reason beside the field."""
    if request.method != "POST":
        wanted: dict[str, Any] = {"model": request.GET.get("model", ""), "context_lengths": [1024, 4096]}
        source = Model.objects.filter(slug=wanted["model"][:120]).values_list("source", flat=True).first()
        if source == Model.Source.ARCHITECTURE:
            wanted |= {"suites": ["lra"], "context_lengths": []}
        elif source == Model.Source.CONFIG:
            wanted |= {"suites": ["efficiency"]}
        return render(request, "submissions/submit.html", {"form": SubmissionForm(user=request.user, initial=wanted)})
    form = SubmissionForm(request.POST, user=request.user)
    if form.is_valid():
        try:
            submission, _ = services.submit(
                author=request.user,  # type: ignore[arg-type]  # signed in
                request=form.as_request(),
                now=timezone.now(),
            )
            return redirect("submission", submission.pk)
        except LongboardError as error:
            show_on(form, error)
        except ValidationError as error:
            show_invalid_on(form, error)
    return render(request, "submissions/submit.html", {"form": form}, status=422)


@login_required
@require_POST
def price(request: HttpRequest) -> HttpResponse:
    """The form with what it would take, or why it would be refused; nothing is stored."""
    form, quoted, refusal = SubmissionForm(request.POST, user=request.user), None, ""
    if form.is_valid():
        try:
            quoted = quote(author=request.user, request=form.as_request())  # type: ignore[arg-type]  # signed in
        except LongboardError as error:
            refusal = error.message
            show_on(form, error)
        except ValidationError as error:
            show_invalid_on(form, error)
    partial = is_partial(request)
    template = "submissions/_quote.html" if partial else "submissions/submit.html"
    context = {"form": form, "quote": quoted, "refusal": refusal, "priced": True}
    # HTMX swaps nothing in from a refusal's status, and a price check refuses nothing.
    return render(request, template, context, status=422 if form.errors and not partial else 200)


@require_safe
def submission(request: HttpRequest, submission_id: UUID) -> HttpResponse:
    page = submission_page(submission_id, request.user, timezone.now())
    if page is None:
        raise Http404("There is no such submission.")
    template = "submissions/_submission.html" if is_partial(request) else "submissions/submission.html"
    return _live(request, render(request, template, {"page": page}), is_final=page.is_final)


@require_safe
def run(request: HttpRequest, run_id: UUID) -> HttpResponse:
    row = _find_run(run_id)
    if is_partial(request):
        live = live_run(row)
        return _live(request, render(request, "submissions/_run.html", {"live": live}), is_final=live.is_final)
    context = {
        "page": run_page(row, request.user),
        "samples": sample_page(
            row,
            after=request.GET.get("after", "")[:80].replace("\x00", ""),
            depth=request.GET.get("depth", ""),
            only=request.GET.get("only", ""),
        ),
    }
    return _live(request, render(request, "submissions/run.html", context), is_final=row.is_final)


@require_safe
def run_bundle(request: HttpRequest, run_id: UUID) -> HttpResponse:
    """The result bundle as the node signed it, byte for byte: anyone can check the signature."""
    bundle = Bundle.objects.filter(attempt__run=run_id).order_by("-pk").first()
    if bundle is None:
        raise Http404("This run has no result bundle.")
    return HttpResponse(
        gzip.decompress(bundle.payload_gz),
        content_type="application/json",
        headers={"Content-Disposition": f'attachment; filename="bundle-{bundle.digest[:12]}.json"'},
    )


@login_required
@require_POST
def cancel_run(request: HttpRequest, run_id: UUID) -> HttpResponse:
    row = _find_run(run_id)
    try:
        services.cancel_run(run=row, actor=request.user, now=timezone.now())  # type: ignore[arg-type]  # signed in
        messages.success(request, "The run is told to stop.")
    except LongboardError as error:
        messages.error(request, error.message)
    return redirect("run", row.pk)


@login_required
@require_POST
def rerun(request: HttpRequest, run_id: UUID) -> HttpResponse:
    row = _find_run(run_id)
    try:
        services.rerun(run=row, actor=request.user, now=timezone.now())  # type: ignore[arg-type]  # signed in
        messages.success(request, "The run is queued again.")
    except LongboardError as error:
        messages.error(request, error.message)
    return redirect("run", row.pk)


@login_required
@require_POST
def cancel_submission(request: HttpRequest, submission_id: UUID) -> HttpResponse:
    """Stops every Run of it that has not ended."""
    row = get_object_or_404(Submission, pk=submission_id)
    try:
        ids = list(row.runs.exclude(state__in=Run.FINAL).values_list("pk", flat=True))
        services.cancel_many(run_ids=ids, actor=request.user, now=timezone.now())  # type: ignore[arg-type]  # signed in
        messages.success(request, "Its runs are told to stop.")
    except LongboardError as error:
        messages.error(request, error.message)
    return redirect("submission", row.pk)


def _find_run(run_id: UUID) -> Run:
    row = find_run(run_id)
    if row is None:
        raise Http404("There is no such run.")
    return row


def _live(request: HttpRequest, response: HttpResponse, *, is_final: bool) -> HttpResponse:
    """While a poll finds it unfinished only the region changes; the last poll loads the page, which then has the results."""
    response["Cache-Control"] = "private, no-cache"
    response["Vary"] = "HX-Request, Cookie"
    if is_partial(request) and is_final:
        response["HX-Refresh"] = "true"
    return response
