"""Generate questions about a scene; each question has exactly one right answer."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mlx_notebook.demo_models.training.tiny_vision.pictures.palette import COLOURS
from mlx_notebook.demo_models.training.tiny_vision.pictures.scenes import (
    NUMBER,
    SHAPES,
    Scene,
    Thing,
    place,
)

# Two things count as apart if their centres differ by at least this many pixels of the
# resized image. One thing counts as larger from this ratio on.
APART = 9.0
LARGER = 1.35


@dataclass(frozen=True)
class Asked:
    """A question, the skill that it tests, and its answer.

    `about` holds the phrases in the question that name a thing, and `names` holds those in the
    answer, without articles. Both keep the order of the text. `number` is the answer of a counting
    question.
    """

    skill: str
    question: str
    answer: str
    about: tuple[tuple[str, Thing], ...] = ()
    names: tuple[tuple[str, Thing], ...] = ()
    number: int | None = None


def article(name: str) -> str:
    """Return "a red circle" for "red circle"."""
    return ("an " if name[0] in "aeiou" else "a ") + name


def plural(shape: str) -> str:
    """Return the shape's plural."""
    return shape + "es" if shape.endswith("s") else shape + "s"


def _colour_word(rng: random.Random) -> str:
    return rng.choice(("colour", "colour", "color"))


def _unique(things: Sequence[Thing], key: Callable[[Thing], str]) -> list[Thing]:
    counts = Counter(key(thing) for thing in things)
    return [thing for thing in things if counts[key(thing)] == 1]


def references(thing: Thing, scene: Scene) -> list[str]:
    """Return the phrases that match this thing and nothing else in the scene."""
    shapes = scene.shapes
    found = []
    if [t.name for t in shapes].count(thing.name) == 1:
        found.append(f"the {thing.name}")
    if [t.shape for t in shapes].count(thing.shape) == 1:
        found.append(f"the {thing.shape}")
    if [t.colour for t in shapes].count(thing.colour) == 1:
        found.append(f"the {thing.colour} shape")
    return found


def _pick(scene: Scene, rng: random.Random) -> tuple[Thing, str] | None:
    named = [(thing, references(thing, scene)) for thing in scene.shapes]
    named = [(thing, found) for thing, found in named if found]
    if not named:
        return None
    thing, found = rng.choice(named)
    return thing, rng.choice(found)


def shape(scene: Scene, rng: random.Random) -> Asked | None:
    """Return a question about the shape of a thing."""
    things = scene.shapes
    if len(things) == 1:
        said = rng.choice((
            "What shape is this?", "Which shape is this?", "Which shape do you see?",
            "What shape is in the picture?", "What is the shape?", "Name the shape.",
            "Which shape is it?", "What shape does the picture show?", "What shape is shown here?",
        ))  # fmt: skip
        return Asked("shape", said, things[0].shape)
    alone = _unique(things, lambda t: t.colour)
    if not alone:
        return None
    thing = rng.choice(alone)
    said = rng.choice((
        "What shape is the {} one?", "Which shape is {}?", "What shape is {}?",
        "What is the shape of the {} one?", "What shape is the {} object?", "Name the {} shape.",
    ))  # fmt: skip
    return Asked("shape", said.format(thing.colour), thing.shape)


def colour(scene: Scene, rng: random.Random) -> Asked | None:
    """Return a question about the colour of a thing."""
    things = scene.shapes
    word = _colour_word(rng)
    if len(scene.things) == 1 and things and rng.random() < 0.6:
        said = rng.choice((
            f"What {word} is it?", f"Which {word} is the shape?", f"What {word} is the shape?",
            f"What {word} is this?", f"Name the {word} of the shape.", f"Which {word} do you see?",
        ))  # fmt: skip
        return Asked("colour", said, things[0].colour)
    alone = _unique(things, lambda t: t.shape)
    if not alone:
        return None
    thing = rng.choice(alone)
    said = rng.choice((
        f"What {word} is the {{}}?", f"Which {word} is the {{}}?",
        f"What is the {word} of the {{}}?",
        f"Which {word} does the {{}} have?", f"Tell me the {word} of the {{}}.",
    ))  # fmt: skip
    return Asked("colour", said.format(thing.shape), thing.colour)


def count(scene: Scene, rng: random.Random) -> Asked | None:
    """Return a question about how many shapes there are: all, of one kind, or of one colour."""
    things = scene.shapes
    if scene.numbers and not things:
        return None
    roll = rng.random()
    if roll < 0.5:
        said = rng.choice((
            "How many shapes are there?", "How many shapes do you see?", "Count the shapes.",
            "How many shapes are in the picture?", "How many shapes does the picture show?",
        ))  # fmt: skip
        return Asked("count", said, str(len(things)), number=len(things))
    if roll < 0.78:
        kind = rng.choice(things).shape if rng.random() < 0.85 else rng.choice(SHAPES)
        number, name = sum(t.shape == kind for t in things), plural(kind)
    else:
        hue = rng.choice(things).colour if rng.random() < 0.85 else rng.choice(COLOURS)
        number, name = sum(t.colour == hue for t in things), f"{hue} shapes"
    said = rng.choice((
        "How many {} are there?", "How many {} do you see?", "Count the {}.",
        "How many {} are in the picture?",
    ))  # fmt: skip
    return Asked("count", said.format(name), str(number), number=number)


