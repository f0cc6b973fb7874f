"""The two rasterisers of the training images: signed distances in numpy, and Pillow."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from .backdrops import Canvas, backdrop
from .fonts import font, font_files
from .outlines import polygon, signed_distance
from .palette import RGB
from .scenes import NUMBER, Scene, Thing

Mask = NDArray[np.float32]


@dataclass(frozen=True)
class Mark:
    """The position of one printed digit, in pixels of the scene."""

    digit: str
    x: float
    y: float


def scaled(thing: Thing, scale_x: float, scale_y: float) -> Thing:
    """Return `thing` in canvas pixels; both half sizes use the smaller scale."""
    return replace(
        thing,
        x=thing.x * scale_x,
        y=thing.y * scale_y,
        half_width=thing.half_width * min(scale_x, scale_y),
        half_height=thing.half_height * min(scale_x, scale_y),
    )


def _paint(canvas: Canvas, mask: Mask, left: int, top: int, rgb: RGB) -> None:
    height, width = canvas.shape[:2]
    y0, x0 = max(0, top), max(0, left)
    y1, x1 = min(height, top + mask.shape[0]), min(width, left + mask.shape[1])
    if y1 <= y0 or x1 <= x0:
        return
    part = mask[y0 - top : y1 - top, x0 - left : x1 - left, None]
    canvas[y0:y1, x0:x1] += (np.asarray(rgb, np.float32) - canvas[y0:y1, x0:x1]) * part


def _edge(rgb: RGB, background: RGB, rng: random.Random) -> RGB:
    """Return an outline colour: mostly black, otherwise a darker shade of the fill."""
    if sum(background) < 200:
        return (235, 235, 235)
    if rng.random() < 0.7:
        return (0, 0, 0)
    return (rgb[0] // 2, rgb[1] // 2, rgb[2] // 2)


def _distance(canvas: Canvas, thing: Thing, background: RGB, rng: random.Random) -> None:
    """Paint a shape by its signed distance; the softness of the edge varies."""
    reach = int(thing.size) + 5
    left, top = int(thing.x) - reach, int(thing.y) - reach
    side = 2 * reach + 1
    y, x = np.mgrid[0:side, 0:side].astype(np.float64)
    x, y = x + left + 0.5 - thing.x, y + top + 0.5 - thing.y
    if thing.shape in ("circle", "oval"):
        cos, sin = np.cos(thing.turn), np.sin(thing.turn)
        u, v = (x * cos + y * sin) / thing.half_width, (y * cos - x * sin) / thing.half_height
        from_middle = np.hypot(u, v) + 1e-6
        # First-order distance to the ellipse: its level divided by the level's slope.
        slope = np.hypot(u / thing.half_width, v / thing.half_height) / from_middle
        away = (from_middle - 1) / (slope + 1e-6)
    else:
        away = signed_distance(polygon(thing), x, y)
    soft = rng.choice((0.01, 1.0, 1.0, 1.0, 1.6, 2.4))
    stroke = max(1.2, thing.size * rng.uniform(0.05, 0.13))

    def cover(distance: NDArray[np.float64]) -> Mask:
        return np.clip(0.5 - distance / soft, 0, 1).astype(np.float32)

    if thing.style == "outline":
        stroke = max(2.0, thing.size * rng.uniform(0.12, 0.22))
        _paint(canvas, cover(np.abs(away + stroke / 2) - stroke / 2), left, top, thing.rgb)
        return
    filling = cover(away)
    if rng.random() < 0.12:  # soft shadow
        shift = max(1, round(thing.size * 0.08))
        _paint(canvas, filling * 0.35, left + shift, top + shift, (0, 0, 0))
    _paint(canvas, filling, left, top, thing.rgb)
    if thing.style == "edged":
        ring = cover(np.abs(away + stroke / 2) - stroke / 2)
        _paint(canvas, ring, left, top, _edge(thing.rgb, background, rng))


def _pillow(canvas: Canvas, thing: Thing, background: RGB, rng: random.Random) -> None:
    """Paint a shape with Pillow, with supersampled or jagged edges."""
    over = rng.choice((1, 2, 4))
    reach = int(thing.size) + 4
    left, top = int(thing.x) - reach, int(thing.y) - reach
    side = (2 * reach + 1) * over
    middle = np.array([thing.x - left, thing.y - top])
    points = [tuple(p) for p in ((polygon(thing) + middle) * over).tolist()]
    stroke = max(1, round(thing.size * over * rng.uniform(0.05, 0.12)))
    if thing.style == "outline":
        stroke = max(2 * over, round(thing.size * over * rng.uniform(0.12, 0.22)))

    def mask(fill: bool) -> Mask:
        image = Image.new("L", (side, side), 0)
        draw = ImageDraw.Draw(image)
        if fill:
            draw.polygon(points, fill=255)
        else:
            draw.line([*points, points[0], points[1]], fill=255, width=stroke, joint="curve")
        if over > 1:
            image = image.resize((side // over, side // over), Image.Resampling.BOX)
        return np.asarray(image, np.float32) / np.float32(255)

    if thing.style != "outline":
        _paint(canvas, mask(True), left, top, thing.rgb)
    if thing.style != "filled":
        colour = thing.rgb if thing.style == "outline" else _edge(thing.rgb, background, rng)
        _paint(canvas, mask(False), left, top, colour)


def _number(canvas: Canvas, thing: Thing, rng: random.Random) -> list[Mark]:
    """Print a number that fills the thing's box in one direction."""
    choice = 0 if rng.random() < 0.15 else rng.randint(1, max(1, len(font_files())))
    probe = font(choice, 64).getbbox(thing.text)
    wide, tall = max(1.0, probe[2] - probe[0]), max(1.0, probe[3] - probe[1])
    scale = min(2 * thing.half_width / wide, 2 * thing.half_height / tall)
    face = font(choice, max(6, round(64 * scale)))
    ink = face.getbbox(thing.text)
    pad = 3
    size = (int(ink[2] - ink[0]) + 2 * pad, int(ink[3] - ink[1]) + 2 * pad)
    image = Image.new("L", size, 0)
    draw = ImageDraw.Draw(image)
    if rng.random() < 0.12:
        draw.fontmode = "1"
    draw.text((pad - ink[0], pad - ink[1]), thing.text, fill=255, font=face)
    if thing.turn:
        image = image.rotate(np.degrees(-thing.turn), Image.Resampling.BICUBIC, expand=True)
    mask = np.asarray(image, np.float32) / np.float32(255)
    left, top = round(thing.x - image.width / 2), round(thing.y - image.height / 2)
    _paint(canvas, mask, left, top, thing.rgb)
    marks = []
    for i, digit in enumerate(thing.text):
        middle = (i + 0.5) / len(thing.text) - 0.5
        along = middle * (ink[2] - ink[0])
        marks.append(
            Mark(digit, thing.x + along * np.cos(thing.turn), thing.y + along * np.sin(thing.turn))
        )
    return marks


