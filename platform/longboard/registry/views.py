"""Model and suite pages."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from longboard.errors import LongboardError
from longboard.form_errors import show_on
from longboard.registry import services
from longboard.registry.arena import arena_of
from longboard.registry.budgets import budget_view
from longboard.registry.extent import extents
from longboard.registry.forms import HubModelForm
from longboard.registry.methods import method_lines, method_page
from longboard.registry.model_lists import model_lines
from longboard.registry.model_page import model_page
from longboard.registry.suite_page import suite_lines, suite_page
from longboard.submissions.models import Run
from longboard.submissions.run_lists import latest_runs


@require_safe
def models(request: HttpRequest) -> HttpResponse:
    search = request.GET.get("search", "").replace("\x00", "").strip()[:80]
    return render(request, "registry/models.html", {"models": model_lines(search), "search": search})


@require_safe
def model(request: HttpRequest, slug: str) -> HttpResponse:
    page = model_page(slug, request.GET)
    if page is None:
        raise Http404(f'There is no model "{slug}". The models page lists those that there are.')
    runs = latest_runs(Run.objects.filter(system__model=page.model), timezone.now(), most=15)
    return render(request, "registry/model.html", {"page": page, "runs": runs})


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def register_model(request: HttpRequest) -> HttpResponse:
    form = HubModelForm(request.POST or None, label_suffix="")
    if request.method == "POST" and form.is_valid():
        try:
            row = services.register_hub_model(owner=request.user, **form.cleaned_data)  # type: ignore[arg-type]  # signed in
            return redirect("model", row.slug)
        except LongboardError as error:
            show_on(form, error)
    return render(request, "registry/register_model.html", {"form": form}, status=422 if form.errors else 200)


@require_safe
def suites(request: HttpRequest) -> HttpResponse:
    measured = extents()
    lines = [(page, measured.get(page.suite.pk, "")) for page in suite_lines()]
    return render(request, "registry/suites.html", {"suites": lines})


@require_safe
def suite(request: HttpRequest, name: str) -> HttpResponse:
    page = suite_page(name)
    if page is None:
        raise Http404(f'There is no suite "{name[:60]}". The suites page lists those that there are.')
    return render(request, "registry/suite.html", {"page": page, "arena": arena_of(page.suite, request.GET)})


@require_safe
def methods(request: HttpRequest) -> HttpResponse:
    return render(request, "registry/methods.html", {"methods": method_lines(), "view": budget_view("", request.GET)})


@require_safe
def method(request: HttpRequest, slug: str) -> HttpResponse:
    page = method_page(slug, request.GET)
    if page is None:
        raise Http404(f'There is no method "{slug[:60]}". The methods page lists those that there are.')
    return render(request, "registry/method.html", {"page": page})
