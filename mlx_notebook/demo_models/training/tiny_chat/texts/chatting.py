"""Generate exchanges without tools: small talk, arithmetic, lists, code, JSON and copying."""

from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random

from mlx_notebook.demo_models.training.tiny_chat.language import phrases, values, words
from mlx_notebook.demo_models.training.tiny_chat.language.lexicon import Lexicon

from . import records
from .results import enumeration
from .snippets import CODE, SNIPPETS


@dataclass
class Exchange:
    """One user message and its answer; `thought` is the reasoning before the answer."""

    user: str
    answer: str
    thought: str
    word: str = ""
    """The answer in one word, if there is one."""


def small_talk(rng: Random, lexicon: Lexicon) -> Exchange:
    """Return a greeting, thanks, or a question about the model itself."""
    weights = [3 if i in (2, 3, 4) else 1 for i in range(len(phrases.intents()))]
    intent = rng.choices(phrases.intents(), weights)[0]
    said = rng.choice(intent.phrasings)
    return Exchange(
        phrases.as_user(said, rng, command=False),
        intent.answer,
        "No tool is needed. I answer directly.",
        intent.word,
    )


def open_question(rng: Random, lexicon: Lexicon) -> Exchange:
    """Return a question of general knowledge, which the model declines to answer."""
    said = rng.choice(phrases.OPEN_QUESTIONS)
    for kind in (
        "topic2",
        "topic",
        "object",
        "city",
        "country",
        "colour",
        "animal",
        "person",
        "food",
        "language",
    ):
        if "{" + kind + "}" in said:
            said = said.replace(
                "{" + kind + "}", values.draw(kind.removesuffix("2"), rng, lexicon).spoken
            )
    said = said.replace("{year}", str(rng.randint(1800, 2030)))
    return Exchange(
        phrases.as_user(said, rng),
        phrases.UNKNOWN,
        "I do not know this and no tool fits.",
        "Unknown.",
    )


def arithmetic(rng: Random, lexicon: Lexicon) -> Exchange:
    """Return a sum or difference of numbers below 100, or a small product."""
    sign = rng.choice("++-*")
    high = 10 if sign == "*" else rng.choice((10, 10, 20, 100))
    a, b = rng.randint(0, high), rng.randint(0, high)
    if sign == "-" and b > a:
        a, b = b, a
    result = {"+": a + b, "-": a - b, "*": a * b}[sign]
    word = {"+": "plus", "-": "minus", "*": "times"}[sign]
    said = rng.choice(
        (
            f"what is {a} {word} {b}",
            f"what's {a} {sign} {b}",
            f"{a} {sign} {b}",
            f"how much is {a} {word} {b}",
            f"{a}{sign}{b}",
            f"what is {a}{sign}{b}",
            f"{a}{sign}{b}=?",
            f"what does {a} {sign} {b} make",
            f"calculate {a} {sign} {b}",
        )
    )
    return Exchange(
        phrases.as_user(said, rng, True),
        f"{a} {sign} {b} = {result}",
        f"{a} {sign} {b} is {result}.",
        f"{result}",
    )


def repeat(rng: Random, lexicon: Lexicon) -> Exchange:
    """Return a request to repeat given words exactly."""
    count = rng.choice((1, 1, 2, 3, 4, 6, 9))
    kinds = [
        "word",
        "word",
        "title",
        "text",
        "code",
        "person",
        "city",
        "number",
        "file",
        "email",
        "query",
    ]
    text = " ".join(values.draw(rng.choice(kinds), rng, lexicon).spoken for _ in range(count))
    form = rng.choice(
        (
            "repeat after me: {}",
            "repeat: {}",
            "say {}",
            'say "{}"',
            "repeat {}",
            "echo {}",
            'repeat "{}"',
            "write {}",
            "answer with {}",
            'reply with "{}"',
            "say exactly this: {}",
            "just say {}",
        )
    )
    return Exchange(_capital(form.format(text), rng), text, "I repeat the words.")


def _capital(text: str, rng: Random) -> str:
    return text[0].upper() + text[1:] if rng.random() < 0.6 else text


def mood(rng: Random, lexicon: Lexicon) -> Exchange:
    """Return a question whether a sentence is positive or negative."""
    said, record = records.moody(rng, lexicon)
    question = rng.choice(
        (
            "is this positive or negative: {}",
            "positive or negative? {}",
            "what is the sentiment of this: {}",
            "classify the sentiment: {}",
            "sentiment of: {}",
            "is this review positive or negative? {}",
        )
    )
    user = _capital(question.format(said), rng) + rng.choice(("", ".", "!"))
    return Exchange(user, record["sentiment"], "I judge the words.", record["sentiment"])


