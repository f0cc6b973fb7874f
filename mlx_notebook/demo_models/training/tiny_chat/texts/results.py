"""Generate tool results, and the sentences with which the model reports them."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from mlx_notebook.demo_models.training.tiny_chat.language import values, words
from mlx_notebook.demo_models.training.tiny_chat.language.lexicon import Lexicon

ERRORS = (
    "not found",
    "permission denied",
    "no such file",
    "timeout",
    "invalid argument",
    "the server is down",
    "unknown city",
    "division by zero",
    "no connection",
    "out of stock",
    "access denied",
    "bad request",
    "file does not exist",
    "limit reached",
    "not available",
    "no results",
)
NOTHING = (
    "ok",
    "null",
    "done",
    '{"status": "ok"}',
    '{"ok": true}',
    '{"success": true}',
    "None",
    "success",
    "",
)
KEYS = {
    "temperature": "int",
    "condition": "condition",
    "price": "number",
    "status": "word",
    "id": "int",
    "name": "person",
    "city": "city",
    "total": "number",
    "count": "int",
    "date": "date",
    "time": "time",
    "colour": "colour",
    "distance": "int",
    "owner": "person",
    "title": "title",
    "code": "code",
    "mean": "number",
    "min": "number",
    "max": "number",
    "rate": "number",
    "currency": "currency",
    "duration": "int",
    "wind": "int",
    "order_id": "code",
    "size": "int",
    "length": "int",
    "score": "int",
    "balance": "number",
    "std": "number",
    "population": "int",
    "country": "country",
    "email": "email",
    "room": "room",
    "item": "food",
}


def result(rng: Random, lexicon: Lexicon) -> tuple[str, str]:
    """Return a tool's output as text, and the model's sentence about it."""
    kind = rng.random()
    if kind < 0.42:
        return _record(rng, lexicon)
    if kind < 0.58:
        number = values.draw(rng.choice(("int", "number")), rng, lexicon)
        text = json.dumps(number.json)
        return (f'{{"result": {text}}}' if rng.random() < 0.25 else text), f"The result is {text}."
    if kind < 0.68:
        return _sentence(rng, lexicon)
    if kind < 0.75:
        word = values.draw(
            rng.choice(("word", "title", "person", "city", "code", "file")), rng, lexicon
        ).spoken
        return (word if rng.random() < 0.7 else json.dumps(word)), f"The result is {word}."
    if kind < 0.84:
        group = rng.choice(("word", "food", "city", "person", "int", "column", "file"))
        items = [values.draw(group, rng, lexicon).json for _ in range(rng.randint(2, 4))]
        return json.dumps(items), f"The results are {enumeration(items)}."
    if kind < 0.93:
        return rng.choice(NOTHING), "Done."
    error = rng.choice(ERRORS)
    form = rng.choice(
        ('{{"error": "{}"}}', "Error: {}", "error: {}", "ValueError: {}", '{{"error": "{}"}}')
    )
    return form.format(error), f"That failed: {error}."


def compact_result(rng: Random, lexicon: Lexicon) -> tuple[str, str]:
    """Return an output as programs write it: compact JSON, keys of any kind, errors with types."""
    kind = rng.random()
    if kind < 0.8:
        keys = rng.sample(sorted({*KEYS, *lexicon.qualities, *lexicon.nouns}), rng.randint(1, 3))
        some = rng.sample(sorted(KEYS), rng.randint(1, 2))
        names = list(dict.fromkeys(rng.choice((some + keys, keys + some, keys, some))))[:4]
        record = {name: values.draw(KEYS.get(name, "word"), rng, lexicon).json for name in names}
        return json.dumps(record, separators=(",", ":")), about(record)
    if kind < 0.9:
        items = [rng.randint(0, 99) for _ in range(rng.randint(2, 4))]
        return json.dumps(items, separators=(",", ":")), f"The results are {enumeration(items)}."
    error = rng.choice(ERRORS)
    return f"Error: {rng.choice(('ValueError', 'KeyError'))}: {error}", f"That failed: {error}."


def _record(rng: Random, lexicon: Lexicon) -> tuple[str, str]:
    names = rng.sample(sorted(KEYS), rng.choice((1, 2, 2, 2, 3)))
    if rng.random() < 0.25:
        names[0] = rng.choice(lexicon.qualities)
        names = list(dict.fromkeys(names))
    record: dict[str, Any] = {}
    for name in names:
        record[name] = values.draw(KEYS.get(name, "word"), rng, lexicon).json
        if rng.random() < 0.04:
            record[name] = rng.random() < 0.5
    return json.dumps(record), about(record)


def about(record: dict[str, Any]) -> str:
    """Return a sentence that gives each key of a flat record with its value."""
    parts = [f"the {name.replace('_', ' ')} is {_plain(value)}" for name, value in record.items()]
    sentence = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
    return sentence[0].upper() + sentence[1:] + "."


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def enumeration(items: list[Any]) -> str:
    """Return the items with commas, and "and" before the last."""
    texts = [_plain(item) for item in items]
    return texts[0] if len(texts) == 1 else ", ".join(texts[:-1]) + " and " + texts[-1]


def _sentence(rng: Random, lexicon: Lexicon) -> tuple[str, str]:
    def draw(kind: str) -> str:
        return values.draw(kind, rng, lexicon).spoken

    sentence = rng.choice(
        (
            f"It is {rng.randint(-9, 38)} degrees and "
            f"{rng.choice(words.CONDITIONS)} in {draw('city')}",
            f"The {draw('object')} is in the {draw('room')}",
            f"{rng.choice(words.CONDITIONS).capitalize()}, {rng.randint(-9, 38)} degrees",
            f"{draw('person')} lives in {draw('city')}",
            f"Saved to {draw('file')}",
            f"Message sent to {draw('person')}",
            f"Booking {draw('code')} is confirmed",
            f"The {draw('word')} costs {draw('number')} {rng.choice(words.CURRENCIES)}",
            f"{draw('int')} rows were found",
            f"Event {draw('title')} was created for {draw('date')}",
            f"The {draw('animal')} is {draw('adjective')}",
            f"Your {draw('word')} arrives on {draw('date')}",
        )
    )
    ending = rng.choice(("", "."))
    return sentence + ending, sentence + "."
