"""A Run's samples, in pages."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Q
from django.urls import reverse

from longboard.quantities import percent_text
from longboard.results.models import Sample
from longboard.submissions.models import Run

SAMPLES_PER_PAGE = 25


@dataclass(frozen=True, slots=True)
class SampleLine:
    task: str
    index: int
    depth: str
    target: str
    answer: str
    score: str
    is_right: bool
    truncated: bool
    prompt_tail: str
    prompt_tokens: str
    prompt_sha256: str


@dataclass(frozen=True, slots=True)
class SamplePage:
    samples: tuple[SampleLine, ...]
    depths: tuple[tuple[str, str, bool], ...]  # text, url, chosen
    only: tuple[tuple[str, str, bool], ...]
    next_url: str
    first_url: str
    is_first: bool
    narrowed: str  # "at depth 50%", in words


def sample_page(run: Run, *, after: str, depth: str, only: str) -> SamplePage:
    """A page of a Run's samples, by key (task, index) so that page 400 costs what page 1 does. Two statements."""
    base = reverse("run", args=[run.pk])
    rows = Sample.objects.filter(run=run)
    depths = sorted({d for d in rows.order_by().values_list("depth", flat=True).distinct() if d is not None})
    chosen = next((d for d in depths if f"{d:g}" == depth), None)
    if chosen is not None:
        rows = rows.filter(depth=chosen)
    if only == "wrong":
        rows = rows.filter(score__lt=1)
    task, _, index = after.rpartition(":")
    if task and index.isascii() and index.isdecimal() and len(index) < 10:
        rows = rows.filter(Q(task__gt=task) | Q(task=task, index__gt=int(index)))
    page = list(rows.order_by("task", "index")[: SAMPLES_PER_PAGE + 1])

    def url(*, after: str = "", depth: str = "" if chosen is None else f"{chosen:g}", only: str = only) -> str:
        given = [(k, v) for k, v in (("after", after), ("depth", depth), ("only", only)) if v]
        return f"{base}?{'&'.join(f'{k}={v}' for k, v in given)}#samples" if given else f"{base}#samples"

    only = "wrong" if only == "wrong" else ""
    last = page[SAMPLES_PER_PAGE - 1] if len(page) > SAMPLES_PER_PAGE else None
    return SamplePage(
        samples=tuple(_sample_line(s) for s in page[:SAMPLES_PER_PAGE]),
        depths=(
            (("all depths", url(depth="", only=only), chosen is None),)
            + tuple((percent_text(d), url(depth=f"{d:g}", only=only), d == chosen) for d in depths)
            if depths
            else ()
        ),
        only=(("all", url(only=""), not only), ("wrong ones", url(only="wrong"), bool(only))),
        next_url=url(after=f"{last.task}:{last.index}", only=only) if last else "",
        first_url=url(only=only),
        is_first=not after,
        narrowed=f"at depth {percent_text(chosen)}" if chosen is not None else "",
    )


def _sample_line(row: Sample) -> SampleLine:
    return SampleLine(
        task=row.task,
        index=row.index,
        depth="" if row.depth is None else percent_text(row.depth),
        target=row.target,
        answer=row.answer,
        score=f"{row.score:.2f}".rstrip("0").rstrip("."),
        is_right=row.score >= 1,
        truncated=row.truncated,
        prompt_tail=row.prompt_tail,
        prompt_tokens=f"{row.prompt_tokens:,}",
        prompt_sha256=row.prompt_sha256,
    )
