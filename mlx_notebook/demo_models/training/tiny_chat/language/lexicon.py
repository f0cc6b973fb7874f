"""Word lists for the generators: one lexicon for training, a disjoint one for the evaluation."""

from __future__ import annotations

from dataclasses import dataclass

from . import asking, held_out, words


@dataclass(frozen=True)
class Lexicon:
    """Word lists by kind; the training and evaluation lists share no word."""

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
    """Phrases with which users ask for a tool's verb."""
    slots: tuple[str, ...]
    """Phrases with which users give a parameter {q} and its value {v}."""
    invented: bool
    """Whether invented words (random syllables) may serve as values and names."""


def _from(module: object, ways: object, invented: bool) -> Lexicon:
    fields = [
        name for name in Lexicon.__dataclass_fields__ if name not in ("said", "slots", "invented")
    ]
    lists = {name: getattr(module, name.upper()) for name in fields}
    return Lexicon(**lists, said=ways.SAID, slots=ways.SLOTS, invented=invented)  # type: ignore[attr-defined]


TRAINING = _from(words, asking, invented=True)
HELD_OUT = _from(held_out, held_out, invented=False)
