"""The eleven colour names of tiny-vision, and the RGB values that count as each."""

from __future__ import annotations

import random

RGB = tuple[int, int, int]

ANCHORS: dict[str, list[RGB]] = {
    "red": [(255, 0, 0), (222, 22, 24), (214, 39, 40), (205, 25, 45), (240, 50, 45), (230, 60, 60)],
    "orange": [(255, 165, 0), (255, 140, 0), (255, 127, 14), (240, 120, 20), (250, 150, 50)],
    "yellow": [(255, 255, 0), (255, 225, 25), (255, 215, 0), (240, 230, 60), (252, 240, 110)],
    "green": [
        (0, 128, 0),
        (44, 160, 44),
        (0, 255, 0),
        (34, 139, 34),
        (60, 179, 90),
        (0, 100, 0),
        (120, 210, 110),
        (85, 168, 104),
    ],
    "blue": [
        (0, 0, 255),
        (31, 119, 180),
        (65, 105, 225),
        (0, 0, 140),
        (30, 144, 255),
        (70, 130, 190),
        (100, 160, 240),
        (76, 114, 200),
    ],
    "purple": [(128, 0, 128), (148, 103, 189), (138, 43, 226), (106, 13, 173), (153, 50, 204)],
    "pink": [(255, 192, 203), (255, 105, 180), (255, 20, 147), (227, 119, 194), (250, 150, 190)],
    "brown": [(139, 69, 19), (165, 42, 42), (140, 86, 75), (121, 85, 60), (110, 60, 25)],
    "black": [(0, 0, 0), (18, 18, 18), (34, 34, 38)],
    "white": [(255, 255, 255), (246, 246, 244)],
    "gray": [(128, 128, 128), (150, 150, 152), (169, 169, 169), (105, 105, 108), (119, 128, 138)],
}

COLOURS = tuple(ANCHORS)


def distance(a: RGB, b: RGB) -> float:
    """Return the perceptually weighted distance of two RGB values (0 to about 765)."""
    mean_red = (a[0] + b[0]) / 2
    red, green, blue = a[0] - b[0], a[1] - b[1], a[2] - b[2]
    weighted = (2 + mean_red / 256) * red**2 + 4 * green**2 + (2 + (255 - mean_red) / 256) * blue**2
    return float(weighted**0.5)


def nearest(rgb: RGB) -> str:
    """Return the colour name whose closest anchor is nearest to `rgb`."""
    return min(COLOURS, key=lambda name: min(distance(rgb, anchor) for anchor in ANCHORS[name]))


def shade(name: str, rng: random.Random) -> RGB:
    """Return a random RGB value that still counts as the colour `name`."""
    for _ in range(4):
        anchor = rng.choice(ANCHORS[name])
        spread = 4 if name in ("white", "black", "gray") else 11
        moved = tuple(min(255, max(0, round(rng.gauss(c, spread)))) for c in anchor)
        rgb = (moved[0], moved[1], moved[2])
        if nearest(rgb) == name:
            return rgb
    return rng.choice(ANCHORS[name])