def extraction(rng: Random, lexicon: Lexicon) -> Exchange:
    """Return a request to extract facts from a sentence as JSON with given keys."""
    facts, record = records.described(rng, lexicon)
    count, listed = len(record), enumeration(list(record))
    word = "key" if count == 1 else "keys"
    request = rng.choice(
        (
            f"reply in JSON with {word} {listed}",
            f"answer as JSON with the {word} {listed}",
            f"give me JSON with {listed}",
            f"return JSON with {word} {listed}",
            f"as JSON with {word} {listed}",
            f"extract {listed} as JSON",
            f"write a JSON object with {word} {listed}",
            "reply in JSON",
            "answer in JSON",
            f"JSON with {listed}",
        )
    )
    if rng.random() < 0.5:
        user = f"{_capital(request, rng)}: {facts}" + rng.choice(("", "."))
    else:
        user = f"{_capital(facts, rng)}. {_capital(request, rng)}" + rng.choice(("", "."))
    return Exchange(user, json.dumps(record, ensure_ascii=False), f"The keys are {listed}.")


def bullet_list(rng: Random, lexicon: Lexicon) -> Exchange:
    """Return a request for a short Markdown list of things of one kind."""
    _kind, plural, choices = rng.choice(
        (
            ("colour", "colours", words.COLOURS),
            ("color", "colors", words.COLOURS),
            ("animal", "animals", words.ANIMALS),
            ("food", "foods", words.FOODS),
            ("city", "cities", words.CITIES),
            ("name", "names", words.FIRST_NAMES),
            ("language", "languages", words.LANGUAGES),
            ("country", "countries", words.COUNTRIES),
            ("object", "objects", words.OBJECTS),
        )
    )
    count = rng.randint(2, 7)
    spoken = values.NUMBER_WORDS[count] if rng.random() < 0.6 else str(count)
    start = rng.randrange(min(4, len(choices) - count))
    chosen = [choices[(start + i) % len(choices)] for i in range(count)]
    numbered = rng.random() < 0.25
    form = rng.choice(
        (
            "give me a list of {} {}",
            "list {} {}",
            "name {} {}",
            "show me {} {}",
            "write a list of {} {}",
            "tell me {} {}",
        )
    )
    said = form.format(spoken, plural)
    if numbered:
        said = rng.choice(
            (
                f"give me a numbered list of {spoken} {plural}",
                f"number {spoken} {plural}",
                f"{said} with numbers",
            )
        )
    lines = [f"{i}. {item}" if numbered else f"- {item}" for i, item in enumerate(chosen, 1)]
    return Exchange(phrases.as_user(said, rng), "\n".join(lines), f"A list of {count} {plural}.")


def code(rng: Random, lexicon: Lexicon) -> Exchange:
    """Return a request for a small Python code block."""
    if rng.random() < 0.25:
        source = rng.choice(sorted(SNIPPETS))
        said = rng.choice(SNIPPETS[source])
    else:
        source = rng.choice(sorted(CODE))
        does = rng.choice(CODE[source])
        said = rng.choice(
            (
                "write a function that {}",
                "write a python function that {}",
                "give me a function which {}",
                "python function that {}",
                "show me code that {}",
                "I need a function that {}",
                "code a function that {}",
                "write python code that {}",
            )
        )
        said = said.format(does)
    return Exchange(
        phrases.as_user(said, rng), f"```python\n{source}\n```", "I write a short code block."
    )


def any_exchange(rng: Random, lexicon: Lexicon, tools: bool = False) -> Exchange:
    """Return any exchange without memory.

    With `tools`, leave out exchanges that a calculator or search tool could answer.
    """
    roll = rng.random()
    if tools:
        if roll < 0.7:
            return small_talk(rng, lexicon)
        return rng.choice((repeat, code, bullet_list, extraction))(rng, lexicon)
    if roll < 0.55:
        return small_talk(rng, lexicon)
    if roll < 0.63:
        return open_question(rng, lexicon)
    return rng.choice(
        (arithmetic, arithmetic, repeat, repeat, extraction, extraction, bullet_list, code)
    )(rng, lexicon)
