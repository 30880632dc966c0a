"""The home page, the boards and their exports."""

from __future__ import annotations

import gzip
import hashlib
from functools import cache
from pathlib import Path

from django.conf import settings
from django.core.cache import cache as pages
from django.db import connection
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.template.engine import Engine
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.cache import get_conditional_response, patch_cache_control, patch_vary_headers
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import slugify
from django.views.decorators.clickjacking import xframe_options_exempt
from django.views.decorators.http import require_safe

from longboard.boards import dump, exports, plotly, queries, sharing
from longboard.boards.board_view import BoardView
from longboard.boards.compare import compare_page
from longboard.boards.crossover_page import crossover_page
from longboard.boards.emptiness import tasks_with_numbers
from longboard.boards.finding import Found, find_board, first_board
from longboard.boards.latest import latest_results
from longboard.boards.length_page import length_page
from longboard.boards.system_page import SystemPage, system_page
from longboard.errors import BadRequest
from longboard.registry.models import Suite
from longboard.results.loading import loading_now

EMBED_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; font-src 'self'; frame-ancestors *; base-uri 'none'; "
    "form-action 'none'"
)
KEEP_S = 300  # a rendered region, in memory; its key changes with the numbers


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    found = first_board()
    board = queries.board(found, BoardView.from_query(found.info, _only(request, "length"))) if found else None
    template = "boards/_headline.html" if is_partial(request) else "boards/home.html"
    latest = () if is_partial(request) else latest_results()
    response = render(request, template, {"board": board, "latest": latest, "loading": loading_now()})
    return _cacheable(request, response, s_maxage=30)


@require_safe
def boards(request: HttpRequest) -> HttpResponse:
    """To the first board, or to the suites while there is none."""
    found = first_board()
    return redirect("board", found.suite.name) if found else redirect("suites")


@require_safe
def board(request: HttpRequest, suite: str) -> HttpResponseBase:
    found = _find(suite)
    if found is None:
        return redirect("suite", suite)
    view = BoardView.from_query(found.info, request.GET, label=suite)
    key = _digest("board", found.version, suite, request.GET.urlencode())
    partial = is_partial(request)
    etag = f'"{_digest(key, str(request.user.pk), str(partial))}"'
    blank = _cacheable(request, HttpResponse(headers={"ETag": etag}), s_maxage=60)
    if (unchanged := get_conditional_response(request, etag=etag, response=blank)) is not blank:
        return unchanged or blank
    # Who sends no cookie gets the same page as all others like him, packed once.
    whole = f"{key}/{partial}" if not request.COOKIES and "gzip" in request.headers.get("Accept-Encoding", "") else ""
    if whole and (packed := pages.get(whole)):
        return _cacheable(request, _packed(*packed, etag=etag), s_maxage=60)
    # The region is the same for everybody, so one rendering serves all readers until a number changes.
    parts = pages.get(key)
    if parts is None:
        shown = queries.board(found, view)
        # Who asked for no task gets one with numbers.
        if not request.GET and shown.emptiness and shown.emptiness.instead:
            return redirect(view.url(task=shown.emptiness.instead))
        parts = (render_to_string("boards/_board.html", {"board": shown}), shown.title, shown.summary, shown.view.url())
        pages.set(key, parts, KEEP_S)
    region, title, summary, canonical = parts
    context = {
        "region": _trusted(region),
        "title": title,
        "summary": summary,
        "canonical": canonical,
        "suite": found.suite,
        "suites": found.suites,
    }
    template = "boards/board_swap.html" if partial else "boards/board.html"
    response = render(request, template, context)
    response["ETag"] = etag
    if partial:
        response["HX-Push-Url"] = canonical  # a form's own address would carry every default
    if whole:
        packed = gzip.compress(response.content, 4), response.headers.get("HX-Push-Url", "")
        pages.set(whole, packed, KEEP_S)
        return _cacheable(request, _packed(*packed, etag=etag), s_maxage=60)
    return _cacheable(request, response, s_maxage=60)


def _packed(body: bytes, push_url: str, *, etag: str) -> HttpResponse:
    """A page that is compressed already. It holds no secret, so it needs no padding against guessing one."""
    response = HttpResponse(body, headers={"ETag": etag, "Content-Encoding": "gzip"})
    if push_url:
        response["HX-Push-Url"] = push_url
    patch_vary_headers(response, ["Accept-Encoding"])
    return response


@require_safe
def lengths(request: HttpRequest, suite: str) -> HttpResponseBase:
    """The length matrix: every System at every context length."""
    found = _find(suite)
    if found is None:
        return redirect("suite", suite)  # as its board does
    view = BoardView.from_query(found.info, request.GET, label=suite)
    page = length_page(found, view)
    # Who asked for no task gets one with numbers, as on the board.
    if not request.GET and not page.lengths and (filled := tasks_with_numbers(found.suite, found.info)):
        return redirect(view.url("board-lengths", task=filled[0].name))
    response = render(request, "boards/lengths.html", {"page": page})
    return _cacheable(request, response, s_maxage=60)


