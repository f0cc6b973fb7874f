"""The perplexity of a text: how uncertain a model is, on average, of each next token.

It is e to the mean negative log probability of the tokens, each given those before it in its
window.
"""

import math
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn

TEXT = """\
The harbour lies at the mouth of a slow river, and the town has grown around it for six hundred
years. In the morning the boats come in with their catch, and buyers from the inns stand on the
quay and argue about the price. By noon the market is over. Then the square belongs to the
children, who play between the empty stalls until somebody calls them in.

Water boils at a lower temperature on a mountain, because the pressure of the air is lower
there. So an egg must cook longer. At a height of three thousand metres, water boils at about
ninety degrees, and what takes seven minutes on the coast may take ten. A lid with a seal raises
the pressure again.

To add two numbers in Python, write a function:

def add(first, second):
    return first + second

print(add(2, 3))  # 5

"Will you come with us?" she asked. He looked at the clock, then at the letter on the table.
"Not today," he said. "Tell them that I have found what I was looking for, and that I am sorry.
I will write to them when the work is done." She nodded, took her coat, and closed the door
behind her without a sound.

The committee meets on the first Monday of each month. Members who cannot attend should tell the
secretary at least three days before. Minutes are sent to all members within a week; corrections
are made at the next meeting. The budget of the coming year is decided in November by a simple
majority.
"""
"""The text for those who give none."""

# Of a mean: more than any vocabulary gives, and few enough for a number of 64 bits.
_MOST = 500.0

WINDOW = 512
"""Tokens of a window. Windows do not overlap."""


def perplexity(
    model: Any,
    windows: list[mx.array],
    report: Callable[[int, int], None] = lambda done, total: None,
) -> float:
    """Return the perplexity of a text.

    Parameters
    ----------
    windows
        Its tokens as `windows_of` has cut them.
    report
        Called after each window with how many are done, of how many.

    Raises
    ------
    ValueError
        If the model computes no numbers for it.
    """
    total, count = 0.0, 0
    for number, tokens in enumerate(windows):
        logits = model(tokens[None, :-1]).astype(mx.float32)
        total += nn.losses.cross_entropy(logits, tokens[None, 1:]).sum().item()
        count += tokens.size - 1
        report(number + 1, len(windows))
    if not math.isfinite(total):
        raise ValueError("what it computes for the text is not a number")
    return math.exp(min(total / count, _MOST))


def windows_of(tokens: list[int], context: int | None) -> list[mx.array]:
    """Return tokens in windows of `WINDOW`, or of a shorter context.

    Raises
    ------
    ValueError
        If the text has less than two tokens.
    """
    width = min(WINDOW, context or WINDOW)
    cut = [tokens[at : at + width] for at in range(0, len(tokens), width)]
    windows = [mx.array(part) for part in cut if len(part) > 1]
    if not windows:
        raise ValueError("the text to check it with has less than two tokens")
    return windows
