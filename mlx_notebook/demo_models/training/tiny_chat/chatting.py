"""Exchanges that need no tool: small talk, memory, sums, lists, code, JSON, copying."""

from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random
from typing import Any

from . import phrases, values, words
from .lexicon import Lexicon
from .results import enumeration


@dataclass
class Exchange:
    """One user message and its answer; `thought` is what the model thinks first, when it thinks."""

    user: str
    answer: str
    thought: str
    word: str = ""
    """The answer in one word, where there is one."""


def small_talk(rng: Random, lexicon: Lexicon) -> Exchange:
    """A greeting, thanks, a question about the model itself."""
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
    """A question of knowledge, which the model declines."""
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
    """A sum or difference of numbers below 100, or a small product."""
    sign = rng.choice("++-*")
    high = 10 if sign == "*" else rng.choice((10, 20, 100))
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
        )
    )
    return Exchange(
        phrases.as_user(said, rng, True),
        f"{a} {sign} {b} = {result}",
        f"{a} {sign} {b} is {result}.",
        f"{result}",
    )


def repeat(rng: Random, lexicon: Lexicon) -> Exchange:
    """Say exactly what the user wants said."""
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


def extraction(rng: Random, lexicon: Lexicon) -> Exchange:
    """Facts in a sentence, asked for as JSON with given keys."""
    count = rng.choice((1, 2, 2, 2, 3, 3, 4))
    kinds = {
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
    keys = rng.sample(sorted(kinds), count)
    drawn = {key: values.draw(kinds[key], rng, lexicon) for key in keys}
    record: dict[str, Any] = {key: value.json for key, value in drawn.items()}
    listed = enumeration(keys)
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
    """A short Markdown list of things of one kind."""
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
    spoken = values._NUMBER_WORDS[count] if rng.random() < 0.6 else str(count)
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


CODE: dict[str, tuple[str, ...]] = {
    "def add(a, b):\n    return a + b": (
        "adds two numbers",
        "sums two numbers",
        "returns the sum of two numbers",
    ),
    "def subtract(a, b):\n    return a - b": (
        "subtracts two numbers",
        "returns the difference of two numbers",
    ),
    "def multiply(a, b):\n    return a * b": (
        "multiplies two numbers",
        "returns the product of two numbers",
    ),
    "def divide(a, b):\n    return a / b": ("divides two numbers", "divides one number by another"),
    "def square(x):\n    return x * x": ("squares a number", "returns the square of a number"),
    'def greet(name):\n    return f"Hello, {name}!"': (
        "greets a person",
        "says hello to somebody",
        "greets someone by name",
    ),
    "def is_even(n):\n    return n % 2 == 0": (
        "checks whether a number is even",
        "tells if a number is even",
    ),
    "def factorial(n):\n    return 1 if n < 2 else n * factorial(n - 1)": (
        "computes a factorial",
        "computes the factorial of n",
    ),
    "def reverse(text):\n    return text[::-1]": ("reverses a string", "turns a string around"),
    "def largest(numbers):\n    return max(numbers)": (
        "finds the largest number",
        "returns the maximum of a list",
    ),
    "def mean(numbers):\n    return sum(numbers) / len(numbers)": (
        "computes the mean",
        "averages a list of numbers",
    ),
    "def fibonacci(n):\n    a, b = 0, 1\n"
    "    for _ in range(n):\n        a, b = b, a + b\n    return a": (
        "computes fibonacci numbers",
        "returns the n-th fibonacci number",
    ),
    "def count_words(text):\n    return len(text.split())": (
        "counts words",
        "counts the words of a text",
    ),
}
SNIPPETS: dict[str, tuple[str, ...]] = {
    'print("Hello, world!")': (
        "write hello world in python",
        "hello world in python",
        "print hello world",
        "show me hello world",
    ),
    "for i in range(10):\n    print(i)": (
        "write a loop in python",
        "show me a for loop",
        "write a for loop",
        "loop over ten numbers",
    ),
    'import pandas as pd\n\ntable = pd.read_csv("data.csv")\ntable.head()': (
        "read a csv with pandas",
        "show me how to read a csv file in python",
    ),
    "squares = [n * n for n in range(10)]": (
        "write a list comprehension",
        "show me a list comprehension",
    ),
}


def code(rng: Random, lexicon: Lexicon) -> Exchange:
    """A small Python code block."""
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


FACTS: tuple[tuple[str, str, tuple[str, ...], str, tuple[str, ...]], ...] = (
    # name, kind, what the user says, the answer given later, how it is asked for
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


def fact(
    rng: Random, lexicon: Lexicon, name: str | None = None
) -> tuple[Exchange, Exchange, Exchange]:
    """A fact told, asked for later, and asked for when it was never told."""
    known = next((f for f in FACTS if f[0] == name), None) or rng.choice(FACTS)
    kind, value = known[0], values.draw(known[1], rng, lexicon).spoken
    fill = {
        "v": value,
        "animal": rng.choice(lexicon.animals),
        "q": rng.choice(lexicon.qualities + lexicon.nouns),
    }
    told = rng.choice(known[2]).format(**fill)
    asked = rng.choice(known[4]).format(**fill)
    reply = NICE.get(kind, "I will remember that.").format(**fill)
    answer = known[3].format(**fill)
    return (
        Exchange(
            _told(told, value, rng), reply, "The user tells me something. I remember it.", "Ok."
        ),
        Exchange(phrases.as_user(asked, rng), answer, f"The user told me: {value}.", value),
        Exchange(
            phrases.as_user(asked, rng),
            "You have not told me yet.",
            "The user has not told me this.",
            "Unknown.",
        ),
    )


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


def any_exchange(rng: Random, lexicon: Lexicon, tools: bool = False) -> Exchange:
    """Any exchange without memory; with `tools`, none that a calculator or search could do."""
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
