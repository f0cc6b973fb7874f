"""Generate training documents about images: questions, follow-ups and tool calls."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlx_notebook.demo_models.training.tiny_chat.batches import Document, Encoder
from mlx_notebook.demo_models.training.tiny_chat.language import phrases
from mlx_notebook.demo_models.training.tiny_chat.language.lexicon import TRAINING
from mlx_notebook.demo_models.training.tiny_chat.texts import dialogues, results
from mlx_notebook.demo_models.training.tiny_chat.texts.dialogues import Dialogue, Difficulty
from mlx_notebook.demo_models.training.tiny_chat.tools.tool import Style
from mlx_notebook.demo_models.training.tiny_vision.pictures.pixels import CELL
from mlx_notebook.demo_models.training.tiny_vision.pictures.scenes import Scene, difference, place
from mlx_notebook.demo_models.training.tiny_vision.pictures.shards import Picture

from .picture_tools import make
from .questions import Asked, ask

IMAGE = {"type": "image"}
ORDINALS = ("first", "second", "third", "fourth")
THOUGHT = "I look at the picture."
_ANSWER = "<|im_start|>assistant"


@dataclass
class Viewing(Dialogue):
    """A dialogue with images, in the order of their image parts."""

    pictures: list[Picture] = field(default_factory=list)


Mark = tuple[tuple[int, ...], tuple[float, ...]]
"""Token indices, and the values that their hidden states must predict; see `readings`."""
Named = Sequence[tuple[str, tuple[float, ...]]]
"""Phrases that name a thing, in the order of the text, and the thing's `scenes.place`."""


@dataclass
class Meaning:
    """What a question and its answer are about.

    Attributes
    ----------
    question
        The question as it stands in the user's message.
    about
        The phrases in the question that name a thing.
    differ
        For a comparison of two things: their `scenes.difference`, then the index of the thing that
        the answer names (0 or 1; -1 for neither).
    names
        The phrases in the answer that name a thing.
    number
        The answer of a counting question.
    """

    question: str
    about: Named
    differ: tuple[float, ...] | None
    names: Named
    number: int | None

    @classmethod
    def of(cls, asked: Asked, question: str, scene: Scene, *, seen: bool) -> Meaning:
        """Return the meaning of a question as the user typed it.

        `seen` tells whether the image stands before the question. Tokens before the image cannot
        predict anything about it.
        """
        about: Named = []
        differ = None
        if seen:
            about = [(words, place(thing, scene)) for words, thing in asked.about]
        if seen and len(asked.about) == 2:
            (first, one), (second, other) = asked.about
            both = [first, second]
            chosen = both.index(asked.answer) if asked.answer in both else -1
            differ = (*difference(one, other, scene), float(chosen))
        names = [(words, place(thing, scene)) for words, thing in asked.names]
        return cls(question, about, differ, names, asked.number)


@dataclass
class ViewingDocument(Document):
    """A document and its marks, by the name of a reading."""

    marks: dict[str, list[Mark]] = field(default_factory=dict)


