"""Texts that an answer must not hold."""

import numpy as np
import pytest

from mlx_notebook.engine.grammar.forbidden_texts import ForbiddenTexts
from tests.engine.writing import BYTES, PADDING, TOKENIZER

WIDTH = len(TOKENIZER) + PADDING
MARKS = (b"<call>", b"aab")


def writes(*pieces: str) -> bool:
    """Whether a model may write these texts one after the other."""
    row = ForbiddenTexts(BYTES.read_vocabulary(), MARKS).row()
    for piece in pieces:
        for token in TOKENIZER.encode(piece, add_special_tokens=False):
            mask = np.zeros((WIDTH + 31) // 32, np.uint32)
            assert row.fill(mask)
            if not mask[token // 32] >> (token % 32) & 1:
                return False
            row.advance(token)
    return True


@pytest.mark.parametrize(
    "text", ["<call>", "Say <call> now", "<<call>", "<call<call>", "aab", "aaab", "aaaaaab"]
)
def test_a_mark_cannot_be_written_wherever_it_stands(text: str) -> None:
    assert not writes(text)
    assert not writes(*text)


@pytest.mark.parametrize("text", ["<call", "call>", "<call >", "< call>", "a b", "aa ab", "baa"])
def test_all_else_can(text: str) -> None:
    assert writes(text)
    assert writes(*text)


def test_special_tokens_are_marks_too() -> None:
    name, token = next(iter(BYTES.read_vocabulary().special.items()))
    row = ForbiddenTexts(BYTES.read_vocabulary(), [name.encode()]).row()
    mask = np.zeros((WIDTH + 31) // 32, np.uint32)
    row.fill(mask)
    assert not mask[token // 32] >> (token % 32) & 1
