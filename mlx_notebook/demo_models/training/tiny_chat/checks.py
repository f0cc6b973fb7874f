"""Check the evaluation's cases during the training, without generating text.

A greedy answer is right exactly if the model predicts each of its tokens from the right tokens
before it. So one forward pass over the question and its right answer is enough.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from random import Random

from .batches import Batch, Document, Encoder, batch_of
from .cases import Case, cases
from .texts.dialogues import Dialogue

TOKENS = 16_384
"""Tokens per batch; there is no backward pass."""


def right_answer(case: Case) -> Dialogue | None:
    """Return the case with its right answer, or None if it has more than one right text."""
    content = case.content or (json.dumps(case.record, ensure_ascii=False) if case.record else "")
    if case.holds:
        content = case.holds[0] + "."
    if case.thinking or not (content or case.calls):
        return None
    message = {"role": "assistant", "content": content, "learn": True}
    if case.calls:
        message["tool_calls"] = [{"type": "function", "function": call} for call in case.calls]
    before = [
        {**message, "learn": False} if message["role"] == "assistant" else message
        for message in case.messages
    ]
    return Dialogue([*before, message], case.tools)


@cache
def documents(encoder: Encoder, each: int) -> list[tuple[str, Document]]:
    """Return the skill and the tokens of each case that can be checked, the shortest first."""
    found = []
    for case in cases(each):
        dialogue = right_answer(case)
        if dialogue is not None:
            found.append((case.skill, encoder.encode(dialogue)))
    return sorted(found, key=lambda pair: len(pair[1].tokens))


def checked_batches(encoder: Encoder, each: int) -> Iterator[tuple[list[str], Batch]]:
    """Yield batches, and the skill of each row; only the tokens of the answers have a weight."""
    rng = Random(1)
    group: list[tuple[str, Document]] = []
    for pair in documents(encoder, each):
        if group and len(pair[1].tokens) * (len(group) + 1) > TOKENS:
            yield [skill for skill, _ in group], batch_of([d for _, d in group], 0.0, rng)
            group = []
        group.append(pair)
    if group:
        yield [skill for skill, _ in group], batch_of([d for _, d in group], 0.0, rng)
