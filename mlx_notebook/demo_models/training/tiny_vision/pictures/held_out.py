"""Draw the evaluation images with matplotlib and OpenCV, which no training image uses.

The colours are the libraries' named colours. Hearts and stars have other outlines, and numbers
have other fonts (OpenCV's strokes). Canvases have common sizes, and plots have real axes.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .palette import RGB, distance
from .pixels import resized
from .scenes import NUMBER, Scene, Thing, compose

NAMED: dict[str, tuple[str, ...]] = {
    "red": ("red", "tab:red"),
    "orange": ("orange", "tab:orange", "darkorange"),
    "yellow": ("yellow", "gold"),
    "green": ("green", "tab:green", "limegreen", "seagreen"),
    "blue": ("blue", "tab:blue", "royalblue", "dodgerblue", "navy"),
    "purple": ("purple", "tab:purple", "darkviolet"),
    "pink": ("pink", "hotpink", "tab:pink"),
    "brown": ("saddlebrown", "tab:brown"),
    "black": ("black",),
    "white": ("white",),
    "gray": ("gray", "tab:gray", "darkgray"),
}
# Width and height of the canvas in pixels.
CANVASES = (
    (640, 480), (480, 480), (400, 300), (300, 400), (256, 256), (320, 240), (500, 350), (800, 450),
    (224, 224), (128, 128), (96, 96), (600, 200), (200, 500), (360, 270), (1280, 720), (150, 110),
)  # fmt: skip


def _rgb(colour: str, rng: random.Random) -> RGB:
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb(rng.choice(NAMED[colour]))
    return round(red * 255), round(green * 255), round(blue * 255)


def _heart() -> NDArray[np.float64]:
    """Return a heart: two half circles over two straight sides."""
    a = np.linspace(np.pi, 0, 16)
    left = np.stack([-0.5 + 0.5 * np.cos(a), -0.42 - 0.5 * np.sin(a)], 1)
    right = np.stack([0.5 + 0.5 * np.cos(a), -0.42 - 0.5 * np.sin(a)], 1)
    points = np.concatenate([left, right, [[0.86, 0.05], [0.0, 1.0], [-0.86, 0.05]]])
    return np.asarray(points)


def corners(thing: Thing) -> NDArray[np.float64]:
    """Return the outline of a shape with corners, (n, 2) in units of its half sizes."""
    if thing.shape == "star":
        a = -np.pi / 2 + np.arange(10) * np.pi / 5
        radius = np.where(np.arange(10) % 2 == 0, 1.0, 0.382)[:, None]
        return np.asarray(np.stack([np.cos(a), np.sin(a)], 1) * radius)
    if thing.shape == "triangle":
        return np.array([[0.0, -1], [1, 1], [-1, 1]])
    if thing.shape == "diamond":
        return np.array([[0.0, -1], [0.82, 0], [0, 1], [-0.82, 0]])
    if thing.shape == "cross":
        b = 1 / 3
        return np.array([
            [-b, -1], [b, -1], [b, -b], [1, -b], [1, b], [b, b],
            [b, 1], [-b, 1], [-b, b], [-1, b], [-1, -b], [-b, -b],
        ])  # fmt: skip
    if thing.shape == "heart":
        return _heart()
    return np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])


def placed(thing: Thing, across: float, down: float) -> NDArray[np.float64]:
    """Return the corners of `thing` in canvas pixels, rotated as the scene says."""
    scale = min(across, down)
    points = corners(thing) * [thing.half_width * scale, thing.half_height * scale]
    cos, sin = np.cos(thing.turn), np.sin(thing.turn)
    turned = points @ np.array([[cos, sin], [-sin, cos]])
    return np.asarray(turned * 0.95 + [thing.x * across, thing.y * down])


def with_matplotlib(scene: Scene, width: int, height: int, rng: random.Random) -> NDArray[np.uint8]:
    """Draw the scene in a matplotlib figure; some figures show axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Circle, Ellipse, Polygon

    dpi = 100
    figure: Any = Figure(figsize=(width / dpi, height / dpi), dpi=dpi)
    canvas: Any = FigureCanvasAgg(figure)
    across, down = width / scene.width, height / scene.height
    ground = tuple(c / 255 for c in scene.background_rgb)
    figure.set_facecolor(ground)
    with_axes = rng.random() < 0.35 and scene.background in ("white", "gray", "yellow", "pink")
    # The things keep their positions in the image; the axes lie around or under them.
    axes: Any = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.axis("off")
    if with_axes:
        frame: Any = figure.add_axes((0.09, 0.1, 0.87, 0.85), zorder=-1)
        frame.set_facecolor(ground)
        frame.set_xlim(0, rng.choice((1, 5, 10, 100)))
        frame.set_ylim(0, rng.choice((1, 4, 10, 50)))
        frame.tick_params(labelsize=max(5, min(width, height) * 0.022))
        if rng.random() < 0.3:
            frame.grid(alpha=0.3)
    smooth = rng.random() < 0.8
    for thing in scene.things:
        colour = tuple(c / 255 for c in thing.rgb)
        x, y, scale = thing.x * across, thing.y * down, min(across, down)
        if thing.shape == NUMBER:
            family = rng.choice(("DejaVu Sans", "DejaVu Serif", "DejaVu Sans Mono", "STIXGeneral"))
            # The digits of these fonts are about 0.74 em tall and 0.64 em wide.
            wide = 2 * thing.half_width * scale / (0.64 * len(thing.text))
            points = min(2 * thing.half_height * scale / 0.74, wide) * 72 / dpi
            weight = rng.choice(("normal", "normal", "bold"))
            axes.text(
                x, y, thing.text, color=colour, family=family, weight=weight, size=points,
                ha="center", va="center_baseline", rotation=-np.degrees(thing.turn),
            )  # fmt: skip
            continue
        line = max(1.0, thing.size * scale * 0.07) * 72 / dpi
        style: dict[str, Any] = {"facecolor": colour, "linewidth": 0, "antialiased": smooth}
        if thing.style == "edged":
            dark = sum(scene.background_rgb) < 200
            style.update(edgecolor="white" if dark else "black", linewidth=line)
        if thing.style == "outline":
            style.update(facecolor="none", edgecolor=colour, linewidth=2.2 * line)
        half_width, half_height = thing.half_width * scale * 0.96, thing.half_height * scale * 0.96
        if thing.shape == "circle":
            axes.add_patch(Circle((x, y), half_width, **style))
        elif thing.shape == "oval":
            turn = np.degrees(thing.turn)
            axes.add_patch(Ellipse((x, y), 2 * half_width, 2 * half_height, angle=turn, **style))
        else:
            axes.add_patch(Polygon(placed(thing, across, down), closed=True, **style))
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _cv_ground(scene: Scene, width: int, height: int, rng: random.Random) -> NDArray[np.uint8]:
    import cv2

    image = np.empty((height, width, 3), np.float32)
    image[:] = scene.background_rgb
    kind = rng.random()
    noise = np.random.default_rng(rng.getrandbits(32))
    if kind < 0.25:
        clouds = noise.normal(0, 60, (height, width, 3)).astype(np.float32)
        image += cv2.GaussianBlur(clouds, (0, 0), max(2.0, min(width, height) / 30)) * 2
    elif kind < 0.4:
        ramp = np.linspace(-22, 22, height if rng.random() < 0.5 else width, dtype=np.float32)
        image += ramp[:, None, None] if len(ramp) == height else ramp[None, :, None]
    return image.clip(0, 255).astype(np.uint8)