_SIDES: dict[str, tuple[Callable[[Thing, Thing], float], tuple[str, ...]]] = {
    "left": (lambda a, b: b.x - a.x, ("left of", "to the left of")),
    "right": (lambda a, b: a.x - b.x, ("right of", "to the right of")),
    "above": (lambda a, b: b.y - a.y, ("above", "higher than")),
    "below": (lambda a, b: a.y - b.y, ("below", "lower than")),
}


def _meant(answer: str, about: tuple[tuple[str, Thing], ...]) -> tuple[tuple[str, Thing], ...]:
    return ((answer.removeprefix("the "), dict(about)[answer]),)


def position(scene: Scene, rng: random.Random) -> Asked | None:
    """Return a question about the relative position of two things, or about the outermost thing."""
    things = scene.shapes
    if len(things) < 2:
        return None
    side = rng.choice(tuple(_SIDES))
    ahead, phrases = _SIDES[side]
    if rng.random() < 0.3:
        first = max(things, key=lambda t: min(ahead(t, o) for o in things if o is not t))
        if min(ahead(first, o) for o in things if o is not first) < APART:
            return None
        if [t.name for t in things].count(first.name) != 1:
            return None
        outer = {"left": "leftmost", "right": "rightmost", "above": "topmost", "below": "lowest"}
        far = {
            "left": "furthest left", "right": "furthest right",
            "above": "highest", "below": "lowest",
        }[side]  # fmt: skip
        said = rng.choice((f"Which shape is {far}?", f"What is the {outer[side]} shape?"))
        return Asked("position", said, f"the {first.name}", (), ((first.name, first),))
    named = [(t, references(t, scene)) for t in things]
    named = [(t, found) for t, found in named if found]
    if len(named) < 2:
        return None
    (a, a_names), (b, b_names) = rng.sample(named, 2)
    if abs(ahead(a, b)) < APART:
        return None
    one, other = rng.choice(a_names), rng.choice(b_names)
    about = ((one, a), (other, b))
    roll = rng.random()
    if roll < 0.45:
        said = rng.choice(("Is {} {} {}?", "Is {} {} {}?", "Would you say that {} is {} {}?"))
        holds = "yes" if ahead(a, b) > 0 else "no"
        return Asked("position", said.format(one, rng.choice(phrases), other), holds, about)
    if roll < 0.75:
        lead = {
            "left": "further left", "right": "further right", "above": "higher", "below": "lower",
        }[side]  # fmt: skip
        said = rng.choice(
            (f"Which is {lead}, {one} or {other}?", f"What is {lead}: {one} or {other}?")
        )
        answer = one if ahead(a, b) > 0 else other
        return Asked("position", said, answer, about, _meant(answer, about))
    pair, asks = rng.choice((
        (("left", "right"), "Is {} left or right of {}?"),
        (("above", "below"), "Is {} above or below {}?"),
    ))  # fmt: skip
    gap = _SIDES[pair[0]][0](a, b)
    if abs(gap) < APART:
        return None
    return Asked("position", asks.format(one, other), pair[0] if gap > 0 else pair[1], about)


def size(scene: Scene, rng: random.Random) -> Asked | None:
    """Return a question about which of two things is larger or smaller, or which is the largest."""
    things = scene.shapes
    if len(things) < 2:
        return None
    ordered = sorted(things, key=lambda t: t.size)
    if rng.random() < 0.35:
        large = rng.random() < 0.5
        best, next_ = (ordered[-1], ordered[-2]) if large else (ordered[0], ordered[1])
        ratio = best.size / next_.size if large else next_.size / best.size
        if ratio < LARGER or [t.name for t in things].count(best.name) != 1:
            return None
        words = ("largest", "biggest") if large else ("smallest", "smallest")
        said = rng.choice(
            ("Which shape is the {}?", "What is the {} shape?", "Which is the {} shape?")
        )
        said = said.format(rng.choice(words))
        return Asked("size", said, f"the {best.name}", (), ((best.name, best),))
    named = [(t, references(t, scene)) for t in things]
    named = [(t, found) for t, found in named if found]
    if len(named) < 2:
        return None
    (a, a_names), (b, b_names) = rng.sample(named, 2)
    ratio = a.size / b.size
    if max(ratio, 1 / ratio) < LARGER:
        return None
    one, other = rng.choice(a_names), rng.choice(b_names)
    about = ((one, a), (other, b))
    large = rng.random() < 0.6
    word = rng.choice(("larger", "bigger")) if large else "smaller"
    holds = (ratio > 1) == large
    if rng.random() < 0.5:
        return Asked("size", f"Is {one} {word} than {other}?", "yes" if holds else "no", about)
    said = rng.choice((f"Which is {word}, {one} or {other}?", f"What is {word}: {one} or {other}?"))
    answer = one if holds else other
    return Asked("size", said, answer, about, _meant(answer, about))


