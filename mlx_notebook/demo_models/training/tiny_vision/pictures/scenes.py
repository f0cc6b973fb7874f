"""The content of an image before it is drawn: things with a position, a size and a colour."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

from .palette import COLOURS, RGB, distance, nearest, shade

SHAPES = ("circle", "oval", "square", "rectangle", "triangle", "star", "diamond", "cross", "heart")
NUMBER = "number"

# Half width and half height of each shape in units of its radius.
_EXTENT = {
    "circle": (1.0, 1.0),
    "oval": (1.0, 0.56),
    "square": (0.86, 0.86),
    "rectangle": (1.0, 0.5),
    "triangle": (0.95, 0.9),
    "star": (1.0, 1.0),
    "diamond": (0.85, 1.0),
    "cross": (0.95, 0.95),
    "heart": (1.0, 0.95),
}


@dataclass(frozen=True)
class Thing:
    """One shape or printed number; lengths are in pixels of the scene."""

    shape: str
    colour: str
    rgb: RGB
    x: float
    y: float
    half_width: float
    half_height: float
    turn: float = 0.0
    upright: bool = False  # whether an oval or rectangle stands on its short side
    style: str = "filled"
    text: str = ""
    vary: float = 0.5  # 0 to 1: the proportions that the name leaves open

    @property
    def size(self) -> float:
        """Return the radius, in pixels, of the circle around the thing."""
        return max(self.half_width, self.half_height)

    @property
    def name(self) -> str:
        """Return the thing's name without its article."""
        return f"{self.colour} {self.shape}"


@dataclass
class Scene:
    """An image to draw: `width` x `height` pixels, and the background's name and RGB value."""

    width: int
    height: int
    background: str
    background_rgb: RGB
    things: list[Thing] = field(default_factory=list)

    @property
    def shapes(self) -> list[Thing]:
        """Return the things that are not numbers."""
        return [thing for thing in self.things if thing.shape != NUMBER]

    @property
    def numbers(self) -> list[Thing]:
        """Return the printed numbers."""
        return [thing for thing in self.things if thing.shape == NUMBER]


def place(thing: Thing, scene: Scene) -> tuple[float, float, float, float]:
    """Return the centre (x, y), width and height of `thing` as shares of the image's sides."""
    return (
        thing.x / scene.width, thing.y / scene.height,
        2 * thing.half_width / scene.width, 2 * thing.half_height / scene.height,
    )  # fmt: skip


def difference(a: Thing, b: Thing, scene: Scene) -> tuple[float, float, float]:
    """Return how far `a` is right of and below `b`, and how much larger it is.

    The distances are shares of the image's sides. The size is the number of octaves by which `a`
    is larger, divided by four.
    """
    return (
        (a.x - b.x) / scene.width, (a.y - b.y) / scene.height, math.log2(a.size / b.size) / 4,
    )  # fmt: skip


def _apart(a: Thing, b: Thing, gap: float) -> bool:
    return (
        abs(a.x - b.x) > a.half_width + b.half_width + gap
        or abs(a.y - b.y) > a.half_height + b.half_height + gap
    )


def _size_range(count: int, short_side: int) -> tuple[float, float]:
    largest = {1: 0.46, 2: 0.34, 3: 0.28, 4: 0.24}.get(count, 0.19)
    return 8.5, max(11.0, largest * short_side)


def _place(
    scene: Scene, half_width: float, half_height: float, rng: random.Random
) -> tuple[float, float]:
    margin = 1.5
    x = rng.uniform(
        half_width + margin, max(half_width + margin, scene.width - half_width - margin)
    )
    y = rng.uniform(
        half_height + margin, max(half_height + margin, scene.height - half_height - margin)
    )
    return x, y


def _add(scene: Scene, thing: Thing) -> bool:
    inside = thing.half_width * 2 + 2 <= scene.width and thing.half_height * 2 + 2 <= scene.height
    if inside and all(_apart(thing, other, 2.5) for other in scene.things):
        scene.things.append(thing)
        return True
    return False


def contrasting(
    background: RGB, rng: random.Random, names: tuple[str, ...] = COLOURS
) -> tuple[str, RGB]:
    """Return a colour name and RGB value that contrast with `background`."""
    for _ in range(40):
        name = rng.choice(names)
        rgb = shade(name, rng)
        if distance(rgb, background) > 150 and name != nearest(background):
            return name, rgb
    return ("black", (0, 0, 0)) if sum(background) > 380 else ("white", (255, 255, 255))


