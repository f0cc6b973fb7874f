"""Outlines of the shapes as polygons in a frame of half width one and half height one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .scenes import Thing

Points = NDArray[np.float64]


def _ring(count: int, start: float = -np.pi / 2) -> Points:
    angle = start + np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([np.cos(angle), np.sin(angle)], 1)


def _triangle(vary: float) -> Points:
    top = (vary - 0.5) * (1.6 if vary > 0.8 or vary < 0.2 else 0.0)
    return np.array([[top, -1.0], [1.0, 1.0], [-1.0, 1.0]])


def _star(vary: float) -> Points:
    inner = 0.36 + 0.2 * vary
    points = _ring(10)
    points[1::2] *= inner
    return points


def _cross(vary: float) -> Points:
    a = 0.22 + 0.2 * vary
    return np.array(
        [
            [-a, -1],
            [a, -1],
            [a, -a],
            [1, -a],
            [1, a],
            [a, a],
            [a, 1],
            [-a, 1],
            [-a, a],
            [-1, a],
            [-1, -a],
            [-a, -a],
        ]
    )


def _heart(vary: float) -> Points:
    t = np.linspace(0, 2 * np.pi, 30, endpoint=False)
    x = np.sin(t) ** 3
    dip = 4.0 + 2.5 * vary  # depth of the notch between the two lobes
    y = -(13 * np.cos(t) - dip * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    y = (y - y.min()) / (y.max() - y.min()) * 2 - 1
    return np.stack([x, y], 1)


def polygon(thing: Thing) -> Points:
    """Return the rotated outline of `thing` as (n, 2) pixels around its centre.

    Circles and ovals become polygons of 36 corners.
    """
    if thing.shape in ("circle", "oval"):
        points = _ring(36)
    elif thing.shape in ("square", "rectangle"):
        points = np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
    elif thing.shape == "triangle":
        points = _triangle(thing.vary)
    elif thing.shape == "star":
        points = _star(thing.vary)
    elif thing.shape == "diamond":
        points = np.array([[0.0, -1], [1, 0], [0, 1], [-1, 0]]) * [0.65 + 0.35 * thing.vary, 1]
    elif thing.shape == "cross":
        points = _cross(thing.vary)
    elif thing.shape == "heart":
        points = _heart(thing.vary)
    else:
        raise ValueError(f"no outline for {thing.shape!r}")
    points = points * [thing.half_width, thing.half_height]
    cos, sin = np.cos(thing.turn), np.sin(thing.turn)
    # A rotated shape must stay inside its box.
    turned = points @ np.array([[cos, sin], [-sin, cos]])
    over = max(
        np.abs(turned[:, 0]).max() / thing.half_width,
        np.abs(turned[:, 1]).max() / thing.half_height,
        1.0,
    )
    return np.asarray(turned / over)


def signed_distance(points: Points, x: Points, y: Points) -> Points:
    """Return the distance in pixels from each (x, y) to the polygon, negative inside."""
    ax, ay = points[:, 0], points[:, 1]
    bx, by = np.roll(ax, -1), np.roll(ay, -1)
    shape = (len(ax),) + (1,) * x.ndim
    ax, ay, bx, by = (v.reshape(shape) for v in (ax, ay, bx, by))
    ex, ey = bx - ax, by - ay
    wx, wy = x[None] - ax, y[None] - ay
    along = np.clip((wx * ex + wy * ey) / (ex * ex + ey * ey + 1e-9), 0, 1)
    squared = (wx - ex * along) ** 2 + (wy - ey * along) ** 2
    crosses = (ay > y) != (by > y)
    right = x[None] < ex * wy / np.where(ey == 0, 1e-9, ey) + ax
    inside = (crosses & right).sum(0) % 2 == 1
    distance = np.sqrt(squared.min(0))
    return np.asarray(np.where(inside, -distance, distance))
