"""The evaluation cases: held-out images, messages about them, and the right answers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlx_notebook.demo_models.training.tiny_chat.language.lexicon import HELD_OUT
from mlx_notebook.demo_models.training.tiny_chat.texts import chatting
from mlx_notebook.demo_models.training.tiny_chat.tools.tool import Style

from .pictures import held_out
from .pictures.scenes import Scene
from .texts import picture_tools
from .texts.questions import Asked, ask

SKILLS = (
    "shape", "colour", "count", "position", "size", "exists", "digits", "background", "describe",
    "two pictures", "follow-up", "tool call", "text",
)  # fmt: skip
_PLANS = {"size": "two", "digits": "number"}


@dataclass
class Case:
    """One request and its right answer.

    Attributes
    ----------
    messages
        Chat messages; `{"type": "image"}` in a content list stands for an image.
    pictures
        The images, (height, width, 3) each, in the order of those parts.
    answer
        The text, or the call as `(name, arguments)`.
    """

    skill: str
    library: str
    messages: list[dict[str, Any]]
    pictures: list[NDArray[np.uint8]]
    answer: str | tuple[str, dict[str, Any]]
    tools: list[dict[str, Any]] = field(default_factory=list)


def _user(text: str, pictures: int) -> dict[str, Any]:
    parts: list[dict[str, Any]] = [{"type": "image"} for _ in range(pictures)]
    return {"role": "user", "content": [*parts, {"type": "text", "text": text}]}


def _asked(rng: random.Random, skill: str) -> tuple[NDArray[np.uint8], Scene, str, Asked]:
    while True:
        pixels, scene, library = held_out.picture(rng, _PLANS.get(skill))
        asked = ask(scene, rng, skill)
        if asked is not None:
            return pixels, scene, library, asked


def _two(rng: random.Random) -> Case:
    skill = rng.choice(("shape", "colour", "count", "digits"))
    pixels, _, library, asked = _asked(rng, skill)
    other, _, _ = held_out.picture(rng)
    first = rng.random() < 0.5
    question = asked.question[0].lower() + asked.question[1:]
    said = f"In the {'first' if first else 'second'} picture: {question}"
    pictures = [pixels, other] if first else [other, pixels]
    return Case("two pictures", library, [_user(said, 2)], pictures, asked.answer)


def _follow_up(rng: random.Random) -> Case:
    pixels, scene, library, asked = _asked(rng, rng.choice(("shape", "colour", "count")))
    while True:
        then = ask(scene, rng)
        # A box may differ from the right one within a tolerance.
        if then is not None and then.question != asked.question and then.skill != "box":
            break
    messages = [
        _user(asked.question, 1),
        {"role": "assistant", "content": asked.answer},
        {"role": "user", "content": then.question},
    ]
    return Case("follow-up", library, messages, [pixels], then.answer)


def _tool_call(rng: random.Random) -> Case:
    while True:
        pixels, scene, library = held_out.picture(rng)
        made = picture_tools.make(scene, rng, picture_tools.HELD_OUT_VERBS)
        if made is not None:
            break
    tool, request = made
    answer = (tool.name, request.arguments)
    schema = [tool.schema(Style())]
    return Case("tool call", library, [_user(request.said, 1)], [pixels], answer, schema)


def _text(rng: random.Random) -> Case:
    exchange = chatting.any_exchange(rng, HELD_OUT)
    return Case("text", "", [{"role": "user", "content": exchange.user}], [], exchange.answer)


def cases(each: int, seed: int = 2026) -> Iterator[Case]:
    """Yield `each` cases of every skill, the same ones for the same seed."""
    made = {"two pictures": _two, "follow-up": _follow_up, "tool call": _tool_call, "text": _text}
    for skill in SKILLS:
        rng = random.Random(f"{seed} {skill}")
        for _ in range(each):
            if skill in made:
                yield made[skill](rng)
            else:
                pixels, _, library, asked = _asked(rng, skill)
                yield Case(skill, library, [_user(asked.question, 1)], [pixels], asked.answer)