def add_shape(
    scene: Scene,
    rng: random.Random,
    sizes: tuple[float, float],
    shape: str | None = None,
    colour: str | None = None,
) -> bool:
    """Place one shape where it overlaps no other; return False if there is no room."""
    shape = shape or rng.choice(SHAPES)
    if colour is None:
        colour, rgb = contrasting(scene.background_rgb, rng)
    else:
        rgb = shade(colour, rng)
    for _ in range(25):
        # Sizes are uniform on a ratio scale.
        radius = sizes[0] * (sizes[1] / sizes[0]) ** rng.random()
        wide, tall = _EXTENT[shape]
        upright = shape in ("oval", "rectangle") and rng.random() < 0.5
        if upright:
            wide, tall = tall, wide
        half_width, half_height = radius * wide, radius * tall
        x, y = _place(scene, half_width, half_height, rng)
        turn = 0.0
        if rng.random() < 0.5:
            turn = rng.uniform(-0.22, 0.22) if shape != "star" else rng.uniform(-0.7, 0.7)
        if shape == "triangle" and rng.random() < 0.3:
            turn += math.pi / 2 * rng.randint(1, 3)
        style = rng.choices(("filled", "edged", "outline"), (70, 17, 13))[0]
        if style == "outline" and radius < 12:
            style = "filled"
        thing = Thing(
            shape,
            colour,
            rgb,
            x,
            y,
            half_width,
            half_height,
            turn,
            upright,
            style,
            "",
            rng.random(),
        )
        if _add(scene, thing):
            return True
    return False


def add_number(scene: Scene, rng: random.Random, large: bool) -> bool:
    """Place one printed number of one to four digits."""
    colour, rgb = contrasting(scene.background_rgb, rng)
    for _ in range(25):
        digits = rng.choices((1, 2, 3, 4), (30, 35, 22, 13))[0]
        text = "".join(rng.choice("0123456789") for _ in range(digits))
        if digits > 1 and text[0] == "0":
            text = rng.choice("123456789") + text[1:]
        tallest = min(scene.height * 0.44, (scene.width * 0.47) / (digits * 0.58))
        if tallest < 9:
            continue
        if not large:
            tallest = max(9.0, tallest * 0.6)
        half_height = 9 * (tallest / 9) ** rng.random()
        half_width = half_height * 0.62 * digits
        x, y = _place(scene, half_width, half_height, rng)
        thing = Thing(
            NUMBER,
            colour,
            rgb,
            x,
            y,
            half_width,
            half_height,
            rng.uniform(-0.12, 0.12) if rng.random() < 0.25 else 0.0,
            False,
            "filled",
            text,
            rng.random(),
        )
        if _add(scene, thing):
            return True
    return False


def background(rng: random.Random) -> tuple[str, RGB]:
    """Return a background's colour name and RGB value; plain white is the most frequent."""
    name = rng.choices(("white", "black", "gray", "any"), (45, 12, 10, 33))[0]
    if name == "any":
        name = rng.choice(COLOURS)
    return name, shade(name, rng)


def compose(width: int, height: int, rng: random.Random, plan: str | None = None) -> Scene:
    """Return a random scene of `width` x `height` pixels.

    `plan` is "one", "two", "few", "many" (equal or similar shapes to count), "number" or "mixed".
    None draws a plan at random.
    """
    name, rgb = background(rng)
    scene = Scene(width, height, name, rgb)
    plans = ("one", "two", "few", "many", "number", "mixed")
    plan = plan or rng.choices(plans, (16, 26, 22, 16, 12, 8))[0]
    short = min(width, height)
    if plan == "number":
        add_number(scene, rng, large=True)
    elif plan == "mixed":
        add_number(scene, rng, large=False)
        for _ in range(rng.randint(1, 2)):
            add_shape(scene, rng, _size_range(3, short))
    elif plan == "many":
        count = rng.randint(2, 8)
        shape = rng.choice(SHAPES) if rng.random() < 0.6 else None
        colours = [contrasting(rgb, rng)[0] for _ in range(rng.randint(1, 3))]
        for _ in range(count):
            add_shape(scene, rng, _size_range(max(4, count), short), shape, rng.choice(colours))
    else:
        count = {"one": 1, "two": 2}.get(plan) or rng.randint(3, 5)
        shared = rng.choice(SHAPES) if count > 1 and rng.random() < 0.15 else None
        for _ in range(count):
            add_shape(scene, rng, _size_range(count, short), shared)
    if not scene.things:
        add_shape(scene, rng, (8.5, max(9.0, short * 0.3)))
    return scene
