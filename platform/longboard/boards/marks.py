"""How a series looks in every figure, in its legend and beside its name: a colour, a shape and the dashes of its line.

There are eight colours. Shape and dashes alone tell any twenty numbers in a row apart, for eyes that do not see the colours and
for print; colour and shape, which is all that a single point can show, any forty.
"""

from __future__ import annotations

from dataclasses import dataclass

COLOURS = 8  # --c0 to --c7 of tokens.css, in each theme
DASHES = 4  # .d0 to .d3 of board.css: unbroken, long, dotted, long and dotted


@dataclass(frozen=True, slots=True)
class Shape:
    path: str  # SVG, around (0, 0), of about equal ink
    symbol: str  # Plotly's name for it


SHAPES = (
    Shape("M-6 0a6 6 0 1 0 12 0a6 6 0 1 0 -12 0z", "circle"),
    Shape("M-5.3 -5.3h10.6v10.6h-10.6z", "square"),
    Shape("M0 -7.4L7.4 0L0 7.4L-7.4 0z", "diamond"),
    Shape("M0 -7L6.8 5.2H-6.8z", "triangle-up"),
    Shape("M0 7L6.8 -5.2H-6.8z", "triangle-down"),
)


@dataclass(frozen=True, slots=True)
class Mark:
    """`colour` and `dash` are CSS classes, the other two of a Shape."""

    number: int  # of the colour
    path: str
    symbol: str
    dash: str

    @property
    def colour(self) -> str:
        return f"c{self.number}"


def mark_of(number: int) -> Mark:
    """Of a System by its id, so that it looks the same on every page; of a chart's own series by its place."""
    shape = SHAPES[number % len(SHAPES)]
    return Mark(number % COLOURS, shape.path, shape.symbol, f"d{number // len(SHAPES) % DASHES}")
