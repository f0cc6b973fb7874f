"""`vector_plot`: texts as points in a plane, where those that are alike lie close together."""

import html
from collections import defaultdict
from typing import Any

from mlx_notebook.notebook.errors import NotebookError
from mlx_notebook.notebook.human_units import plural
from mlx_notebook.notebook.plain_text import visible
from mlx_notebook.notebook.shell import shows_rich_output
from mlx_notebook.notebook.vectors.similarity import TextVectors

_WIDTH, _HEIGHT, _MARGIN, _LEGEND = 720, 460, 24, 20
_MOST_POINTS, _MOST_GROUPS, _LABEL = 2_000, 24, 28
_LETTER, _LINE = 6.2, 13
"""About the width of a letter of a label, and the height of its line, in pixels."""

# Okabe and Ito's colours, which colour-blind people tell apart too.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#8a6d00", "#333333", "#7a3db8")
# Groups differ in shape too: paths around (0, 0).
_SHAPES = ("M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z", "M-4-4h8v8h-8z", "M0-5L5 4H-5z")


class VectorPlot:
    """A plot of texts. In a notebook it is shown as an image and as a table that can be unfolded.

    Attributes
    ----------
    svg
        The image.
    text
        What it shows, in words.
    """

    def __init__(self, svg: str, text: str, table: str) -> None:
        self.svg, self.text, self._table = svg, text, table

    def __repr__(self) -> str:
        return self.text

    def _ipython_display_(self) -> None:
        if not shows_rich_output():
            print(self.text)
            return
        from IPython.display import display

        # Two outputs: some frontends show an image without its text, and others no image in HTML.
        image = {"image/svg+xml": self.svg, "text/plain": self.text.splitlines()[0]}
        display(image, raw=True)  # type: ignore[no-untyped-call]
        display({"text/html": self._table, "text/plain": self.text}, raw=True)  # type: ignore[no-untyped-call]


def vector_plot(
    data: Any, groups: Any = None, *, vectors: Any = None, model: str | None = None
) -> VectorPlot:
    """Draw texts as points in a plane. Texts that mean alike lie close together.

    The plane shows the two directions in which the vectors differ most (principal components).

    Parameters
    ----------
    data
        A pandas or polars Series, or a list, of texts.
    groups
        A group for each text, such as what `cluster` returns: it has a colour and a name.
    vectors, model
        As for `nearest`.

    Returns
    -------
    VectorPlot
        The plot. It stays in a saved notebook, with a table of the groups as text.

    Raises
    ------
    NotebookError
        If there is no server, or there are fewer than two rows or more than 24 groups.

    Examples
    --------
    >>> mlx_notebook.vector_plot(df["text"], df["cluster"], vectors=vectors)
    """
    texts = TextVectors(data, vectors, model, "vector_plot")
    if len(texts.present) < 2:
        raise NotebookError(f"{plural(len(texts.present), 'row')} with a vector: a plot needs two.")
    names = _group_names(groups, len(texts.texts))
    rows = [int(row) for row in texts.present]
    points, share = _plane(texts.vectors[texts.present])
    by_group: dict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        by_group[names[row]].append(place)
    if len(by_group) > _MOST_GROUPS:
        raise NotebookError(f"There are {len(by_group)} groups; a plot shows {_MOST_GROUPS}.")
    shown = [visible(str(texts.texts[row])) for row in rows]
    order = sorted(by_group, key=lambda name: (-len(by_group[name]), name))
    central = {name: _central(points, by_group[name]) for name in order}
    title = (
        f"Plot of {len(rows):,} texts by their likeness; the plane shows {share:.0%} of how their "
        "vectors differ."
    )
    lines = [title, *(_described(name, central[name], shown) for name in order)]
    svg = _svg(title, points, {name: by_group[name] for name in order}, central, shown)
    return VectorPlot(svg, "\n".join(lines), _table(title, central, shown))


def _group_names(groups: Any, count: int) -> list[str]:
    if groups is None:
        return [""] * count
    names = ["none" if _is_missing(one) else visible(str(one)) for one in groups]
    if len(names) != count:
        raise NotebookError(f"There are {len(names):,} groups for {count:,} texts.")
    return names


def _is_missing(value: Any) -> bool:
    return value is None or type(value).__name__ == "NAType" or value != value


def _plane(vectors: Any) -> tuple[list[tuple[float, float]], float]:
    """Return the points in the plane, and the share of the variance that it shows."""
    import numpy

    centred = (vectors - vectors.mean(axis=0)).astype(numpy.float64)
    values, axes = numpy.linalg.eigh(centred.T @ centred)
    axes = axes[:, -2:][:, ::-1]
    # The sign of an axis is arbitrary: the same vectors must give the same plot.
    signs = numpy.sign(axes[numpy.abs(axes).argmax(axis=0), range(axes.shape[1])])
    flat = centred @ (axes * signs)
    if flat.shape[1] < 2:
        flat = numpy.pad(flat, ((0, 0), (0, 2 - flat.shape[1])))
    total = float(values.sum())
    share = float(values[-2:].sum()) / total if total > 0 else 1.0
    low, span = flat.min(axis=0), numpy.ptp(flat, axis=0)
    scaled = (flat - low) / numpy.where(span > 0, span, 1)
    return [(float(x), float(y)) for x, y in scaled], share


