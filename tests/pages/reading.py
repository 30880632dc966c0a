"""What a reader without JavaScript sees of a page."""

from __future__ import annotations

from lxml import html


def parsed(response) -> html.HtmlElement:
    return html.fromstring(response.content.decode())


def text(node) -> str:
    return " ".join(node.text_content().split())


def table(response, name: str) -> list[list[str]]:
    """Rows of the table with that class, cells as a reader sees them; boxes to tick hold no text and are left out."""
    (found,) = parsed(response).xpath(f"//table[contains(concat(' ', @class, ' '), ' {name} ')]")
    return [[text(cell) for cell in row.xpath("./*[not(contains(@class, 'tick'))]")] for row in found.xpath(".//tr")]


def options(response, name: str) -> list[str]:
    return [option.get("value") for option in parsed(response).xpath(f"//select[@name='{name}']/option")]


def chosen(response, name: str) -> str:
    return next(iter(parsed(response).xpath(f"//select[@name='{name}']/option[@selected]/@value")), "")
