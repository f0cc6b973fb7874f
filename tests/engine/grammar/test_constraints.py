"""Constraints limit the next token; an inner one that leaves no choice wins."""

from typing import Any

import numpy as np

from mlx_notebook.engine.grammar.constraints import BadWords, MinTokens


class Allow:
    """A constraint that allows some tokens."""

    failure = None

    def __init__(self, *tokens: int, forces: list[int] | None = None) -> None:
        self.tokens, self.taken, self.forces = tokens, list[int](), forces or []

    def advance(self, token: int) -> None:
        self.taken.append(token)

    def fill(self, mask: Any) -> bool:
        mask[:] = 0
        for token in self.tokens:
            mask[token // 32] |= np.uint32(1 << (token % 32))
        return True

    def forced(self) -> list[int]:
        return self.forces[len(self.taken) :]

    def copy(self) -> "Allow":
        twin = Allow(*self.tokens, forces=self.forces)
        twin.taken = self.taken.copy()
        return twin


def allowed(constraint: Any) -> set[int] | None:
    mask = np.full(2, 0xFFFFFFFF, np.uint32)
    if not constraint.fill(mask):
        return None
    return set(np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little")).tolist())


EVERY = set(range(64))


def test_end_tokens_are_forbidden_until_the_minimum() -> None:
    constraint = MinTokens(2, [3, 40], None)
    assert allowed(constraint) == EVERY - {3, 40}
    constraint.advance(7)
    assert allowed(constraint) == EVERY - {3, 40}
    constraint.advance(7)
    assert allowed(constraint) is None


def test_a_grammar_that_must_end_wins_over_the_minimum() -> None:
    assert allowed(MinTokens(5, [3], Allow(3))) == {3}
    assert allowed(MinTokens(5, [3], Allow(3, 4))) == {4}


def test_the_last_token_of_a_bad_word_is_forbidden_after_the_others() -> None:
    inner = Allow(*EVERY)
    constraint = BadWords([[5, 6, 7], [9]], inner)
    assert allowed(constraint) == EVERY - {9}
    for token in (1, 5, 6):
        constraint.advance(token)
    assert allowed(constraint) == EVERY - {7, 9}
    constraint.advance(8)
    assert allowed(constraint) == EVERY - {9}
    assert inner.taken == [1, 5, 6, 8]


def test_a_grammar_that_needs_a_bad_word_wins() -> None:
    assert allowed(BadWords([[9]], Allow(9))) == {9}


def test_what_must_follow_ends_before_an_end_token_that_is_forbidden() -> None:
    assert MinTokens(3, [9], Allow(forces=[1, 2, 9, 4])).forced() == [1, 2]
    assert MinTokens(2, [9], Allow(forces=[1, 2, 9, 4])).forced() == [1, 2, 9, 4]
    assert MinTokens(3, [9], None).forced() == []


def test_what_must_follow_ends_before_a_forbidden_sequence_is_complete() -> None:
    constraint = BadWords([[5, 6, 7]], Allow(forces=[1, 5, 6, 7, 8]))
    for rest in ([1, 5, 6], [5, 6], [6], []):
        assert constraint.forced() == rest
        constraint.advance([1, 5, 6, 7][3 - len(rest)])
    assert constraint.forced() == [8]
    assert BadWords([[9]], None).forced() == []


def test_a_copy_looks_ahead_without_its_original() -> None:
    inner = Allow(*EVERY)
    constraint = MinTokens(2, [3], BadWords([[5, 6]], inner))
    ahead = constraint.copy()
    for token in (5, 5):
        ahead.advance(token)
    assert allowed(ahead) == EVERY - {6}
    assert allowed(constraint) == EVERY - {3}
    assert inner.taken == []
