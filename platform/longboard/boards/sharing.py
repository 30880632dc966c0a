"""A view carried elsewhere: an Atom feed, an SVG badge, a front to embed, a citation. All of it plain text, made by us."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from xml.sax.saxutils import escape, quoteattr

from django.conf import settings
from django.utils.text import slugify

from longboard.boards.metrics import METRICS
from longboard.boards.models import Cell
from longboard.boards.queries import Board
from longboard.quantities import length_label, quantity
from longboard.results.dates import measured_at

FEED_ENTRIES = 50
NAMESPACE = uuid.UUID("5a2c8d0e-6f1b-4f0a-9c61-3c7a2f6f8a11")


def feed(*, suite: str = "") -> str:
    """The newest numbers as Atom (RFC 4287): of one suite, or of all. One entry a Cell; a changed number is an update."""
    rows = Cell.objects.select_related("suite", "hardware", "system__model", "system__method")
    if suite:
        rows = rows.filter(suite__name=suite)
    cells = list(rows.order_by("-updated_at", "-pk")[:FEED_ENTRIES])
    updated = cells[0].updated_at if cells else datetime(2026, 1, 1, tzinfo=UTC)
    about = f"results of {suite}" if suite else "results"
    address = f"{settings.SITE_URL}/feeds/{f'{suite}/' if suite else ''}results.atom"
    measured = measured_at(cell.last_run_id for cell in cells)
    entries = "".join(_entry(cell, measured.get(cell.last_run_id)) for cell in cells)
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<feed xmlns="http://www.w3.org/2005/Atom">\n'
        f'<title>Longboard: {escape(about)}</title><id>{escape(address)}</id><link rel="self" href={quoteattr(address)}/>'
        f"<link href={quoteattr(settings.SITE_URL + '/')}/><updated>{updated.isoformat()}</updated>"
        "<author><name>Longboard</name></author>\n" + entries + "</feed>\n"
    )


def _entry(cell: Cell, measured: datetime | None) -> str:
    """`updated` is when the number came here or changed: a reader that has seen the feed up to then has seen it."""
    number = quantity(cell.value, cell.ci_low, cell.ci_high, n=cell.n, unit=cell.unit)
    title = METRICS[cell.metric].title if cell.metric in METRICS else cell.metric
    where = f"{cell.suite.label} {cell.task} at {length_label(cell.context_length)} tokens on {cell.hardware.title}"
    when = f" Measured {measured:%Y-%m-%d %H:%M} UTC." if measured else ""
    key = f"{cell.system.slug}/{cell.suite.label}/{cell.task}/{cell.metric}/{cell.context_length}/{cell.hardware.slug}"
    return (
        f"<entry><id>urn:uuid:{uuid.uuid5(NAMESPACE, key)}</id>"
        f"<title>{escape(_clean(f'{cell.system.label}: {title} {number.text}'))}</title>"
        f"<link href={quoteattr(f'{settings.SITE_URL}/runs/{cell.last_run_id}/')}/>"
        f"<updated>{cell.updated_at.isoformat()}</updated>"
        f"<summary>{escape(_clean(f'{where}. {number}. Trust: {cell.trust}.{when}'))}</summary></entry>\n"
    )


def _clean(text: str) -> str:
    """Without the control characters that XML cannot hold."""
    return "".join(c for c in text if c >= " " or c in "\t\n")


@dataclass(frozen=True, slots=True)
class Badge:
    left: str
    right: str
    good: bool


def badge_of(board: Board, slug: str) -> Badge | None:
    """What a README says of a System: its place on this board's front, or its rank. None when it is not on the board."""
    row = next((r for r in board.every_row() if r.slug == slug or r.model == slug), None)
    if row is None:
        return None
    left = f"{board.suite.label} at {board.length_text}"
    if row.gain is None:
        return Badge(left, row.gain_missing.text if row.gain_missing else "no number", False)
    if row.on_front:
        return Badge(left, f"{row.gain.text}, on the front (P {row.probability_text})", True)
    return Badge(left, f"{row.gain.text}, rank {row.rank}", False)


def badge_svg(badge: Badge) -> str:
    """Both halves as wide as their text; contrast of 4.5 or more on either."""
    left, right = 14 + round(6.6 * len(badge.left)), 14 + round(6.6 * len(badge.right))
    colour = "#0a6178" if badge.good else "#4d5a61"
    says = escape(f"{badge.left}: {badge.right}", {'"': "&quot;"})
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="22" role="img" aria-label="{says}">'
        f"<title>{says}</title>"
        f'<rect width="{left}" height="22" fill="#1a2024"/><rect x="{left}" width="{right}" height="22" fill="{colour}"/>'
        f'<g fill="#ffffff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">'
        f'<text x="{left / 2}" y="15" textLength="{left - 12}">{escape(badge.left)}</text>'
        f'<text x="{left + right / 2}" y="15" textLength="{right - 12}">{escape(badge.right)}</text></g></svg>\n'
    )


@dataclass(frozen=True, slots=True)
class Citation:
    """How to cite one dated view."""

    title: str
    address: str
    bibtex: str
    cff: str


def citation(board: Board, now: datetime) -> Citation:
    """The address pins suite version, length, hardware and the moment, so that it keeps showing what was cited."""
    moment = board.view.moment or now
    pinned = board.permalink if board.view.as_of else _with_moment(board.permalink, moment)
    address = f"{settings.SITE_URL}{pinned}"
    axes = f"{board.metric.title.lower()} against {board.cost.title[0].lower() + board.cost.title[1:]}"
    title = f"Longboard: {board.suite.title} ({board.suite.label}), {axes}"
    title += f" at {board.length_text} tokens on {board.hardware}" if board.length and board.hardware else ""
    key = slugify(f"longboard {board.suite.label} {board.length} {moment:%Y%m%d}").replace("-", "_")
    bibtex = "\n".join(
        [
            f"@misc{{{key},",
            f"  title        = {{{{{_tex(title)}}}}},",
            "  author       = {{Longboard contributors}},",
            f"  year         = {{{moment:%Y}}},",
            f"  month        = {moment:%b},".lower(),
            f"  howpublished = {{\\url{{{address}}}}},",
            f"  note         = {{As of {moment:%Y-%m-%d %H:%M} UTC}},",
            "}",
            "",
        ]
    )
    cff = "\n".join(
        [
            "cff-version: 1.2.0",
            "message: If you use this view, cite it as below.",
            "type: dataset",
            f"title: {_yaml(title)}",
            "authors:",
            "  - name: Longboard contributors",
            f"date-released: {moment:%Y-%m-%d}",
            f"url: {_yaml(address)}",
            f"abstract: {_yaml(board.title + '.')}",
            "",
        ]
    )
    return Citation(title, address, bibtex, cff)


def _with_moment(address: str, moment: datetime) -> str:
    stamp = f"as_of={moment:%Y-%m-%dT%H:%M:%S}".replace(":", "%3A")
    path, _, query = address.partition("?")
    return f"{path}?{'&'.join(sorted([*filter(None, query.split('&')), stamp]))}"


def _tex(text: str) -> str:
    for plain, safe in (("\\", r"\textbackslash "), *((c, f"\\{c}") for c in "&%$#_{}")):
        text = text.replace(plain, safe)
    return text


def _yaml(text: str) -> str:
    return '"' + _clean(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") + '"'
