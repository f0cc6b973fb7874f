"""The words a generator may use: one lexicon for training, a disjoint one for evaluation."""

from __future__ import annotations

from dataclasses import dataclass

from . import asking, held_out, words


@dataclass(frozen=True)
class Lexicon:
    """Word lists by kind. The evaluation's lists share no word with the training's."""

    first_names: tuple[str, ...]
    cities: tuple[str, ...]
    colours: tuple[str, ...]
    animals: tuple[str, ...]
    foods: tuple[str, ...]
    objects: tuple[str, ...]
    adjectives: tuple[str, ...]
    topics: tuple[str, ...]
    columns: tuple[str, ...]
    tables: tuple[str, ...]
    files: tuple[str, ...]
    rooms: tuple[str, ...]
    nouns: tuple[str, ...]
    actions: tuple[str, ...]
    qualities: tuple[str, ...]
    said: dict[str, tuple[str, ...]]
    """How users ask for a tool's verb."""
    slots: tuple[str, ...]
    """How users name a parameter {q} and its value {v}."""
    invented: bool
    """Whether invented words (random syllables) may stand for values and names."""


def _from(module: object, ways: object, invented: bool) -> Lexicon:
    fields = [
        name for name in Lexicon.__dataclass_fields__ if name not in ("said", "slots", "invented")
    ]
    lists = {name: getattr(module, name.upper()) for name in fields}
    return Lexicon(**lists, said=ways.SAID, slots=ways.SLOTS, invented=invented)  # type: ignore[attr-defined]


TRAINING = _from(words, asking, invented=True)
HELD_OUT = _from(held_out, held_out, invented=False)
