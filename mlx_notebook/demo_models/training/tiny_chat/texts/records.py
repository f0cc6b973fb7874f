"""Facts in a sentence, and the same facts as a record, as a schema may ask for them."""

from __future__ import annotations

from random import Random
from typing import Any

from mlx_notebook.demo_models.training.tiny_chat.language import values, words
from mlx_notebook.demo_models.training.tiny_chat.language.lexicon import Lexicon

from .results import enumeration

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