def with_opencv(scene: Scene, width: int, height: int, rng: random.Random) -> NDArray[np.uint8]:
    """Draw the scene with OpenCV's primitives, and numbers with its Hershey strokes."""
    import cv2

    image = _cv_ground(scene, width, height, rng)
    across, down = width / scene.width, height / scene.height
    kind = cv2.LINE_AA if rng.random() < 0.7 else cv2.LINE_8
    shift, one = 4, 16
    for thing in scene.things:
        x, y, scale = thing.x * across, thing.y * down, min(across, down)
        half_width, half_height = thing.half_width * scale * 0.96, thing.half_height * scale * 0.96
        if thing.shape == NUMBER:
            font = rng.choice(
                (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX)
            )
            (wide, tall), _ = cv2.getTextSize(thing.text, font, 1.0, 2)
            grow = min(2 * half_width / wide, 2 * half_height / tall)
            thick = max(1, round(grow * rng.uniform(2.0, 3.2)))
            (wide, tall), _ = cv2.getTextSize(thing.text, font, grow, thick)
            corner = (round(x - wide / 2), round(y + tall / 2))
            cv2.putText(image, thing.text, corner, font, grow, thing.rgb, thick, kind)
            continue
        line = max(1, round(thing.size * scale * 0.08))
        passes: list[tuple[RGB, int]] = [(thing.rgb, -1)]
        if thing.style == "edged":
            dark = sum(scene.background_rgb) < 200
            passes.append(((255, 255, 255) if dark else (0, 0, 0), line))
        if thing.style == "outline":
            passes = [(thing.rgb, 2 * line)]
        for colour, width_ in passes:
            if thing.shape in ("circle", "oval"):
                centre = (round(x * one), round(y * one))
                reach = (round(half_width * one), round(half_height * one))
                turn = float(np.degrees(thing.turn))
                cv2.ellipse(image, centre, reach, turn, 0, 360, colour, width_, kind, shift)
            else:
                points = np.round(placed(thing, across, down) * one).astype(np.int32)
                if width_ < 0:
                    cv2.fillPoly(image, [points], colour, kind, shift)
                else:
                    cv2.polylines(image, [points], True, colour, width_, kind, shift)
    return image


def spoiled(image: NDArray[np.uint8], rng: random.Random) -> NDArray[np.uint8]:
    """Return the image after JPEG compression or camera noise, by OpenCV."""
    import cv2

    roll = rng.random()
    if roll < 0.35:
        quality = rng.randint(30, 85)
        _, held = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        return np.asarray(cv2.imdecode(held, cv2.IMREAD_COLOR), np.uint8)
    if roll < 0.5:
        noise = np.random.default_rng(rng.getrandbits(32)).normal(0, 7, image.shape)
        return (image + noise).clip(0, 255).astype(np.uint8)
    return image


def picture(rng: random.Random, plan: str | None = None) -> tuple[NDArray[np.uint8], Scene, str]:
    """Return a held-out image (height, width, 3), its scene, and the library that drew it."""
    while True:
        width, height = rng.choice(CANVASES)
        tall, wide = resized(height, width)
        scene = compose(wide, tall, rng, plan)
        scene.background_rgb = _rgb(scene.background, rng)
        scene.things = [replace(thing, rgb=_rgb(thing.colour, rng)) for thing in scene.things]
        # The named colours may lie closer together than the scene's own colours.
        if all(distance(thing.rgb, scene.background_rgb) > 140 for thing in scene.things):
            break
    library = rng.choice(("matplotlib", "opencv"))
    draw = with_matplotlib if library == "matplotlib" else with_opencv
    return spoiled(draw(scene, width, height, rng), rng), scene, library
