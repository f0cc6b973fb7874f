"""Generate random tools from a verb, a noun and parameters, and user requests for them."""

from __future__ import annotations

from random import Random
from typing import Any

from mlx_notebook.demo_models.training.tiny_chat.language import values
from mlx_notebook.demo_models.training.tiny_chat.language.lexicon import Lexicon

from . import everyday
from .tool import Parameter, Request, Tool

KIND_OF: dict[str, str] = {
    "date": "date",
    "day": "date",
    "start": "date",
    "end": "date",
    "deadline": "date",
    "time": "time",
    "city": "city",
    "location": "city",
    "country": "country",
    "address": "city",
    "region": "city",
    "colour": "colour",
    "owner": "person",
    "sender": "person",
    "author": "person",
    "username": "person",
    "subject": "title",
    "message": "text",
    "comment": "text",
    "note": "text",
    "reason": "text",
    "body": "text",
    "query": "query",
    "keyword": "word",
    "topic": "topic",
    "language": "language",
    "title": "title",
    "name": "word",
    "label": "word",
    "code": "code",
    "key": "code",
    "month": "month",
    "amount": "number",
    "price": "number",
    "cost": "number",
    "total": "number",
    "weight": "number",
    "fee": "number",
    "rate": "number",
    "tax": "number",
    "budget": "int",
    "count": "int",
    "number": "int",
    "quantity": "small",
    "limit": "small",
    "page": "small",
    "year": "int",
    "week": "small",
    "hour": "small",
    "minute": "small",
    "age": "small",
    "height": "int",
    "width": "int",
    "length": "int",
    "depth": "int",
    "distance": "int",
    "speed": "int",
    "volume": "int",
    "temperature": "number",
    "level": "small",
    "score": "int",
    "rank": "small",
    "rating": "small",
    "percent": "int",
    "index": "int",
    "version": "int",
    "offset": "int",
    "duration": "small",
    "currency": "currency",
    "format": "word",
    "source": "city",
    "capacity": "int",
    "altitude": "int",
    "frequency": "int",
    "quota": "int",
    "voltage": "int",
    "thickness": "number",
    "nickname": "word",
    "recipient": "person",
}
FLAGS = [
    "notify",
    "urgent",
    "recursive",
    "verbose",
    "express",
    "public",
    "private",
    "archived",
    "overwrite",
    "force",
    "silent",
    "draft",
    "encrypted",
    "compress",
    "backup",
    "preview",
    "strict",
    "cached",
    "shuffle",
    "vegetarian",
    "refundable",
    "insured",
]
FREE_KINDS = [
    "word",
    "word",
    "word",
    "title",
    "code",
    "int",
    "int",
    "number",
    "text",
    "date",
    "person",
    "city",
    "colour",
    "object",
]
NATURAL = {
    "city": ("in {v}", "for {v}", "near {v}"),
    "country": ("in {v}",),
    "person": ("for {v}", "from {v}"),
    "date": ("on {v}", "for {v}"),
    "time": ("at {v}",),
    "language": ("in {v}",),
    "topic": ("about {v}",),
    "colour": ("in {v}",),
    "month": ("in {v}",),
    "text": ('saying "{v}"',),
    "title": ('called "{v}"', "called {v}"),
    "query": ("about {v}",),
    "code": ("{v}", "number {v}"),
    "word": ("{v}", "called {v}"),
    "object": ("for the {v}",),
}


def parameter(rng: Random, lexicon: Lexicon, taken: set[str], hard: float) -> Parameter:
    """Return a parameter whose name is not in `taken`.

    With probability `hard` the parameter is an array, an object, a flag or an enum.
    """
    while True:
        name = rng.choice(lexicon.qualities)
        if lexicon.invented and rng.random() < 0.4:
            name = values.invented_word(rng).lower()
        if name not in taken:
            break
    taken.add(name)
    words = name
    kind = KIND_OF.get(name, rng.choice(FREE_KINDS))
    if rng.random() < 0.15:
        kind = rng.choice(FREE_KINDS)
    result = Parameter(name, kind, required=rng.random() < 0.8)
    if rng.random() < hard:
        shape = rng.choice(("bool", "bool", "enum", "enum", "list", "list", "record"))
        result.kind = shape
        if shape == "bool":
            flags = [flag for flag in FLAGS if flag not in taken]
            result.name = words = rng.choice(flags)
            taken.add(words)
        elif shape == "enum":
            group = rng.choice(
                (lexicon.adjectives, lexicon.colours, lexicon.animals, lexicon.foods)
            )
            result.choices = tuple(rng.sample(group, rng.randint(2, 4)))
        elif shape == "list":
            result.item = rng.choice(["word", "word", "int", "person", "food", "city", "colour"])
            if rng.random() < 0.5:
                result.name += "s"
        else:
            inner: set[str] = set()
            result.fields = tuple(
                parameter(rng, lexicon, inner, 0.0) for _ in range(rng.choice((1, 2, 2, 3)))
            )
    if rng.random() < 0.6:
        result.description = rng.choice(
            (
                f"The {words}",
                f"{words.capitalize()}",
                f"{words} to use",
                f"Which {words}",
                f"The {words}.",
            )
        )
    return result


