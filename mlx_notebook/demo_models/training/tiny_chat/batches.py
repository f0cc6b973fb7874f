"""Convert dialogues to batches of tokens, with a loss weight for each token."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from .language import values
from .language.lexicon import TRAINING, Lexicon
from .network.choices import Choice, Found, Marks, called_names, echoes, marks, tool_columns
from .request_words import tool_words, words
from .texts import choosing, dialogues, finishing
from .texts.dialogues import Dialogue, Difficulty

EMPTY_THOUGHT = 4
"""Length, in tokens, of an empty reasoning block. The prompt holds it, so it carries no loss."""

ECHO_WEIGHT = 0.2
"""Loss weight of a token that goes on with a word of a tool, in a message that is not learned.

To foresee it, the model must find the same word among the tools, as it must before each call.
"""

NAME_WEIGHT = 3.0
"""Loss weight of the name of a call, where the model decides what it calls."""


@dataclass
class Document:
    """Tokens, and which of them the model must learn to write."""

    tokens: list[int]
    learned: list[bool]
    found: Found = field(default_factory=Found)
    echoed: list[bool] = field(default_factory=list)
    """Which tokens the model could foresee because they go on with a word of a tool."""


@dataclass
class Batch:
    """Token rows (rows, length), padded on the right, and the loss weight of each token."""

    tokens: np.ndarray[Any, np.dtype[np.int64]]
    weights: np.ndarray[Any, np.dtype[np.float32]]
    marks: Marks


class Encoder:
    """Render dialogues with the model's chat template, and mark the tokens to learn."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self.start, self.end = (
            self.tokenizer.convert_tokens_to_ids(f"<|im_{name}|>") for name in ("start", "end")
        )
        self.assistant, self.user = self.tokenizer.convert_tokens_to_ids(["assistant", "user"])
        values.use_pieces(self._word_pieces())

    def _word_pieces(self) -> list[str]:
        pieces = self.tokenizer.get_vocab()
        return sorted(
            piece for piece in pieces if piece.isascii() and piece.isalpha() and len(piece) > 1
        )

    def render(self, dialogue: Dialogue) -> str:
        """Return the dialogue as text."""
        return str(
            self.tokenizer.apply_chat_template(
                dialogue.messages, tools=dialogue.tools or None, tokenize=False
            )
        )

    def encode(self, dialogue: Dialogue) -> Document:
        """Return the dialogue as tokens."""
        tokens: list[int] = self.tokenizer.encode(self.render(dialogue), add_special_tokens=False)
        learned = [False] * len(tokens)
        pieces = self.tokenizer.convert_ids_to_tokens(tokens) if dialogue.tools else []
        found = Found(tool_columns(pieces, "<tools>", "</tools>"))
        if found.tools:
            found.start = pieces.index("<tools>") + 2
        found.words = tool_words(pieces, found.start, found.tools)
        names = [tool["function"]["name"] for tool in dialogue.tools]
        messages = iter([m for m in dialogue.messages if m["role"] == "assistant"])
        i = 0
        while i < len(tokens) - 1:
            asks = tokens[i] == self.start and tokens[i + 1] == self.user
            if asks and dialogue.tools and pieces[i + 3] != "<tool_response>":
                found.heard += words(pieces, i + 2, tokens.index(self.end, i))
            if tokens[i] != self.start or tokens[i + 1] != self.assistant:
                i += 1
                continue
            message = next(messages)
            asked = i - 2
            i += 3 if message.get("reasoning_content") else 3 + EMPTY_THOUGHT
            begun, end = i - 1, tokens.index(self.end, i)
            if message.get("learn", True):
                start = i + message.get("forced", 0)
                learned[start : end + 1] = [True] * (end + 1 - start)
                if dialogue.tools:
                    called = [call["function"]["name"] for call in message.get("tool_calls", ())]
                    tools = [names.index(name) for name in called]
                    found.choices.append(Choice(asked, begun, tuple(tools)))
                    spans = called_names(pieces, begun, end)
                    found.names += [(*span, t) for span, t in zip(spans, tools, strict=True)]
            i = end
        return Document(tokens, learned, found, echoes(tokens, found.tools))


def level_at(progress: float) -> Difficulty:
    """Return the difficulty of the tool dialogues after this share of the training."""
    if progress < 0.05:
        return Difficulty(
            tools=(1, 1, 2), hard=0.0, plain=1.0, everyday=0.3, near=0.0, thinking=0.1
        )
    if progress < 0.20:
        return Difficulty(tools=(1, 1, 2, 2, 3, 4), hard=0.12, plain=0.75, near=0.2)
    if progress > 0.8:
        return Difficulty(tools=(1, 1, 2, 2, 2, 3, 3, 4, 4, 4, 6), everyday=0.45)
    return Difficulty()


