"""The loss curves of a training as an SVG image, and the same in words and as a table."""

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

Curve = Sequence[tuple[int, float]]
"""Steps and losses."""

_WIDTH, _HEIGHT = 560, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 12, 28, 34
_GREY, _BLUE, _ORANGE = "#808080", "#2a7fc1", "#d9600a"
_DASHES = ' stroke-dasharray="5 4"'
# An image needs no more points than this.
_MOST_POINTS = 280
_ROWS = 12


def loss_chart(train: Curve, validation: Curve, steps: int) -> str:
    """Draw the losses over the steps. The colours are seen on a light and on a dark page."""
    values = [loss for _, loss in (*train, *validation) if math.isfinite(loss)]
    top = max(values, default=1.0) * 1.05 or 1.0
    low = min([0.0, *values])

    def x(step: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * step / max(steps, 1)

    def y(loss: float) -> float:
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (top - loss) / (top - low)

    def line(curve: Curve, colour: str, dashes: str) -> str:
        shown = [(step, loss) for step, loss in thinned(curve) if math.isfinite(loss)]
        points = " ".join(f"{x(step):.1f},{y(loss):.1f}" for step, loss in shown)
        return (
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>'
        )

    marks = "".join(
        f'<circle cx="{x(step):.1f}" cy="{y(loss):.1f}" r="3.5" fill="{_ORANGE}"/>'
        for step, loss in thinned(validation)
        if math.isfinite(loss)
    )
    grid = "".join(
        f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(at):.1f}" y2="{y(at):.1f}" '
        f'stroke="{_GREY}" stroke-opacity="0.35"/>'
        f'<text x="{_LEFT - 6}" y="{y(at) + 4:.1f}" text-anchor="end">{at:.2g}</text>'
        for at in (low, (low + top) / 2, top)
    )
    title = escape(in_words(train, validation))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-label="{title}" '
        f'font-family="sans-serif" font-size="12" fill="{_GREY}"><title>{title}</title>{grid}'
        f'<text x="{_LEFT}" y="16" fill="{_BLUE}">training loss (line)</text>'
        f'<text x="{_LEFT + 150}" y="16" fill="{_ORANGE}">validation loss (dots)</text>'
        f'<text x="{_LEFT}" y="{_HEIGHT - 12}">step 0</text>'
        f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 12}" text-anchor="end">{steps:,}</text>'
        f"{line(train, _BLUE, '')}"
        f"{line(validation, _ORANGE, _DASHES)}{marks}</svg>"
    )


def in_words(train: Curve, validation: Curve) -> str:
    """Describe the curves in a sentence."""
    parts = []
    for name, curve in (("training", train), ("validation", validation)):
        if curve:
            first, last = curve[0][1], curve[-1][1]
            parts.append(f"{name} loss from {first:.3f} to {last:.3f}")
    return ", ".join(parts) if parts else "no loss yet"


def loss_rows(train: Curve, validation: Curve) -> list[tuple[int, str, str]]:
    """Return steps with both losses, for a table of few rows."""
    known, checked = dict(train), dict(validation)
    steps = sorted(checked) or sorted(known)
    chosen = steps if len(steps) <= _ROWS else [*steps[:: -(-len(steps) // _ROWS)], steps[-1]]

    def text(loss: float | None) -> str:
        return "" if loss is None else f"{loss:.3f}"

    return [(step, text(known.get(step)), text(checked.get(step))) for step in chosen]


def thinned(curve: Curve) -> Curve:
    """Return a curve of few enough points, with its last one."""
    if len(curve) <= _MOST_POINTS:
        return curve
    every = -(-len(curve) // _MOST_POINTS)
    return [*curve[::every], curve[-1]]