class ViewingEncoder(Encoder):
    """Render dialogues with images: one image token per cell of each image."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.image_token: int = self.tokenizer.convert_tokens_to_ids("<|image_pad|>")

    def render(self, dialogue: Dialogue) -> str:
        """Return the dialogue as text; repeat image tokens as the processor does."""
        text = super().render(dialogue)
        if isinstance(dialogue, Viewing):
            parts = text.split("<|image_pad|>")
            filled = parts[0]
            for picture, rest in zip(dialogue.pictures, parts[1:], strict=True):
                cells = picture.pixels.shape[0] // CELL * (picture.pixels.shape[1] // CELL)
                filled += "<|image_pad|>" * cells + rest
            text = filled
        return text

    def encode(self, dialogue: Dialogue) -> ViewingDocument:
        """Return the dialogue as tokens, with the marks of its questions and answers."""
        document = super().encode(dialogue)
        meant: list[Meaning] = [m["meaning"] for m in dialogue.messages if m.get("meaning")]
        if not meant:
            return ViewingDocument(document.tokens, document.learned)
        text = self.render(dialogue)
        encoded = self.tokenizer(text, add_special_tokens=False)
        marks: dict[str, list[Mark]] = defaultdict(list)
        at = 0

        def find(words: str, start: int) -> tuple[int, int]:
            """Return the first and last token of `words` at or after text position `start`."""
            nonlocal at
            at = text.index(words, start) + len(words)
            return encoded.char_to_token(at - len(words)), encoded.char_to_token(at - 1)

        for meaning in meant:
            # The same words in earlier turns lie before `at`.
            _, end = find(meaning.question, at)
            at -= len(meaning.question)
            for words, where in meaning.about:
                _, end = find(words, at)
                marks["pointing"].append(((end,), where))
            last = document.learned.index(True, end) - 1
            if meaning.differ:
                marks["comparing"].append(((end, last), meaning.differ))
            if meaning.number is not None:
                marks["counting"].append(((last,), (float(meaning.number),)))
            at = text.index(_ANSWER, at)
            for words, where in meaning.names:
                first, end = find(words, at)
                marks["ahead"].append(((first - 1,), where))
                marks["pointing"].append(((end,), where))
        return ViewingDocument(document.tokens, document.learned, marks=dict(marks))


def shown(text: str, pictures: int, rng: random.Random) -> dict[str, Any]:
    """Return a user message with image parts before or after its text."""
    words = [{"type": "text", "text": text}]
    images: list[dict[str, Any]] = [dict(IMAGE) for _ in range(pictures)]
    return {"role": "user", "content": images + words if rng.random() < 0.7 else words + images}


class _Talk:
    """Collect the messages of one document."""

    def __init__(self, rng: random.Random, system: float = 0.25) -> None:
        self.rng = rng
        self.thinking = rng.random() < 0.1
        self.messages: list[dict[str, Any]] = []
        if rng.random() < system:
            self.messages.append({"role": "system", "content": rng.choice(phrases.SYSTEM_PROMPTS)})

    def answer(self, content: str, calls: list[dict[str, Any]] | None = None) -> None:
        message: dict[str, Any] = {"role": "assistant", "content": content}
        if self.thinking:
            message["reasoning_content"] = THOUGHT
        if calls:
            message["tool_calls"] = calls
        self.messages.append(message)

    def ask(self, text: str, pictures: int = 0) -> bool:
        """Add a question; return whether its images stand before it."""
        content: Any = shown(text, pictures, self.rng)["content"] if pictures else text
        self.messages.append({"role": "user", "content": content})
        return not pictures or content[0]["type"] != "text"

    def look(self, asked: Asked, picture: Picture, pictures: int = 0) -> None:
        """Add a question about an image, and its answer."""
        question = said(asked.question, self.rng)
        seen = self.ask(question, pictures)
        # The chat template ignores this key.
        self.messages[-1]["meaning"] = Meaning.of(asked, question, picture.scene, seen=seen)
        self.answer(asked.answer)


def said(question: str, rng: random.Random) -> str:
    """Return the question as people type it: sometimes in lower case or without its last mark."""
    if rng.random() < 0.12:
        question = question[0].lower() + question[1:]
    if rng.random() < 0.12:
        question = question.rstrip("?.")
    if rng.random() < 0.08:
        question = rng.choice((
            f"{question} Answer briefly.", f"Please tell me: {question[0].lower()}{question[1:]}",
            f"Look at the picture. {question}", f"{question} Answer in one word.",
        ))  # fmt: skip
    return question


def one_picture(
    picture: Picture, rng: random.Random, turns: int, skills: Sequence[str] = ()
) -> Viewing:
    """Return several questions about one image, limited to `skills` if any are given.

    The image comes with the first question.
    """
    talk = _Talk(rng)
    used: set[str] = set()
    for _ in range(turns * 2):
        if len(used) >= turns:
            break
        asked = ask(picture.scene, rng, rng.choice(skills) if skills else None)
        if asked is None or asked.question in used:
            continue
        talk.look(asked, picture, 0 if used else 1)
        used.add(asked.question)
    if not used:
        asked = ask(picture.scene, rng, "background")
        assert asked is not None
        talk.ask(asked.question, 1)
        talk.answer(asked.answer)
    return Viewing(talk.messages, [], [picture])


def _in_picture(asked: Asked, index: int, rng: random.Random) -> str:
    question = asked.question[0].lower() + asked.question[1:]
    name = f"the {ORDINALS[index]} picture"
    return rng.choice((
        f"In {name}: {question}", f"Picture {index + 1}: {question}",
        f"Look at {name}. {asked.question}", f"In {name}, {question}",
        f"{asked.question[:-1]} in {name}{asked.question[-1]}",
    ))  # fmt: skip


def several_pictures(pictures: list[Picture], rng: random.Random, turns: int) -> Viewing:
    """Return questions about several images, which come in one message or one per turn."""
    talk = _Talk(rng)
    together = rng.random() < 0.7
    told = 0
    for turn in range(turns):
        if together:
            index, new = rng.randrange(len(pictures)), len(pictures) if turn == 0 else 0
        else:
            new = 1 if turn < len(pictures) else 0
            index = turn if new else rng.randrange(len(pictures))
        asked = ask(pictures[index].scene, rng)
        if asked is None:
            asked = ask(pictures[index].scene, rng, "background")
        assert asked is not None
        question = asked.question if new == 1 else _in_picture(asked, index, rng)
        if together and rng.random() < 0.25 and (which := _which(pictures, rng)) is not None:
            question, answer = which
        else:
            answer = asked.answer
        talk.ask(question, new)
        talk.answer(answer)
        told += new
    return Viewing(talk.messages, [], pictures[:told])


def _which(pictures: list[Picture], rng: random.Random) -> tuple[str, str] | None:
    """Return a question about which image shows a thing that no other image shows."""
    index = rng.randrange(len(pictures))
    scenes = [p.scene for p in pictures]
    if not scenes[index].shapes:
        return None
    thing = rng.choice(scenes[index].shapes)
    name, key = rng.choice(((thing.shape, "shape"), (thing.name, "name")))
    others = [s for i, s in enumerate(scenes) if i != index]
    if any(getattr(t, key) == name for scene in others for t in scene.shapes):
        return None
    article = "an" if name[0] in "aeiou" else "a"
    question = rng.choice(
        (f"Which picture shows {article} {name}?", f"In which picture is {article} {name}?")
    )
    return question, f"the {ORDINALS[index]}"


def with_tools(pictures: list[Picture], rng: random.Random) -> Viewing | None:
    """Return calls of tools with what images show; None if the first scene is not clear enough."""
    talk = _Talk(rng, 0.35)
    made = make(pictures[0].scene, rng)
    if made is None:
        return None
    tool, request = made
    shown_pictures = [pictures[0]]
    offered = [tool]
    level = Difficulty(hard=0.1)
    for offer in dialogues.offers(rng, TRAINING, level, rng.choice((0, 0, 0, 1, 1, 2))):
        if offer.tool.name != tool.name:
            offered.append(offer.tool)
    second = make(pictures[1].scene, rng) if len(pictures) > 1 else None
    if second is not None and second[0].name not in [t.name for t in offered]:
        offered.append(second[0])
    else:
        second = None
    rng.shuffle(offered)
    before = rng.random() < 0.3 and (asked := ask(pictures[0].scene, rng)) is not None
    if before:
        assert asked is not None
        talk.ask(asked.question, 1)
        talk.answer(asked.answer)
    requests = [(pictures[0], request)] + ([(pictures[1], second[1])] if second else [])
    for calls, (picture, wanted) in enumerate(requests, 1):
        new = 0 if before and calls == 1 else 1
        if calls > 1:
            shown_pictures.append(picture)
        talk.ask(said(wanted.said, rng), new)
        talk.answer("", [{"id": f"call_{calls}", **wanted.call()}])
        if rng.random() < 0.75:
            content, told = results.result(rng, TRAINING)
            if rng.random() < 0.5:
                content, told = rng.choice(results.NOTHING), "Done."
            talk.messages.append(
                {"role": "tool", "tool_call_id": f"call_{calls}", "content": content}
            )
            talk.answer(told)
        else:
            break
    if talk.messages[-1]["content"] and rng.random() < 0.5:
        asked = ask(shown_pictures[-1].scene, rng)
        if asked is not None:
            talk.ask(asked.question)
            talk.answer(asked.answer)
    style = Style.random(rng)
    return Viewing(talk.messages, [t.schema(style) for t in offered], shown_pictures)


__all__ = ["Document", "Viewing", "ViewingEncoder", "one_picture", "several_pictures", "with_tools"]
