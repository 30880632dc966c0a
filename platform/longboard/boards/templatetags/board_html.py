"""The parts of a board that repeat, as filters: a row, a mark, a point. As template nodes they took 25 ms of a page, here 3.

Everything that a person may have written goes through `escape`.
"""

from __future__ import annotations

from html import escape
from typing import Any

from django import template
from django.utils.safestring import SafeString, mark_safe

from longboard.boards.board_rows import MatrixRow, Row
from longboard.boards.marks import Mark
from longboard.boards.reasons import missing_html

register = template.Library()


@register.filter
def mark(of: Mark, certainty: str = "") -> SafeString:
    """A System's mark, as in the charts, to stand beside its name."""
    return mark_safe(_mark(of, certainty))  # noqa: S308 (our own shapes and classes)


@register.filter
def line_mark(of: Mark) -> SafeString:
    """The same on a piece of its line, as in a chart by context length."""
    return mark_safe(  # noqa: S308 (our own shapes and classes)
        f'<svg class="key {of.colour} {of.dash}" viewBox="-17 -8 34 16" width="30" height="14" aria-hidden="true">'
        f'<path class="thread" d="M-17 0H17"/><path class="mark" d="{of.path}"/></svg>'
    )


@register.filter
def board_row(row: Row) -> SafeString:
    """One <tr> of the board."""
    family = f' <span class="tag">{escape(row.family)}</span>' if row.family else ""
    if row.gain:
        link = f'<a href="{escape(row.run_url)}" class="quiet">' if row.run_url else "<a>"
        above = f'<span class="n above">{row.normalised_text}</span>' if row.normalised_text else ""
        gain = f'{link}<b>{row.gain.value}</b> <span class="interval">{row.gain.interval}</span>{above}</a>'
    else:
        gain = missing_html(row.gain_missing) if row.gain_missing else ""
    if row.cost:
        cost = f'<b>{escape(row.cost.value)}</b> <span class="interval">{escape(row.cost.interval)}</span>'
    else:
        cost = missing_html(row.cost_missing) if row.cost_missing else ""
    trust = f'<span class="claimed">{escape(row.trust_text)}</span>' if row.is_claimed else escape(row.trust_text)
    flag = ' <span class="flag">front</span>' if row.on_front else ""
    return mark_safe(  # noqa: S308 (every text in it is escaped)
        f"<tr{' class=on-front' if row.on_front else ''}>"
        f'<td class="tick"><input type="checkbox" form="compare" name="system" value="{escape(row.slug)}" '
        f'aria-label="Compare {escape(row.label)}"></td><td class="num">{row.rank or "–"}</td>'
        f'<th scope="row">{_mark(row.mark, row.certainty)}<a href="{escape(row.url)}">{escape(row.label)}</a>{family}</th>'
        f'<td class="num">{gain}</td><td class="num">{row.gain.count if row.gain else ""}</td><td class="num">{cost}</td>'
        f'<td class="num">{row.probability_text}{flag}</td><td>{trust}</td></tr>\n'
    )


@register.filter
def matrix_row(line: MatrixRow) -> SafeString:
    """One <tr> of the length matrix."""
    row = line.row
    return mark_safe(  # noqa: S308 (every text in it is escaped)
        f'<tr><th scope="row">{_mark(row.mark, "")}<a href="{escape(row.url)}">{escape(row.short)}</a></th>{line.cells}</tr>\n'
    )


@register.filter
def front_points(points: list[dict[str, Any]]) -> SafeString:
    """The marks of a front with whiskers and names, each a link that says its numbers; leaders first, so that they lie under."""
    leaders, marks = [], []
    for p in points:
        label = p["label"]
        if label and (line := label["leader"]):
            leaders.append(
                f'<line class="leader" x1="{line["x1"]}" y1="{line["y1"]}" x2="{line["x2"]}" y2="{line["y2"]}"/>'
            )
        name = (
            f'<text class="label" text-anchor="{label["anchor"]}" x="{label["x"]}" y="{label["y"]}">'
            f"{escape(label['text'])}</text>"
            if label
            else ""
        )
        says = escape(p["says"])
        marks.append(
            f'<a class="point {p["mark"].colour} {p["certainty"]}" href="{escape(p["url"])}" aria-label="{says}">'
            f"<title>{says}</title>"
            f'<path class="whisker" d="M{p["across"]["x1"]} {p["y"]}H{p["across"]["x2"]}'
            f'M{p["x"]} {p["along"]["y1"]}V{p["along"]["y2"]}"/>'
            f'<path class="mark" transform="translate({p["x"]} {p["y"]})" d="{p["mark"].path}"/>{name}</a>\n'
        )
    return mark_safe("".join(leaders + marks))  # noqa: S308 (every text in it is escaped)


def _mark(of: Mark, certainty: str) -> str:
    return (
        f'<svg class="key {of.colour} {certainty}" viewBox="-8 -8 16 16" width="14" height="14" aria-hidden="true">'
        f'<path class="mark" d="{of.path}"/></svg>'
    )