def box(scene: Scene, rng: random.Random) -> Asked | None:
    """Return a question about a thing's left, top, right and bottom edge in percent of the image.

    Such an answer says much more about position and size than the yes or no of a comparison. The
    model therefore learns sooner what it needs for comparisons.
    """
    picked = _pick(scene, rng)
    if picked is None:
        return None
    thing, name = picked
    x, y, width, height = place(thing, scene)
    edges = x - width / 2, y - height / 2, x + width / 2, y + height / 2
    said = rng.choice(
        ("Where is {}?", "Give the box of {}.", "What is the box around {}?", "Find {}.")
    )
    told = ", ".join(str(min(99, max(0, int(100 * edge)))) for edge in edges)
    return Asked("box", said.format(name), f"[{told}]", ((name, thing),))


def exists(scene: Scene, rng: random.Random) -> Asked | None:
    """Return a question about whether a thing exists."""
    things = scene.shapes
    if not things:
        return None
    real = rng.choice(things)
    if rng.random() < 0.5:
        name = real.shape if rng.random() < 0.5 else rng.choice(SHAPES)
        there = any(t.shape == name for t in things)
    else:
        hue = real.colour if rng.random() < 0.7 else rng.choice(COLOURS)
        kind = real.shape if rng.random() < 0.6 else rng.choice(SHAPES)
        name = f"{hue} {kind}"
        there = any(t.name == name for t in things)
    said = rng.choice(("Is there {}?", "Do you see {}?", "Is there {} in the picture?"))
    return Asked("exists", said.format(article(name)), "yes" if there else "no")


def digits(scene: Scene, rng: random.Random) -> Asked | None:
    """Return a question about a printed number or its colour."""
    if len(scene.numbers) != 1:
        return None
    number = scene.numbers[0]
    if rng.random() < 0.15:
        return Asked("colour", f"What {_colour_word(rng)} is the number?", number.colour)
    said = rng.choice((
        "Which number is printed?", "What number do you see?", "Read the number.",
        "What number is this?", "Which number is in the picture?", "What number is in the picture?",
        "What does the number say?", "Which digits do you see?", "What is the number?",
        "Which number is this?", "What does it say?",
    ))  # fmt: skip
    return Asked("digits", said, number.text)


def background(scene: Scene, rng: random.Random) -> Asked | None:
    """Return a question about the background's colour."""
    word = _colour_word(rng)
    said = rng.choice((
        f"What {word} is the background?", f"Which {word} is the background?",
        f"What is the {word} of the background?",
    ))  # fmt: skip
    return Asked("background", said, scene.background)


def from_left_to_right(scene: Scene) -> list[Thing]:
    """Return the things of a scene in the order of its description."""
    return sorted(scene.things, key=lambda t: t.x)


def _described(thing: Thing) -> str:
    return f"{thing.colour} number {thing.text}" if thing.shape == NUMBER else thing.name


def description(scene: Scene) -> str | None:
    """Return a sentence that lists the things from left to right; None if the order is unclear."""
    things = from_left_to_right(scene)
    if any(b.x - a.x < APART for a, b in itertools.pairwise(things)):
        return None
    if len(things) > 4:
        return None
    names = [
        f"the {_described(t)}" if t.shape == NUMBER else article(_described(t)) for t in things
    ]
    listed = names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
    sentence = f"{listed} on {article(scene.background)} background."
    return sentence[0].upper() + sentence[1:]


def describe(scene: Scene, rng: random.Random) -> Asked | None:
    """Return a request to describe the whole image in one sentence."""
    sentence = description(scene)
    if sentence is None:
        return None
    said = rng.choice((
        "Describe the picture.", "What do you see?", "What is in the picture?",
        "What does the picture show?", "Describe what you see.", "What is this?",
        "Describe this image.", "What is in this image?", "Tell me what you see.",
    ))  # fmt: skip
    names = tuple((_described(thing), thing) for thing in from_left_to_right(scene))
    return Asked("describe", said, sentence, names=names)


ASKERS: tuple[tuple[Callable[[Scene, random.Random], Asked | None], float], ...] = (
    (shape, 2.5), (colour, 2.5), (count, 7), (position, 6), (size, 5), (exists, 2), (digits, 6),
    (background, 0.5), (describe, 4), (box, 2),
)  # fmt: skip


def ask(scene: Scene, rng: random.Random, skill: str | None = None) -> Asked | None:
    """Return a random question, or one of `skill`; None if the scene does not allow one."""
    for _ in range(12):
        if skill is None:
            asker = rng.choices([a for a, _ in ASKERS], [w for _, w in ASKERS])[0]
        else:
            asker = next(a for a, _ in ASKERS if a.__name__ == skill)
        asked = asker(scene, rng)
        if asked is not None and (skill is None or asked.skill == skill):
            return asked
    return None
