"""Positions of tokens along three axes, as in Qwen2-VL and its successors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def positions(
    tokens: Sequence[int], grids: Iterable[tuple[int, int]], image_token: int
) -> list[list[int]]:
    """Return time, row and column of each token, (3, length).

    A text token advances all three. The cells of an image share one time. The tokens after an image
    continue after the larger of its rows and columns.

    Parameters
    ----------
    tokens
        The document, with one image token per cell.
    grids
        The rows and columns, in cells, of the images in order.
    image_token
        The id of the image token.
    """
    time: list[int] = []
    row: list[int] = []
    column: list[int] = []
    following, i, pictures = 0, 0, iter(grids)
    while i < len(tokens):
        if tokens[i] != image_token:
            time.append(following)
            row.append(following)
            column.append(following)
            following, i = following + 1, i + 1
            continue
        rows, columns = next(pictures)
        for cell in range(rows * columns):
            time.append(following)
            row.append(following + cell // columns)
            column.append(following + cell % columns)
        following, i = following + max(rows, columns), i + rows * columns
    return [time, row, column]
