"""The choice of a document's pages, as requests write it: "1-3,7"."""

import re
from collections.abc import Sequence

from mlx_notebook.server.media.sources.image_fetcher import ImageError

_RANGE = re.compile(r"([1-9]\d{0,6})(?:-([1-9]\d{0,6}))?")
_MOST_RANGES = 100


def chosen_pages(text: str) -> list[tuple[int, int]]:
    """Return ranges of page numbers from 1, in order, both ends included.

    Raises
    ------
    ImageError
        If it is no choice of pages, or names a page twice.
    """
    wrong = ImageError(f"{text[:100]!r} is no choice of pages: write for example '1-3,7'")
    ranges = []
    parts = text.split(",", _MOST_RANGES)
    for part in parts:
        match = _RANGE.fullmatch(part.strip())
        if match is None or len(parts) > _MOST_RANGES:
            raise wrong
        first, last = int(match[1]), int(match[2] or match[1])
        if first > last:
            raise wrong
        ranges.append((first, last))
    for (_, end), (begin, _) in zip(sorted(ranges), sorted(ranges)[1:], strict=False):
        if begin <= end:
            raise ImageError(f"{text[:100]!r} names page {begin} twice")
    return ranges


def page_count(ranges: Sequence[tuple[int, int]]) -> int:
    """Return the number of pages of ranges."""
    return sum(last - first + 1 for first, last in ranges)
