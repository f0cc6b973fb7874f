"""Facts that users tell, and the questions with which they ask for them later."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from mlx_notebook.demo_models.training.tiny_chat.language import phrases, values
from mlx_notebook.demo_models.training.tiny_chat.language.lexicon import Lexicon

from .chatting import Exchange

FACTS: tuple[tuple[str, str, tuple[str, ...], str, tuple[str, ...]], ...] = (
    # name, kind, the user's statement, the later answer, the user's question
    (
        "name",
        "person",
        (
            "my name is {v}",
            "I am {v}",
            "call me {v}",
            "I'm {v}",
            "this is {v}",
            "people call me {v}",
        ),
        "Your name is {v}.",
        (
            "what is my name",
            "what's my name",
            "who am I",
            "do you remember my name",
            "what am I called",
            "say my name",
        ),
    ),
    (
        "city",
        "city",
        ("I live in {v}", "I come from {v}", "my home is {v}", "I am from {v}", "my city is {v}"),
        "You live in {v}.",
        (
            "where do I live",
            "where am I from",
            "which city do I live in",
            "what is my city",
            "where is my home",
        ),
    ),
    (
        "age",
        "small",
        ("I am {v} years old", "my age is {v}", "I'm {v} years old"),
        "You are {v} years old.",
        ("how old am I", "what is my age", "what's my age"),
    ),
    (
        "colour",
        "colour",
        (
            "my favourite colour is {v}",
            "my favorite color is {v}",
            "I like {v} best",
            "the colour I like most is {v}",
        ),
        "Your favourite colour is {v}.",
        (
            "what is my favourite colour",
            "which colour do I like",
            "what's my favorite color",
            "what colour do I like best",
        ),
    ),
    (
        "food",
        "food",
        ("my favourite food is {v}", "I love {v}", "I like to eat {v}", "I like eating {v}"),
        "You like {v}.",
        (
            "what is my favourite food",
            "what do I like to eat",
            "which food do I like",
            "what food do I love",
        ),
    ),
    (
        "pet",
        "word",
        (
            "my {animal} is called {v}",
            "I have a {animal} called {v}",
            "my {animal}'s name is {v}",
            "I have a {animal} named {v}",
        ),
        "Your {animal} is called {v}.",
        (
            "what is my {animal} called",
            "what is the name of my {animal}",
            "how is my {animal} called",
        ),
    ),
    (
        "job",
        "word",
        ("I work as a {v}", "my job is {v}", "I am a {v} by profession"),
        "You work as a {v}.",
        ("what is my job", "what do I do for work", "what do I work as"),
    ),
    (
        "code",
        "code",
        (
            "the code is {v}",
            "remember the code {v}",
            "my code is {v}",
            "the secret code is {v}",
            "the password is {v}",
        ),
        "The code is {v}.",
        (
            "what is the code",
            "what was the code",
            "tell me the code",
            "which code did I give you",
            "what is the password",
        ),
    ),
    (
        "number",
        "int",
        (
            "my lucky number is {v}",
            "remember the number {v}",
            "the number is {v}",
            "my number is {v}",
        ),
        "The number is {v}.",
        (
            "what is my number",
            "which number did I tell you",
            "what was the number",
            "what is my lucky number",
        ),
    ),
    (
        "friend",
        "person",
        ("my friend is called {v}", "my best friend is {v}", "{v} is my friend"),
        "Your friend is called {v}.",
        ("what is my friend called", "who is my friend", "what is the name of my friend"),
    ),
    (
        "meeting",
        "time",
        ("my meeting is at {v}", "I have a meeting at {v}", "we meet at {v}"),
        "Your meeting is at {v}.",
        ("when is my meeting", "what time is my meeting", "at what time do we meet"),
    ),
    (
        "place",
        "room",
        ("my keys are in the {v}", "I left the keys in the {v}", "the keys are in the {v}"),
        "Your keys are in the {v}.",
        ("where are my keys", "where did I leave the keys", "in which room are the keys"),
    ),
    (
        "thing",
        "word",
        (
            "the {q} is {v}",
            "my {q} is {v}",
            "remember that the {q} is {v}",
            "the {q} of this is {v}",
        ),
        "The {q} is {v}.",
        (
            "what is the {q}",
            "what is my {q}",
            "tell me the {q}",
            "which {q} did I say",
            "what was the {q}",
        ),
    ),
)
NICE = {"name": "Nice to meet you, {v}."}


@dataclass
class Fact:
    """A fact: how the user tells it and asks for it, the two answers, and the value."""

    kind: str
    told: str
    asked: str
    reply: str
    answer: str
    value: str
    json: Any


def drawn(rng: Random, lexicon: Lexicon, name: str | None = None) -> Fact:
    """Return a fact of the kind `name`, or of any kind."""
    known = next((f for f in FACTS if f[0] == name), None) or rng.choice(FACTS)
    kind, value = known[0], values.draw(known[1], rng, lexicon)
    fill = {
        "v": value.spoken,
        "animal": rng.choice(lexicon.animals),
        "q": rng.choice(lexicon.qualities + lexicon.nouns),
    }
    told = rng.choice(known[2]).format(**fill)
    asked = rng.choice(known[4]).format(**fill)
    reply = NICE.get(kind, "I will remember that.").format(**fill)
    answer = known[3].format(**fill)
    return Fact(kind, told, asked, reply, answer, value.spoken, value.json)


def fact(
    rng: Random, lexicon: Lexicon, name: str | None = None
) -> tuple[Exchange, Exchange, Exchange]:
    """Return three exchanges: a user tells a fact, asks for it, or asks without telling it."""
    known = drawn(rng, lexicon, name)
    return (
        Exchange(
            _told(known.told, known.value, rng),
            known.reply,
            "The user tells me something. I remember it.",
            "Ok.",
        ),
        _asking(known, rng),
        Exchange(
            phrases.as_user(known.asked, rng),
            "You have not told me yet.",
            "The user has not told me this.",
            "Unknown.",
        ),
    )


def _asking(known: Fact, rng: Random) -> Exchange:
    said = phrases.as_user(known.asked, rng)
    return Exchange(said, known.answer, f"The user told me: {known.value}.", known.value)


def two_facts(rng: Random, lexicon: Lexicon) -> list[Exchange]:
    """Return exchanges in which the user tells two facts at once, or asks at once.

    The first fact is often the name, as when people introduce themselves.
    """
    one = drawn(rng, lexicon, rng.choice(("name", "name", "name", None)))
    two = drawn(rng, lexicon)
    while two.kind == one.kind:
        two = drawn(rng, lexicon)
    joint = rng.choice((" and ", " and ", ". ", ", "))
    second = two.told[0].upper() + two.told[1:] if joint == ". " else two.told
    said = _told(one.told + joint + second, one.value, rng)
    known = rng.choice((one, one, two))
    asking = _asking(known, rng)
    if rng.random() < 0.5:
        asked = known.asked[0].upper() + known.asked[1:]
        said = said.rstrip(".!") + f". {asked}?"
        return [Exchange(said, asking.answer, asking.thought, asking.word)]
    thought = "The user tells me something. I remember it."
    return [Exchange(said, one.reply, thought, "Ok."), asking]


RECORDED = ("name", "city", "age", "colour", "food", "job", "code", "number")


def record(rng: Random, lexicon: Lexicon) -> tuple[str, dict[str, Any]]:
    """Return facts that a user tells together, without a full stop, and the same as a record."""
    kinds = rng.sample(RECORDED, rng.choice((1, 2, 2, 3)))
    if rng.random() < 0.5:
        kinds = list(dict.fromkeys(["name", "age", *kinds[2:]]))
    facts = [drawn(rng, lexicon, kind) for kind in kinds]
    said = rng.choice((" and ", ", ")).join(known.told for known in facts)
    return said, {known.kind: known.json for known in facts}


def _told(said: str, value: str, rng: Random) -> str:
    if rng.random() < 0.25:
        said = (
            rng.choice(
                ("hi, ", "hello! ", "please remember: ", "by the way, ", "remember that ", "note: ")
            )
            + said
        )
    if rng.random() < 0.6 and not said.startswith(value):
        said = said[0].upper() + said[1:]
    return said + rng.choice((".", ".", "", "!"))