@require_safe
def lengths_table(request: HttpRequest, suite: str, kind: str) -> HttpResponseBase:
    found, view = _asked(request, suite)
    return exports.download(
        kind, length_page(found, view).table, name=slugify(f"longboard {found.suite.label} lengths")
    )


@require_safe
def cite(request: HttpRequest, suite: str) -> HttpResponse:
    """How to cite this view as it stands now: BibTeX and CFF, with an address that keeps showing it."""
    shown = _shown(request, suite)
    context = {"board": shown, "citation": sharing.citation(shown, timezone.now()), "embed": settings.SITE_URL}
    context["bib_url"], context["cff_url"] = (
        shown.view.url("board-cite-file", args=(kind,)) for kind in ("bib", "cff")
    )
    context["embed_url"] = settings.SITE_URL + shown.view.url("board-embed", length=shown.length)
    context["badge_url"] = settings.SITE_URL + reverse("badge", args=[suite, shown.rows[0].slug]) if shown.rows else ""
    return render(request, "boards/cite.html", context)


@require_safe
def cite_file(request: HttpRequest, suite: str, kind: str) -> HttpResponse:
    if kind not in ("bib", "cff"):
        raise Http404("A citation comes as bib or cff.")
    cited = sharing.citation(_shown(request, suite), timezone.now())
    text, content_type = (cited.bibtex, "application/x-bibtex") if kind == "bib" else (cited.cff, "text/yaml")
    response = HttpResponse(text, content_type=f"{content_type}; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="longboard.{kind}"'
    return response


@require_safe
@xframe_options_exempt
def embed(request: HttpRequest, suite: str) -> HttpResponse:
    """The front alone, for a frame on anybody's page: no cookie, no script."""
    response = render(request, "boards/embed.html", {"board": _shown(request, suite)})
    response["Content-Security-Policy"] = EMBED_POLICY
    patch_cache_control(response, public=True, max_age=300)
    return response


@require_safe
def badge(request: HttpRequest, suite: str, system: str) -> HttpResponse:
    """A System's place on a board, as a picture for a README."""
    found = sharing.badge_of(_shown(request, suite), system)
    if found is None:
        raise Http404(f'"{system[:80]}" is not on this board.')
    response = HttpResponse(sharing.badge_svg(found), content_type="image/svg+xml; charset=utf-8")
    response["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'"
    patch_cache_control(response, public=True, max_age=300)
    return response


@require_safe
def feed(request: HttpRequest, name: str = "") -> HttpResponse:
    """The newest numbers as Atom."""
    if name and not Suite.objects.filter(name=name).exists():
        raise Http404(f'There is no suite "{name[:60]}".')
    response = HttpResponse(sharing.feed(suite=name), content_type="application/atom+xml; charset=utf-8")
    patch_cache_control(response, public=True, max_age=60)
    return response


@require_safe
def compare(request: HttpRequest) -> HttpResponseBase:
    """Two to five Systems side by side; a page that says what to do when it is asked for another number of them."""
    try:
        page = compare_page(request.GET)
    except BadRequest as error:
        return render(request, "400.html", {"why": error.message}, status=400)
    context = {"page": page, "tables": [("accuracy", page.accuracy), ("efficiency", page.efficiency)]}
    return _cacheable(request, render(request, "boards/compare.html", context), s_maxage=60)


@require_safe
def compare_table(request: HttpRequest, kind: str) -> HttpResponseBase:
    try:
        return exports.download(kind, compare_page(request.GET).table, name="longboard-compare")
    except BadRequest as error:
        return render(request, "400.html", {"why": error.message}, status=400)


@require_safe
def crossover(request: HttpRequest) -> HttpResponseBase:
    """At which length one System overtakes another, by metric."""
    try:
        page = crossover_page(request.GET)
    except BadRequest as error:
        return render(request, "400.html", {"why": error.message}, status=400)
    return _cacheable(request, render(request, "boards/crossover.html", {"page": page}), s_maxage=60)


@require_safe
def system(request: HttpRequest, slug: str) -> HttpResponseBase:
    """One System with its numbers and their history."""
    page = _find_system(slug)
    context = {"page": page, "tables": [("current", page.current), ("history", page.history)]}
    return _cacheable(request, render(request, "boards/system.html", context), s_maxage=60)


@require_safe
def system_table(request: HttpRequest, slug: str, kind: str) -> HttpResponseBase:
    return exports.download(kind, _find_system(slug).table, name=slugify(f"longboard {slug}"))


def _find_system(slug: str) -> SystemPage:
    page = system_page(slug)
    if page is None:
        raise Http404(f'There is no system "{slug[:80]}". Boards list those that there are.')
    return page


@require_safe
def export(request: HttpRequest, kind: str) -> StreamingHttpResponse:
    """Every published number of the site, in one stream with its checksum."""
    streams = {
        "csv": (dump.csv_stream, "text/csv; charset=utf-8"),
        "jsonl": (dump.jsonl_stream, "application/x-ndjson"),
    }
    if kind not in streams:
        raise Http404("The full export comes as csv or jsonl.")
    stream, content_type = streams[kind]
    response = StreamingHttpResponse(stream(), content_type=content_type)
    response["Content-Disposition"] = f'attachment; filename="longboard-measurements.{kind}"'
    return response


@require_safe
def board_table(request: HttpRequest, suite: str, kind: str) -> HttpResponseBase:
    """Every row of the view with every digit, as CSV, JSON or Parquet."""
    shown = _shown(request, suite)
    name = slugify(f"longboard {shown.suite.label} {shown.metric.name} {shown.cost.name} {shown.length}")
    return exports.download(kind, exports.board_table(shown), name=name)


@require_safe
def board_figure(request: HttpRequest, suite: str) -> HttpResponseBase:
    """The figure for Plotly, which the page loads only when somebody asks to explore."""
    return JsonResponse(exports.plotly_figure(_shown(request, suite)))


@require_safe
def plotly_script(request: HttpRequest, version: str) -> HttpResponse:
    """Plotly's basic bundle, from here; kept a year by browsers, since the version is in the path."""
    if version != plotly.VERSION:
        raise Http404(f"Plotly comes as version {plotly.VERSION} here.")
    takes_gzip = "gzip" in request.headers.get("Accept-Encoding", "")
    script = plotly.packed() if takes_gzip else plotly.plain()
    response = HttpResponse(script, content_type="text/javascript; charset=utf-8")
    if takes_gzip:
        response["Content-Encoding"] = "gzip"
    patch_vary_headers(response, ["Accept-Encoding"])
    patch_cache_control(response, public=True, max_age=31_536_000, immutable=True)
    return response


@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Exception:  # whatever the driver raises, the answer is the same
        return JsonResponse({"status": "down", "database": "unreachable"}, status=503)
    return JsonResponse({"status": "ok", "database": "ok"}, headers={"Cache-Control": "no-store"})


def is_partial(request: HttpRequest) -> bool:
    """Whether HTMX wants only the region. When it restores history it needs the whole page."""
    return bool(request.htmx) and not request.htmx.history_restore_request  # type: ignore[attr-defined]


def _find(suite: str) -> Found | None:
    found = find_board(suite)
    if found is None and not Suite.objects.filter(kind="efficiency", name=suite.replace("\x00", "")).exists():
        raise Http404(f'There is no board "{suite[:60]}". The suites page lists those that there are.')
    return found


def _asked(request: HttpRequest, suite: str) -> tuple[Found, BoardView]:
    found = find_board(suite)
    if found is None:
        raise Http404(f'There is no board "{suite[:60]}". The suites page lists those that there are.')
    return found, BoardView.from_query(found.info, request.GET, label=suite)


def _shown(request: HttpRequest, suite: str) -> queries.Board:
    return queries.board(*_asked(request, suite))


def _only(request: HttpRequest, *names: str) -> dict[str, str]:
    return {name: request.GET[name] for name in names if name in request.GET}


def _cacheable(request: HttpRequest, response: HttpResponse, *, s_maxage: int) -> HttpResponse:
    """A shared cache may keep an anonymous reader's page; a browser asks each time and mostly gets a 304."""
    patch_vary_headers(response, ["HX-Request", "Cookie"])
    if request.user.is_authenticated:
        patch_cache_control(response, private=True, no_cache=True)
    else:
        patch_cache_control(response, public=True, max_age=0, s_maxage=s_maxage, stale_while_revalidate=600)
    return response


def _digest(*parts: str) -> str:
    return hashlib.sha256("\x1f".join((_code_version(), *parts)).encode()).hexdigest()[:32]


@cache
def _code_version() -> str:
    """Of what turns numbers into a page: a new release must not be answered with 304."""
    digest = hashlib.sha256()
    sources = [*Engine.get_default().dirs, Path(__file__).parents[1]]
    for path in sorted(
        path for folder in sources for kind in ("*.html", "*.py") for path in Path(str(folder)).rglob(kind)
    ):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _trusted(html: str) -> SafeString:
    return mark_safe(html)  # noqa: S308  (our own template's output, escaped when it was made)