Mixture = dict[Callable[[Random, Lexicon, Difficulty], Dialogue], float]


def mixture(progress: float) -> Mixture:
    """Return the weight of each kind of dialogue after this share of the training."""
    if progress < 0.05:
        return {
            dialogues.copy_dialogue: 0.55,
            dialogues.tool_dialogue: 0.35,
            dialogues.chat_dialogue: 0.10,
        }
    if progress > 0.8:
        return {
            dialogues.tool_dialogue: 0.78,
            dialogues.chat_dialogue: 0.14,
            dialogues.copy_dialogue: 0.03,
            dialogues.long_dialogue: 0.04,
            dialogues.very_long_dialogue: 0.01,
        }
    return {
        dialogues.tool_dialogue: 0.66,
        dialogues.chat_dialogue: 0.20,
        dialogues.copy_dialogue: 0.07,
        dialogues.long_dialogue: 0.055,
        dialogues.very_long_dialogue: 0.015,
    }


def choosing_mixture(progress: float) -> Mixture:
    """Return the weights of the second stage: mostly choices among several tools."""
    if progress > 0.65:  # All skills again while the rates fall.
        return {
            choosing.choosing_dialogue: 0.34,
            choosing.drill_dialogue: 0.16,
            dialogues.tool_dialogue: 0.20,
            dialogues.chat_dialogue: 0.21,
            dialogues.copy_dialogue: 0.04,
            dialogues.long_dialogue: 0.04,
            dialogues.very_long_dialogue: 0.01,
        }
    return {
        choosing.choosing_dialogue: 0.38,
        choosing.drill_dialogue: 0.24,
        dialogues.tool_dialogue: 0.13,
        dialogues.chat_dialogue: 0.16,
        dialogues.copy_dialogue: 0.04,
        dialogues.long_dialogue: 0.04,
        dialogues.very_long_dialogue: 0.01,
    }


def finishing_mixture(progress: float) -> Mixture:
    """Return the weights of the last stage: all skills, and sentences that say two things."""
    mix = {make: 0.58 * weight for make, weight in choosing_mixture(1.0).items()}
    mix[dialogues.chat_dialogue] += 0.06
    return {
        **mix,
        finishing.several_values_dialogue: 0.08,
        finishing.first_words_dialogue: 0.06,
        finishing.two_facts_dialogue: 0.08,
        finishing.compact_dialogue: 0.12,
        finishing.record_dialogue: 0.08,
    }


def choosing_level(progress: float) -> Difficulty:
    """Return the difficulty of the second stage."""
    return Difficulty(hard=0.25, everyday=0.4, thinking=0.2)


def batches(
    encoder: Encoder,
    rng: Random,
    progress: Callable[[], float],
    size: int,
    context_weight: float = 0.1,
    mixed: Callable[[float], Mixture] = mixture,
    levelled: Callable[[float], Difficulty] = level_at,
) -> Iterator[Batch]:
    """Yield endless batches of about `size` tokens, each of documents of similar length."""
    while True:
        now = progress()
        level, mix = levelled(now), mixed(now)
        pool: list[Document] = []
        for _ in range(max(320, size // 24)):
            make = rng.choices(list(mix), list(mix.values()))[0]
            document = encoder.encode(make(rng, TRAINING, level))
            if len(document.tokens) <= 4096:
                pool.append(document)
        pool.sort(key=lambda document: len(document.tokens))
        groups: list[list[Document]] = [[]]
        for document in pool:
            if groups[-1] and len(document.tokens) * (len(groups[-1]) + 1) > size:
                groups.append([])
            groups[-1].append(document)
        rng.shuffle(groups)
        weight = context_weight if now < 0.3 else context_weight / 4
        for group in groups:
            yield batch_of(group, weight, rng, NAME_WEIGHT)


def batch_of(
    group: list[Document], context_weight: float, rng: Random, name_weight: float = 1.0
) -> Batch:
    """Return the documents as one batch; a tenth of the context tokens has `context_weight`."""
    length = -(-max(len(document.tokens) for document in group) // 16) * 16
    tokens = np.zeros((len(group), length), np.int64)
    weights = np.zeros((len(group), length), np.float32)
    random = np.random.default_rng(rng.getrandbits(32))
    for row, document in enumerate(group):
        count = len(document.tokens)
        tokens[row, :count] = document.tokens
        # A tenth of the context is enough to teach its words and costs a tenth of the head's time.
        context = (random.random(count) < 0.1) * context_weight
        if document.echoed:
            context = np.where(document.echoed, ECHO_WEIGHT, context)
        weights[row, :count] = np.where(document.learned, 1.0, context)
        for before, after, _ in document.found.names:
            weights[row, before + 1 : after + 1] *= name_weight
    return Batch(tokens, weights, marks([document.found for document in group], length))
