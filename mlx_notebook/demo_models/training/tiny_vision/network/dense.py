"""Extra tasks that teach the vision tower quickly: each cell predicts what stands on it.

The tasks are trained with the vision tower, first alone and then with the language part. The
exported model does not contain them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from mlx_notebook.demo_models.training.tiny_vision.pictures.drawing import Mark
from mlx_notebook.demo_models.training.tiny_vision.pictures.palette import COLOURS
from mlx_notebook.demo_models.training.tiny_vision.pictures.pixels import CELL
from mlx_notebook.demo_models.training.tiny_vision.pictures.scenes import (
    NUMBER,
    SHAPES,
    Scene,
    place,
)

KINDS = (*SHAPES, NUMBER)
# One row per cell: kind, colour, digit in the left half, digit in the right half (0 is none),
# size bin, position inside the cell (x, y in 0..255) and background colour. Then follow the kind
# of the thing that covers the cell's middle, and the offset from there to its centre (x, y; 128
# is zero). Last comes that thing's position in the image (x, y, width, height in 1/255).
FIELDS = 15
# Positions are predicted in eighths of the image's sides, so that an error of one cell counts.
EIGHTHS = 8


def _cell(x: float, y: float, rows: int, columns: int) -> int:
    row = min(rows - 1, max(0, int(y / CELL)))
    column = min(columns - 1, max(0, int(x / CELL)))
    return row * columns + column


def targets(scene: Scene, marks: Sequence[Mark]) -> NDArray[np.uint8]:
    """Return what each cell of the scene must predict, (cells, FIELDS)."""
    rows, columns = scene.height // CELL, scene.width // CELL
    out = np.zeros((rows * columns, FIELDS), np.uint8)
    out[:, 7] = COLOURS.index(scene.background)
    y, x = np.mgrid[0:rows, 0:columns] * CELL + CELL / 2
    for thing in scene.things:
        across, down = thing.x - x, thing.y - y
        # A thing fills the ellipse of its box; a number fills the whole box.
        level = np.hypot(across / thing.half_width, down / thing.half_height)
        if thing.shape == NUMBER:
            level = np.maximum(abs(across / thing.half_width), abs(down / thing.half_height))
        covered = (level < 0.95).reshape(-1)
        out[covered, 8] = 1 + KINDS.index(thing.shape)
        out[covered, 9] = (across.reshape(-1)[covered] + 128).clip(0, 255)
        out[covered, 10] = (down.reshape(-1)[covered] + 128).clip(0, 255)
        cell = _cell(thing.x, thing.y, rows, columns)
        covered[cell] = True
        out[covered, 11:15] = [min(255, round(255 * share)) for share in place(thing, scene)]
        out[cell, 0] = 1 + KINDS.index(thing.shape)
        out[cell, 1] = 1 + COLOURS.index(thing.colour)
        out[cell, 4] = min(7, int(2.2 * math.log2(max(thing.size, 8.0) / 8.0)))
        out[cell, 5] = min(255, int(thing.x % CELL / CELL * 256))
        out[cell, 6] = min(255, int(thing.y % CELL / CELL * 256))
    for mark in marks:
        right = mark.x % CELL >= CELL / 2
        out[_cell(mark.x, mark.y, rows, columns), 3 if right else 2] = 1 + int(mark.digit)
    return out


class CellTasks(nn.Module):
    """Predict the targets linearly from each cell's vector, and compute the loss."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.sizes = (
            1 + len(KINDS),
            len(COLOURS),
            11,
            11,
            8,
            2,
            len(COLOURS),
            1 + len(KINDS),
            2,
            4,
        )
        self.read = nn.Linear(hidden, sum(self.sizes))

    def forward(self, cells: Tensor, wanted: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Return the loss and accuracies of (batch, cells, hidden) against `targets`."""
        told = self.read(cells).float().flatten(0, 1)
        kind, colour, left, right, size, inside, behind, cover, way, at_all = told.split(
            self.sizes, -1
        )
        wanted = wanted.flatten(0, 1).long()
        centre = wanted[:, 0] > 0

        def rare(scores: Tensor, label: Tensor) -> Tensor:
            # Most cells are empty, so the few others get extra weight.
            each = functional.cross_entropy(scores, label, reduction="none")
            some = label > 0
            return each.mean() * 2 + (each * some).sum() / some.sum().clamp(min=1)

        loss = rare(kind, wanted[:, 0])
        loss = loss + 0.5 * (rare(left, wanted[:, 2]) + rare(right, wanted[:, 3]))
        loss = loss + 0.2 * functional.cross_entropy(behind, wanted[:, 7])
        loss = loss + rare(cover, wanted[:, 8])
        covered = wanted[:, 8] > 0
        if bool(covered.any()):
            there = (wanted[covered, 9:11].float() - 128) / 32
            loss = loss + functional.smooth_l1_loss(way[covered], there)
        placed = (wanted[:, 13] > 0) & (wanted[:, 14] > 0)
        if bool(placed.any()):
            loss = loss + functional.smooth_l1_loss(
                at_all[placed], wanted[placed, 11:15].float() / 255 * EIGHTHS
            )
        seen: dict[str, float] = {}
        if bool(centre.any()):
            at = wanted[centre]
            loss = loss + functional.cross_entropy(colour[centre], at[:, 1] - 1)
            loss = loss + 0.3 * functional.cross_entropy(size[centre], at[:, 4])
            loss = loss + functional.smooth_l1_loss(inside[centre], at[:, 5:7].float() / 256)
            seen["kind"] = float((kind[centre].argmax(-1) == at[:, 0]).float().mean())
            seen["colour"] = float((colour[centre].argmax(-1) == at[:, 1] - 1).float().mean())
        digits = wanted[:, 2] > 0
        if bool(digits.any()):
            hit = left[digits].argmax(-1) == wanted[digits, 2]
            seen["digit"] = float(hit.float().mean())
        return loss, seen
