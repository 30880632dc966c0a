"""Efficiency, theory, crossover, claims and literature pages. Every view is a URL; nothing here writes."""

from __future__ import annotations

import csv

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from longboard.literature import claims_pages, efficiency_pages, kernel_pages, theory_pages
from longboard.literature.catalogue import load_papers
from longboard.literature.costs import cost_page
from longboard.literature.measurements import load_tables


@require_safe
def efficiency(request: HttpRequest, slug: str = "") -> HttpResponse:
    page = efficiency_pages.efficiency_page(slug)
    if page is None and slug:
        raise Http404(f'There is no measurement file "{slug}". The efficiency page lists those that there are.')
    return render(request, "literature/efficiency.html", {"page": page})


@require_safe
def system(request: HttpRequest, slug: str, system: str) -> HttpResponse:
    page = efficiency_pages.system_page(slug, system)
    if page is None:
        raise Http404(f'"{system}" was not measured in "{slug}". The efficiency page lists what was.')
    return render(request, "literature/system.html", {"page": page})


@require_safe
def report(request: HttpRequest, slug: str) -> HttpResponse:
    """The measurements themselves: every single value is in it."""
    table = load_tables().get(slug)
    if table is None:
        raise Http404(f'There is no measurement file "{slug}". The efficiency page lists those that there are.')
    response = HttpResponse(table.report.model_dump_json(), content_type="application/json")
    response["Content-Disposition"] = f'attachment; filename="longboard-efficiency-{table.slug}.json"'
    return response


@require_safe
def costs(request: HttpRequest) -> HttpResponse:
    return render(request, "literature/costs.html", {"page": cost_page(request.GET)})


@require_safe
def kernels(request: HttpRequest) -> HttpResponse:
    page = kernel_pages.kernels_page(_word(request, "device"))
    return render(request, "literature/kernels.html", {"page": page, "pages": kernel_pages.kernels_pages().values()})


@require_safe
def theory(request: HttpRequest) -> HttpResponse:
    return render(request, "literature/theory.html", {"page": theory_pages.theory_page(_word(request, "on"))})


@require_safe
def crossover(request: HttpRequest) -> HttpResponse:
    page = theory_pages.crossover_page(_word(request, "on"), _word(request, "a"), _word(request, "b"))
    return render(request, "literature/crossover.html", {"page": page})


@require_safe
def claims(request: HttpRequest) -> HttpResponse:
    page = claims_pages.claims_page(
        outcome=_word(request, "verdict"), paper=_word(request, "paper"), suite=_word(request, "suite")
    )
    return render(request, "literature/claims.html", {"page": page})


@require_safe
def claims_csv(request: HttpRequest) -> HttpResponse:
    """Every claim with its verdict and our figure, one row each."""
    response = HttpResponse(content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = 'attachment; filename="longboard-claims.csv"'
    rows = csv.writer(response)
    rows.writerow(claims_pages.CSV_HEAD)
    rows.writerows(claims_pages.claim_rows())
    return response


@require_safe
def claim(request: HttpRequest, claim_id: str) -> HttpResponse:
    found = claims_pages.claim_detail(claim_id)
    if found is None:
        raise Http404(f'There is no claim "{claim_id[:60]}". The claims page lists those that there are.')
    return render(request, "literature/claim.html", {"line": found[0], "others": found[1]})


@require_safe
def literature(request: HttpRequest) -> HttpResponse:
    kind, search = _word(request, "kind"), _word(request, "search")
    groups, kinds = claims_pages.literature_page(kind=kind, search=search)
    context = {"groups": groups, "kinds": kinds, "kind": kind, "search": search, "total": len(load_papers())}
    return render(request, "literature/literature.html", context)


@require_safe
def paper(request: HttpRequest, paper_id: str) -> HttpResponse:
    found = load_papers().get(paper_id)
    if found is None:
        raise Http404(f'There is no paper "{paper_id[:60]}". The literature page lists those that there are.')
    context = {"paper": found, "lines": claims_pages.paper_lines(paper_id), "stand_ins": claims_pages.stand_ins(found)}
    return render(request, "literature/paper.html", context)


def _word(request: HttpRequest, name: str) -> str:
    return request.GET.get(name, "").replace("\x00", "").strip()[:80]
