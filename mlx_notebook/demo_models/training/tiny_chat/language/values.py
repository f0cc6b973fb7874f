"""Generate random argument values by kind: the JSON value, and how a user writes it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any, NamedTuple

from . import held_out, words
from .lexicon import Lexicon
from .likely_words import likely_word


class Value(NamedTuple):
    """A JSON value, and how a user writes it."""

    json: Any
    spoken: str


_ONSETS = [
    "b",
    "c",
    "d",
    "f",
    "g",
    "h",
    "j",
    "k",
    "l",
    "m",
    "n",
    "p",
    "r",
    "s",
    "t",
    "v",
    "w",
    "z",
    "br",
    "cl",
    "dr",
    "fl",
    "gr",
    "kr",
    "pl",
    "pr",
    "sh",
    "sk",
    "st",
    "th",
    "tr",
    "ch",
    "qu",
]
_VOWELS = ["a", "e", "i", "o", "u", "a", "e", "i", "o", "ai", "ea", "ee", "oa", "ou", "y"]
_CODAS = ["", "", "", "n", "r", "l", "s", "t", "m", "x", "nd", "rk", "st", "ck", "sh", "ng"]
NUMBER_WORDS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
]
_PIECES: list[str] = []


def use_pieces(pieces: list[str]) -> None:
    """Allow invented words to contain these strings, which are tokens of the tokenizer."""
    _PIECES[:] = pieces


def invented_word(rng: Random) -> str:
    """Return a meaningless word.

    It has one to three syllables, or random vocabulary pieces, or looks like English.
    """
    word = _any_word(rng)
    while word.lower() in held_out_words():
        word = _any_word(rng)
    return word


@cache
def held_out_words() -> frozenset[str]:
    """Return the words that no training text may contain, in lower case."""
    lists = [
        value
        for name, value in vars(held_out).items()
        if name.isupper() and isinstance(value, tuple)
    ]
    return frozenset(word.lower() for words in (*lists, tuple(held_out.SAID)) for word in words)


def _any_word(rng: Random) -> str:
    if rng.random() < 0.5:
        return likely_word(rng)
    if _PIECES and rng.random() < 0.5:
        word = "".join(rng.choice(_PIECES) for _ in range(rng.choice((1, 1, 2, 2, 3))))
    else:
        word = "".join(
            rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS)
            for _ in range(rng.choice((1, 2, 2, 3)))
        )
    return word


def _word(rng: Random, lexicon: Lexicon, choices: tuple[str, ...], invent: float = 0.4) -> str:
    if lexicon.invented and rng.random() < invent:
        word = invented_word(rng)
        return word.capitalize() if choices[0][0].isupper() else word
    return rng.choice(choices)


def _same(text: str) -> Value:
    return Value(text, text)


def integer(rng: Random, lexicon: Lexicon) -> Value:
    """Return an integer, mostly a small one; sometimes the user writes it as a word."""
    high = rng.choice((10, 10, 20, 100, 100, 1000, 10_000, 1_000_000))
    number = rng.randrange(0 if high > 10 else 1, high)
    if number <= 12 and rng.random() < 0.15:
        return Value(number, NUMBER_WORDS[number])
    if rng.random() < 0.04:
        return Value(-number, str(-number))
    return Value(number, str(number))


def small(rng: Random, lexicon: Lexicon) -> Value:
    """Return an integer from 1 to 31."""
    number = rng.choice((rng.randint(1, 12), rng.randint(1, 31)))
    if number <= 12 and rng.random() < 0.15:
        return Value(number, NUMBER_WORDS[number])
    return Value(number, str(number))


def number(rng: Random, lexicon: Lexicon) -> Value:
    """Return a number; half of the numbers have one or two decimals."""
    if rng.random() < 0.5:
        return integer(rng, lexicon)
    decimals = rng.choice((1, 1, 2))
    scale = 10**decimals
    text = f"{rng.randrange(1, rng.choice((10, 100, 1000)) * scale) / scale:.{decimals}f}"
    return Value(float(text), str(float(text)))


def person(rng: Random, lexicon: Lexicon) -> Value:
    """Return a first name, sometimes with a last name."""
    name = _word(rng, lexicon, lexicon.first_names)
    return _same(f"{name} {rng.choice(words.LAST_NAMES)}" if rng.random() < 0.2 else name)


def email(rng: Random, lexicon: Lexicon) -> Value:
    """Return an e-mail address."""
    name = _word(rng, lexicon, lexicon.first_names).lower()
    if rng.random() < 0.25:
        name += "." + rng.choice(words.LAST_NAMES).lower()
    return _same(f"{name}@{rng.choice(words.DOMAINS)}")


def date(rng: Random, lexicon: Lexicon) -> Value:
    """Return an ISO date, a weekday, or a word such as "tomorrow"."""
    kind = rng.random()
    if kind < 0.5:
        return _same(f"{rng.randint(1990, 2035)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}")
    if kind < 0.7:
        return _same(rng.choice(words.WEEKDAYS))
    if kind < 0.85:
        return _same(f"{rng.choice(words.MONTHS)} {rng.randint(1, 31)}")
    return _same(rng.choice(("today", "tomorrow", "yesterday", "tonight", "next week")))


def time(rng: Random, lexicon: Lexicon) -> Value:
    """Return a time of day."""
    if rng.random() < 0.7:
        return _same(
            f"{rng.randint(0, 23):02d}:{rng.choice((0, 15, 30, 45, rng.randint(0, 59))):02d}"
        )
    return _same(
        rng.choice((f"{rng.randint(1, 12)} am", f"{rng.randint(1, 12)} pm", "noon", "midnight"))
    )


def query(rng: Random, lexicon: Lexicon) -> Value:
    """Return a search query of a few words."""
    kind = rng.random()
    noun = _word(rng, lexicon, lexicon.objects + lexicon.nouns)
    if kind < 0.25:
        return _same(_word(rng, lexicon, lexicon.topics))
    if kind < 0.6:
        return _same(f"{_word(rng, lexicon, lexicon.adjectives)} {noun}")
    if kind < 0.75:
        return _same(
            f"{_word(rng, lexicon, lexicon.topics)} in {_word(rng, lexicon, lexicon.cities)}"
        )
    if kind < 0.85:
        return _same(f"how to {rng.choice(words.VERBS)} a {noun}")
    return _same(f"{noun} {_word(rng, lexicon, lexicon.topics)}")


def text(rng: Random, lexicon: Lexicon) -> Value:
    """Return a short message."""
    kind = rng.random()
    if kind < 0.35:
        return _same(rng.choice(words.STATEMENTS))
    noun = _word(rng, lexicon, lexicon.objects + lexicon.foods + lexicon.animals)
    if kind < 0.6:
        return _same(f"the {noun} is {_word(rng, lexicon, lexicon.adjectives)}")
    if kind < 0.8:
        return _same(f"{rng.choice(words.VERBS)} the {noun}")
    return _same(f"hello {_word(rng, lexicon, lexicon.first_names)}")


def task(rng: Random, lexicon: Lexicon) -> Value:
    """Return a task to do."""
    noun = _word(rng, lexicon, lexicon.objects + lexicon.foods + lexicon.animals)
    middle = rng.choice(("the", "a", "some", "my", ""))
    return _same(" ".join(part for part in (rng.choice(words.VERBS), middle, noun) if part))


def title(rng: Random, lexicon: Lexicon) -> Value:
    """Return a title of one to three words."""
    noun = _word(rng, lexicon, lexicon.nouns + lexicon.objects + lexicon.topics)
    if rng.random() < 0.5:
        return _same(noun)
    result = f"{_word(rng, lexicon, lexicon.adjectives)} {noun}"
    return _same(result.title() if rng.random() < 0.4 else result)


def filename(rng: Random, lexicon: Lexicon) -> Value:
    """Return a file name, sometimes with a folder before it."""
    name = _word(rng, lexicon, lexicon.files)
    if rng.random() < 0.2:
        name += f"_{rng.randint(1, 99)}"
    name += "." + rng.choice(words.EXTENSIONS)
    return _same(f"{rng.choice(words.FOLDERS)}/{name}" if rng.random() < 0.25 else name)


def folder(rng: Random, lexicon: Lexicon) -> Value:
    """Return the path of a folder."""
    path = rng.choice(words.FOLDERS)
    return _same(
        rng.choice((path, f"/{path}", f"/home/{path}", f"{path}/{rng.choice(words.FOLDERS)}"))
    )


def url(rng: Random, lexicon: Lexicon) -> Value:
    """Return a web address."""
    path = _word(rng, lexicon, lexicon.nouns)
    return _same(
        rng.choice(
            (f"https://{rng.choice(words.DOMAINS)}", f"https://{rng.choice(words.DOMAINS)}/{path}")
        )
    )


def code(rng: Random, lexicon: Lexicon) -> Value:
    """Return an identifier such as AB-1234 or 00731."""
    letters = "".join(rng.choice("ABCDEFGHJKLMNPRSTUVWXYZ") for _ in range(rng.randint(1, 3)))
    digits = "".join(rng.choice("0123456789") for _ in range(rng.randint(2, 5)))
    return _same(rng.choice((f"{letters}-{digits}", f"{letters}{digits}", digits)))


def expression(rng: Random, lexicon: Lexicon) -> Value:
    """Return a small arithmetic expression."""
    left, right = rng.randint(1, 999), rng.randint(1, 99)
    sign = rng.choice("+-*/")
    gap = rng.choice(("", " "))
    result = f"{left}{gap}{sign}{gap}{right}"
    if rng.random() < 0.25:
        result = f"({result}){gap}{rng.choice('+-*/')}{gap}{rng.randint(1, 20)}"
    return _same(result)


def _choice(name: str) -> Callable[[Random, Lexicon], Value]:
    def draw(rng: Random, lexicon: Lexicon) -> Value:
        return _same(_word(rng, lexicon, getattr(lexicon, name)))

    return draw


def _fixed(choices: tuple[str, ...]) -> Callable[[Random, Lexicon], Value]:
    return lambda rng, lexicon: _same(rng.choice(choices))


def word(rng: Random, lexicon: Lexicon) -> Value:
    """Return a single word."""
    group = rng.choice(
        (lexicon.objects, lexicon.animals, lexicon.foods, lexicon.adjectives, lexicon.nouns)
    )
    return _same(_word(rng, lexicon, group, 0.6))


KINDS: dict[str, Callable[[Random, Lexicon], Value]] = {
    "int": integer,
    "small": small,
    "number": number,
    "person": person,
    "email": email,
    "date": date,
    "time": time,
    "query": query,
    "text": text,
    "task": task,
    "title": title,
    "file": filename,
    "folder": folder,
    "url": url,
    "code": code,
    "expression": expression,
    "word": word,
    "city": _choice("cities"),
    "colour": _choice("colours"),
    "animal": _choice("animals"),
    "food": _choice("foods"),
    "object": _choice("objects"),
    "adjective": _choice("adjectives"),
    "topic": _choice("topics"),
    "column": _choice("columns"),
    "table": _choice("tables"),
    "room": _choice("rooms"),
    "country": _fixed(words.COUNTRIES),
    "language": _fixed(words.LANGUAGES),
    "currency": _fixed(words.CURRENCIES),
    "unit": _fixed(words.UNITS),
    "weekday": _fixed(words.WEEKDAYS),
    "month": _fixed(words.MONTHS),
    "device": _fixed(words.DEVICES),
    "company": _fixed(words.COMPANIES),
    "ticker": _fixed(words.TICKERS),
    "song": _fixed(words.SONGS),
    "genre": _fixed(words.GENRES),
    "condition": _fixed(words.CONDITIONS),
}


def draw(kind: str, rng: Random, lexicon: Lexicon) -> Value:
    """Return a value of the given kind.

    Raises
    ------
    KeyError
        If the kind does not exist.
    """
    return KINDS[kind](rng, lexicon)