def _central(points: list[tuple[float, float]], places: list[int]) -> list[int]:
    """Return the places of a group, those nearest to its middle first."""
    x = sum(points[place][0] for place in places) / len(places)
    y = sum(points[place][1] for place in places) / len(places)
    return sorted(
        places, key=lambda place: (points[place][0] - x) ** 2 + (points[place][1] - y) ** 2
    )


def _described(name: str, places: list[int], shown: list[str]) -> str:
    some = "; ".join(_short(shown[place]) for place in places[:3])
    of = f"{name} ({plural(len(places), 'text')})" if name else plural(len(places), "text")
    return f"{of}, in the middle: {some}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LABEL else line[: _LABEL - 1] + "…"


def _table(title: str, central: dict[str, list[int]], shown: list[str]) -> str:
    cells = [
        (name or "all", len(places), "; ".join(_short(shown[place]) for place in places[:5]))
        for name, places in central.items()
    ]
    rows = "".join(
        f'<tr><th scope="row">{html.escape(name)}</th><td>{count:,}</td>'
        f"<td>{html.escape(some)}</td></tr>"
        for name, count, some in cells
    )
    head = "".join(
        f'<th scope="col">{text}</th>' for text in ("Group", "Texts", "In the middle of it")
    )
    return (
        f"<div><details><summary>The plot as a table</summary><p>{html.escape(title)}</p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></details></div>"
    )


def _svg(
    title: str,
    points: list[tuple[float, float]],
    by_group: dict[str, list[int]],
    central: dict[str, list[int]],
    shown: list[str],
) -> str:
    named = [name for name in by_group if name]
    lines = (len(named) + 3) // 4
    height = _HEIGHT + _LEGEND * lines
    at = [
        (_MARGIN + x * (_WIDTH - 2 * _MARGIN), _HEIGHT - _MARGIN - y * (_HEIGHT - 2 * _MARGIN))
        for x, y in points
    ]
    step = max(1, -(-len(at) // _MOST_POINTS))
    parts, marks = [], {}
    for number, (name, places) in enumerate(by_group.items()):
        marks[name] = mark = (
            _COLOURS[number % len(_COLOURS)],
            _SHAPES[number % len(_SHAPES)],
        )
        parts += [_mark(mark, *at[place], _short(shown[place])) for place in places[::step]]
    # One text of each group in turn, those in its middle first.
    turns = max(len(places) for places in central.values())
    order = [
        places[turn] for turn in range(turns) for places in central.values() if turn < len(places)
    ]
    parts += _labels(at, order[:_MOST_POINTS], shown)
    for number, name in enumerate(named):
        x, y = _MARGIN + number % 4 * (_WIDTH / 4 - 8), _HEIGHT + _LEGEND * (number // 4) + 4
        parts += [_mark(marks[name], x, y - 4, name), _words(x + 10, y, _short(name))]
    name_shown = html.escape(title)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{name_shown}" '
        f'font-family="sans-serif" font-size="11"><title>{name_shown}</title>'
        f'<rect width="100%" height="100%" fill="#ffffff"/>{"".join(parts)}</svg>'
    )


def _mark(mark: tuple[str, str], x: float, y: float, text: str) -> str:
    colour, shape = mark
    return (
        f'<path transform="translate({x:.1f} {y:.1f})" d="{shape}" fill="{colour}" '
        f'fill-opacity="0.75"><title>{html.escape(text)}</title></path>'
    )


def _words(x: float, y: float, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="#222222">{html.escape(text)}</text>'


def _labels(at: list[tuple[float, float]], order: list[int], shown: list[str]) -> list[str]:
    """Return labels for as many points as have room for one."""
    taken: list[tuple[float, float, float, float]] = [
        (x - 4, y - 4, x + 4, y + 4) for x, y in at[:_MOST_POINTS]
    ]
    found = []
    for place in order:
        text, (x, y) = _short(shown[place]), at[place]
        width = _LETTER * len(text)
        for left, bottom in (
            *((x + 7, y + 4), (x - 7 - width, y + 4)),
            *((x - width / 2, y - 7), (x - width / 2, y + 16)),
        ):
            box = (left, bottom - _LINE + 3, left + width, bottom + 2)
            inside = box[0] >= 2 and box[2] <= _WIDTH - 2 and box[1] >= 2 and box[3] <= _HEIGHT
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                found.append(_words(left, bottom, text))
                break
        if len(found) == 60:
            break
    return found


def _overlap(
    one: tuple[float, float, float, float], other: tuple[float, float, float, float]
) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
