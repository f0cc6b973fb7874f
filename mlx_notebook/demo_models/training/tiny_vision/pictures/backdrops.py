"""Draw backgrounds: plain, graded, striped, blotched, or a plot's frame with ticks."""

from __future__ import annotations

import random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from .fonts import font
from .palette import RGB

Canvas = NDArray[np.float32]  # (height, width, 3), 0 to 255


def _graded(canvas: Canvas, rng: random.Random) -> None:
    height, width = canvas.shape[:2]
    angle = rng.uniform(0, 6.28)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    ramp = np.cos(angle) * (x / width - 0.5) + np.sin(angle) * (y / height - 0.5)
    canvas += (ramp * rng.uniform(10, 50))[..., None]


def _striped(canvas: Canvas, rng: random.Random) -> None:
    height, width = canvas.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    period = rng.uniform(0.06, 0.3) * width
    angle = rng.choice((0.0, 1.57, 0.78, 2.36))
    wave = np.cos(angle) * x + np.sin(angle) * y
    band = (wave % period) < period * rng.uniform(0.3, 0.7)
    if rng.random() < 0.3:  # checks
        cross = (-np.sin(angle) * x + np.cos(angle) * y) % period < period / 2
        band ^= cross
    canvas += (band * rng.uniform(-22, 22))[..., None]


def _blotched(canvas: Canvas, rng: random.Random) -> None:
    height, width = canvas.shape[:2]
    noise = np.random.default_rng(rng.getrandbits(32))
    coarse = noise.normal(0, rng.uniform(5, 16), (rng.randint(3, 9), rng.randint(3, 9), 3))
    planes = [
        np.asarray(
            Image.fromarray(coarse[..., c].astype(np.float32)).resize(
                (width, height), Image.Resampling.BILINEAR
            )
        )
        for c in range(3)
    ]
    canvas += np.stack(planes, -1)


def _plot_frame(canvas: Canvas, rng: random.Random, colour: RGB) -> None:
    """Draw thin axes with ticks and tick labels, as plotting libraries do."""
    height, width = canvas.shape[:2]
    image = Image.fromarray(canvas.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    left, right = int(width * rng.uniform(0.04, 0.14)), int(width * rng.uniform(0.88, 0.98))
    top, bottom = int(height * rng.uniform(0.02, 0.12)), int(height * rng.uniform(0.86, 0.96))
    line = max(1, round(width / 400))
    if rng.random() < 0.75:
        draw.rectangle((left, top, right, bottom), outline=colour, width=line)
    else:
        draw.line((left, top, left, bottom, right, bottom), fill=colour, width=line)
    label = font(rng.randint(0, 20), max(5, round(min(width, height) * rng.uniform(0.03, 0.045))))
    step = rng.choice((0.2, 1, 2, 0.5, 10))
    ticks = rng.randint(3, 7)
    grid = tuple(round(0.85 * b + 0.15 * c) for b, c in zip(canvas[0, 0], colour, strict=True))
    with_grid = rng.random() < 0.2
    for i in range(ticks):
        x = left + (right - left) * (i + 0.3) / ticks
        y = bottom - (bottom - top) * (i + 0.3) / ticks
        if with_grid:
            draw.line((x, top, x, bottom), fill=grid, width=line)
            draw.line((left, y, right, y), fill=grid, width=line)
        draw.line((x, bottom, x, bottom + 3 * line), fill=colour, width=line)
        draw.line((left - 3 * line, y, left, y), fill=colour, width=line)
        text = f"{i * step:g}"
        draw.text((x, bottom + 4 * line), text, fill=colour, font=label, anchor="mt")
        draw.text((left - 4 * line, y), text, fill=colour, font=label, anchor="rm")
    canvas[:] = np.asarray(image, np.float32)


def backdrop(height: int, width: int, colour: RGB, rng: random.Random) -> Canvas:
    """Return a canvas of `height` x `width` pixels with a random backdrop close to `colour`."""
    canvas = np.empty((height, width, 3), np.float32)
    canvas[:] = colour
    kind = rng.choices(("plain", "graded", "striped", "blotched", "plot"), (46, 12, 10, 12, 20))[0]
    if kind == "graded":
        _graded(canvas, rng)
    elif kind == "striped":
        _striped(canvas, rng)
    elif kind == "blotched":
        _blotched(canvas, rng)
    elif kind == "plot":
        dark = sum(colour) < 330
        _plot_frame(canvas, rng, (220, 220, 220) if dark else (20, 20, 20))
    return canvas.clip(0, 255)
