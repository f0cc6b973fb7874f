"""Generate exchanges without tools: small talk, arithmetic, lists, code, JSON and copying."""

from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random
from typing import Any

from . import phrases, values, words
from .lexicon import Lexicon
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


KEYS = {
    "name": "person",
    "age": "small",
    "city": "city",
    "email": "email",
    "colour": "colour",
    "color": "colour",
    "date": "date",
    "time": "time",
    "price": "number",
    "country": "country",
    "animal": "animal",
    "food": "food",
    "language": "language",
    "title": "title",
    "quantity": "small",
    "id": "int",
    "code": "code",
    "topic": "topic",
    "size": "int",
    "room": "room",
    "job": "word",
    "weight": "number",
    "key": "word",
    "file": "file",
}
"""Keys of records, and the kind of value of each."""


def described(rng: Random, lexicon: Lexicon) -> tuple[str, dict[str, Any]]:
    """Return facts in one sentence, without a full stop, and the same facts as a record."""
    count = rng.choice((1, 2, 2, 2, 3, 3, 4))
    keys = rng.sample(sorted(KEYS), count)
    drawn = {key: values.draw(KEYS[key], rng, lexicon) for key in keys}
    record: dict[str, Any] = {key: value.json for key, value in drawn.items()}
    style = rng.random()
    if "name" in drawn and "age" in drawn and count == 2 and style < 0.7:
        facts = rng.choice(
            (
                f"{drawn['name'].spoken} is {drawn['age'].spoken} years old",
                f"{drawn['name'].spoken} is {drawn['age'].spoken}",
            )
        )
    elif style < 0.5:
        facts = enumeration([f"the {key} is {value.spoken}" for key, value in drawn.items()])
    elif style < 0.8:
        facts = ", ".join(f"{key} {value.spoken}" for key, value in drawn.items())
    else:
        facts = ", ".join(f"{key}: {value.spoken}" for key, value in drawn.items())
    return facts, record


PEOPLE: tuple[tuple[str, ...], ...] = (
    # Keys in the order of the record, then ways to say it.
    (
        "name age",
        "{name} is {age} years old",
        "{name} is {age}",
        "{name}, {age}",
        "{name} turned {age}",
    ),
    (
        "name city",
        "{name} lives in {city}",
        "{name} is from {city}",
        "{name} comes from {city}",
        "{name} moved to {city}",
    ),
    (
        "name age city",
        "{name} is {age} and lives in {city}",
        "{name} is {age} years old and lives in {city}",
        "{name} from {city} is {age} years old",
        "{name}, {age}, {city}",
        "{name}, {age}, from {city}",
    ),
    ("name job", "{name} works as a {job}", "{name} is a {job}", "the {job} is called {name}"),
    ("name job city", "{name} works as a {job} in {city}", "{name} is a {job} from {city}"),
    ("name email", "{name} has the email {email}", "write to {name} at {email}"),
    ("name colour", "{name} likes {colour}", "{name}'s favourite colour is {colour}"),
    (
        "food quantity",
        "I want {quantity} {food}",
        "{quantity} {food} please",
        "order {quantity} {food}",
    ),
    (
        "item price",
        "the {item} costs {price}",
        "{item} for {price}",
        "a {item} at {price}",
    ),
    (
        "city temperature",
        "it is {temperature} degrees in {city}",
        "{city} has {temperature} degrees",
    ),
    ("title date", "{title} is on {date}", "the meeting {title} is on {date}"),
)
OTHER_KEYS = {"item": "object", "temperature": "small", "quantity": "small"}


def person(rng: Random, lexicon: Lexicon) -> tuple[str, dict[str, Any]]:
    """Return a sentence about somebody or something, as people write it, and its record."""
    keys, *said = rng.choice(PEOPLE)
    drawn = {
        key: values.draw(OTHER_KEYS.get(key) or KEYS[key], rng, lexicon) for key in keys.split()
    }
    record = {key: value.json for key, value in drawn.items()}
    if rng.random() < 0.3:  # A schema may have the keys in another order.
        record = dict(rng.sample(sorted(record.items()), len(record)))
    return rng.choice(said).format(**{k: v.spoken for k, v in drawn.items()}), record


GOOD = words._list(
    "good great excellent wonderful perfect lovely amazing fantastic nice brilliant superb"
)
BAD = words._list(
    "bad terrible awful horrible poor broken dreadful boring useless slow disappointing"
)
LIKED = (
    "I love {it}",
    "I loved {it}",
    "I really like {it}",
    "I enjoyed {it}",
    "I would buy {it} again",
)
HATED = (
    "I hate {it}",
    "I hated {it}",
    "I do not like {it}",
    "I want my money back for {it}",
    "I will never buy {it} again",
)
JUDGED = (
    "the {thing} is {how}",
    "the {thing} was {how}",
    "what a {how} {thing}",
    "{how} {thing}",
    "this {thing} is really {how}",
    "a {how} {thing}, and the {other} was {same}",
)
THINGS = words._list(
    "film movie book food service hotel room staff product delivery game song course"
)


def moody(rng: Random, lexicon: Lexicon) -> tuple[str, dict[str, Any]]:
    """Return a sentence of praise or blame, and its sentiment as a record."""
    good = rng.random() < 0.5
    thing, other = rng.sample(THINGS, 2)
    how, same = rng.sample(GOOD if good else BAD, 2)
    if rng.random() < 0.4:
        it = rng.choice(("it", "this", f"the {thing}", f"this {thing}"))
        said = rng.choice(LIKED if good else HATED).format(it=it)
    else:
        said = rng.choice(JUDGED).format(thing=thing, other=other, how=how, same=same)
    return said, {"sentiment": "positive" if good else "negative"}


def mood(rng: Random, lexicon: Lexicon) -> Exchange:
    """Return a question whether a sentence is positive or negative."""
    said, record = moody(rng, lexicon)
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
    facts, record = described(rng, lexicon)
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