def _patch(canvas: Canvas, thing: Thing, background: RGB) -> None:
    """Remove a plot's lines from the area around a thing."""
    grow = 2
    y0, y1 = int(thing.y - thing.half_height) - grow, int(thing.y + thing.half_height) + grow
    x0, x1 = int(thing.x - thing.half_width) - grow, int(thing.x + thing.half_width) + grow
    canvas[max(0, y0) : max(0, y1), max(0, x0) : max(0, x1)] = background


def draw(
    scene: Scene, rng: random.Random, scale_x: float = 1.0, scale_y: float = 1.0
) -> tuple[NDArray[np.uint8], list[Mark]]:
    """Draw `scene` at a scale.

    Returns
    -------
    tuple
        Pixels (height, width, 3) from 0 to 255, and the positions of the digits.
    """
    height, width = round(scene.height * scale_y), round(scene.width * scale_x)
    canvas = backdrop(height, width, scene.background_rgb, rng)
    clear = rng.random() < 0.5
    marks: list[Mark] = []
    for thing in scene.things:
        here = scaled(thing, scale_x, scale_y)
        if thing.shape == NUMBER:
            if clear:
                _patch(canvas, here, scene.background_rgb)
            for mark in _number(canvas, here, rng):
                marks.append(Mark(mark.digit, mark.x / scale_x, mark.y / scale_y))
        elif rng.random() < 0.6:
            _distance(canvas, here, scene.background_rgb, rng)
        else:
            _pillow(canvas, here, scene.background_rgb, rng)
    return canvas.clip(0, 255).astype(np.uint8), marks