def verb_and_noun(rng: Random, lexicon: Lexicon) -> tuple[str, str]:
    """Return a verb and a noun: known words or, in training, also invented ones."""
    verb = rng.choice(list(lexicon.said))
    noun = rng.choice(lexicon.nouns + lexicon.objects)
    if lexicon.invented and rng.random() < 0.25:
        verb = values.invented_word(rng).lower()
    if lexicon.invented and rng.random() < 0.45:
        noun = values.invented_word(rng).lower()
    return verb, noun


def tool(rng: Random, lexicon: Lexicon, hard: float, verb: str, noun: str) -> Tool:
    """Return a tool named after a verb and a noun, with up to four parameters."""
    style = rng.random()
    name = f"{verb}_{noun}"
    if style < 0.1:
        name = verb + noun.capitalize()
    elif style < 0.18:
        name = f"{noun}_{verb}"
    elif style < 0.24:
        name = f"{noun}.{verb}" if rng.random() < 0.3 else noun
    described = rng.choice(lexicon.said.get(verb, (verb,))[:2]) if rng.random() < 0.3 else verb
    described = described.removesuffix(" me").removesuffix(" for")
    article = rng.choice(("a", "the", "one"))
    description = rng.choice(
        (
            f"{described.capitalize()} {article} {noun}",
            f"{described.capitalize()} {article} {noun}.",
            f"{verb.capitalize()} {noun}",
            f"Use this to {described} {article} {noun}.",
            "",
        )
    )
    if name == noun and not description:
        description = f"{verb.capitalize()} {article} {noun}"
    result = Tool(name, description)
    taken: set[str] = set()
    counts = (0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 4) if hard else (0, 1, 1, 2, 2)
    for _ in range(rng.choice(counts)):
        result.parameters.append(parameter(rng, lexicon, taken, hard))
    result.parameters.sort(key=lambda p: not p.required)
    return result


def request(
    tool: Tool, verb: str, noun: str, rng: Random, lexicon: Lexicon, plain: float
) -> Request:
    """Return a request for `tool`.

    With probability `plain` each value stands beside its parameter's name.
    """
    said_verb = verb if rng.random() < 0.5 else rng.choice(lexicon.said.get(verb, (verb,)))
    head = rng.choice((f"{said_verb} the {noun}", f"{said_verb} a {noun}", f"{said_verb} {noun}"))
    if said_verb.endswith("a new"):
        head = f"{said_verb} {noun}"
    chosen = [p for p in tool.parameters if p.required or rng.random() < 0.6]
    arguments: dict[str, Any] = {}
    clauses: list[str] = []
    natural_used: set[str] = set()
    for p in chosen:
        clause, value = _clause(p, rng, lexicon, plain, natural_used)
        arguments[p.name] = value
        clauses.append(clause)
    if rng.random() < 0.25:
        rng.shuffle(clauses)
    if len(clauses) > 1 and rng.random() < 0.6:
        tail = ", ".join(clauses[:-1]) + " and " + clauses[-1]
    else:
        tail = rng.choice((" ", ", ")).join(clauses)
    joint = rng.choice((" ", " ", " ", ", ", ": "))
    said = head + (joint + tail if tail else "")
    return Request(tool, arguments, said, f"{verb} {noun}")


def _clause(
    p: Parameter, rng: Random, lexicon: Lexicon, plain: float, natural_used: set[str]
) -> tuple[str, Any]:
    words = p.name.replace("_", " ")
    if p.kind == "bool":
        truth = rng.random() < 0.6
        forms = (
            (
                f"with {words}",
                f"{words} on",
                f"{words}: yes",
                f"set {words} to true",
                f"{words} true",
                f"make it {words}",
            )
            if truth
            else (
                f"without {words}",
                f"{words} off",
                f"{words}: no",
                f"set {words} to false",
                f"{words} false",
                f"not {words}",
            )
        )
        return rng.choice(forms), truth
    if p.kind == "record":
        inner = {f.name: values.draw(f.kind, rng, lexicon) for f in p.fields}
        listed = [f"{name.replace('_', ' ')} {value.spoken}" for name, value in inner.items()]
        joined = (
            " and ".join(listed)
            if len(listed) < 3
            else ", ".join(listed[:-1]) + " and " + listed[-1]
        )
        said = rng.choice(
            (f"with {words} {joined}", f"{words}: {joined}", f"the {words} has {joined}")
        )
        return said, {name: value.json for name, value in inner.items()}
    if p.kind == "list":
        value = everyday.several(p.item, rng, lexicon)
        return rng.choice(
            (
                f"with {words} {value.spoken}",
                f"{words}: {value.spoken}",
                f"the {words} are {value.spoken}",
            )
        ), value.json
    if p.kind == "enum":
        choice = rng.choice(p.choices)
        value = values.Value(choice, choice)
    else:
        value = values.draw(p.kind, rng, lexicon)
    spoken = value.spoken
    if (isinstance(value.json, str) and " " in spoken and rng.random() < 0.6) or (
        isinstance(value.json, str) and rng.random() < 0.1
    ):
        spoken = f'"{spoken}"' if rng.random() < 0.8 else f"'{spoken}'"
    # A value without its parameter's name must be the only value of its kind.
    clear = not natural_used or KIND_OF.get(p.name) == p.kind not in natural_used
    if rng.random() > plain and p.kind in NATURAL and clear:
        natural_used.add(p.kind)
        form = rng.choice(NATURAL[p.kind])
        return form.replace("{v}", value.spoken if '"' in form else spoken), value.json
    return rng.choice(lexicon.slots).format(q=words, v=spoken), value.json
