"""The reasoning marks of model families, and the reasoning budget."""

import copy
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from mlx_notebook.engine.errors import EngineError
from mlx_notebook.engine.grammar.constraints import Constraint


class ReasoningMarks(NamedTuple):
    """The marks of a model family's reasoning.

    `start` and `end` enclose the reasoning. `closing` is the text that a reasoning budget writes to
    end it. In harmony, whose messages have headers, `between` precedes the header of the next
    message and `head` is the header of the answer.
    """

    start: str
    end: str
    closing: str
    between: str = ""
    head: str = ""


THINK = ReasoningMarks("<think>", "</think>", "\n</think>\n\n")
HARMONY = ReasoningMarks(
    "<|channel|>analysis<|message|>",
    "<|end|>",
    "<|end|><|start|>assistant<|channel|>",
    between="<|start|>assistant",
    head="<|channel|>final<|message|>",
)

# Rarer marks first. A model has the marks that are in its vocabulary or, if they are several tokens
# each, those that its chat template writes.
_FAMILIES = (
    ReasoningMarks("<longcat_think>", "</longcat_think>", "\n</longcat_think>\n\n"),
    ReasoningMarks("<|think:start|>", "<|think:end|>", "<|think:end|>"),
    ReasoningMarks("<seed:think>", "</seed:think>", "</seed:think>"),
    ReasoningMarks("<|channel>thought", "<channel|>", "<channel|>"),
    ReasoningMarks("<|open|>think<|sep|>", "<|close|>think<|sep|>", "<|close|>think<|sep|>"),
    ReasoningMarks("[THINK]", "[/THINK]", "[/THINK]"),
    ReasoningMarks("<|START_THINKING|>", "<|END_THINKING|>", "<|END_THINKING|>"),
    ReasoningMarks("<|inner_prefix|>", "<|inner_suffix|>", "<|inner_suffix|>"),
    THINK,
    ReasoningMarks("<thinking>", "</thinking>", "\n</thinking>\n\n"),
)


def infer(template: str | None, vocabulary: Mapping[str, int]) -> ReasoningMarks | None:
    """Return the reasoning marks of a model, from its chat template and vocabulary.

    None if the model does not reason, or its marks are not known.
    """
    if "<|channel|>" in vocabulary and "<|message|>" in vocabulary:
        return HARMONY
    for family in _FAMILIES:
        if _first_token(family.start) in vocabulary and _first_token(family.end) in vocabulary:
            return family
    text = template or ""
    for family in _FAMILIES:
        if family.start in text and family.end in text:
            return family
    return None


def _first_token(mark: str) -> str:
    """Return the special token at the beginning of a mark."""
    for bracket in ("|>", ">"):
        head, found, rest = mark.partition(bracket)
        if found and rest:
            return head + found
    return "<|channel>" if mark.startswith("<|channel>") else mark


def opens_reasoning(prompt: str, reasoning: ReasoningMarks) -> bool:
    """Return whether a rendered prompt ends with the start of reasoning.

    Only a mark at the end of the prompt counts, because messages may contain marks.
    """
    return prompt.rstrip().endswith(reasoning.start)


def continues_reasoning(message: Mapping[str, Any], prompt: str, reasoning: ReasoningMarks) -> bool:
    """Return whether an answer that continues `message` continues its reasoning.

    `prompt` is the rendered prompt, which ends with the message so far.
    """
    if said := message.get("content"):
        return bool(said.rfind(reasoning.start) > said.rfind(reasoning.end))
    thought = str(message.get("reasoning_content", "")).rstrip()
    within = prompt.rfind(reasoning.start) > prompt.rfind(reasoning.end)
    return within and prompt.rstrip().endswith(thought)


class ReasoningBudget:
    """Ends a row's reasoning after a number of tokens by writing the closing mark.

    A constraint that wraps the row's other constraint. While the mark is being written, only its
    next token is allowed. Otherwise the inner constraint decides.

    Parameters
    ----------
    limit
        Maximum number of reasoning tokens, without the closing mark.
    closing
        The tokens of `ReasoningMarks.closing`.
    start, end
        The tokens of the reasoning marks.
    in_reasoning
        Whether the prompt ends inside the reasoning.
    """

    def __init__(
        self,
        limit: int,
        closing: list[int],
        start: list[int],
        end: list[int],
        *,
        in_reasoning: bool,
        inner: Constraint | None = None,
    ) -> None:
        if limit < 0:
            raise ValueError("A reasoning budget is a number of tokens, 0 or more.")
        if not closing or not end:
            raise ValueError("This model has no mark that ends its reasoning.")
        self._limit = limit
        self._closing = closing
        self._start, self._end = start, end
        self._inner = inner
        self._tail: list[int] = []
        self._longest = max(len(start), len(end))
        # Number of tokens of the closing mark that are written; -1 if it is not being written.
        self._written = -1
        self._reopening = _reopening(start)
        self.in_reasoning = in_reasoning
        self.used = 0
        self.exhausted = False

    @property
    def failure(self) -> EngineError | None:
        """The error of the inner constraint."""
        return self._inner.failure if self._inner is not None else None

    def advance(self, token: int) -> None:
        """Process a token that was sampled."""
        if self._inner is not None:
            self._inner.advance(token)
        if self._written >= 0:
            self._written += 1
            if self._written == len(self._closing):
                self._written = -1
                self.in_reasoning = False
                self._tail = self._closing[-self._longest :]
            return
        self._tail = [*self._tail, token][-self._longest :]
        if self.in_reasoning:
            self.used += 1
            if self._ends_with(self._end):
                self.in_reasoning = False
        elif self._start and self._ends_with(self._start):
            self.in_reasoning = True

    def fill(self, mask: npt.NDArray[np.uint32]) -> bool:
        """Allow only the next token of the closing mark once the budget is used up."""
        self._close_if_due()
        if self._written >= 0:
            token = self._closing[self._written]
            mask[:] = 0
            mask[token // 32] = np.uint32(1 << (token % 32))
            return True
        filled = self._inner is not None and self._inner.fill(mask)
        before, token = self._reopening
        if self.exhausted and before and self._ends_with(before):
            mask[token // 32] &= ~np.uint32(1 << (token % 32))
            return True
        return filled

    def forced(self) -> list[int]:
        """Return the rest of the closing mark, or what the inner constraint forces."""
        self._close_if_due()
        if self._written >= 0:
            return self._closing[self._written :]
        run = self._inner.forced() if self._inner is not None else []
        if not run:
            return run
        # What the inner constraint forces may open the reasoning, or use the budget up.
        ahead = copy.copy(self)
        ahead._inner = None
        for index, token in enumerate(run):
            if ahead._interferes(token):
                return run[:index]
            ahead.advance(token)
        return run

    def copy(self) -> Self:
        """Return an independent copy."""
        twin = copy.copy(self)
        twin._inner = self._inner.copy() if self._inner is not None else None
        return twin

    def _close_if_due(self) -> None:
        """Begin to write the closing mark if the budget is used up."""
        if self._written < 0 and self.in_reasoning and self.used >= self._limit:
            self._written = 0
            self.exhausted = True

    def _interferes(self, token: int) -> bool:
        """Return whether the budget writes its mark here, or forbids `token`."""
        self._close_if_due()
        before, after = self._reopening
        reopens = self.exhausted and bool(before) and self._ends_with(before)
        return self._written >= 0 or (reopens and token == after)

    def _ends_with(self, marks: list[int]) -> bool:
        return self._tail[-len(marks) :] == marks


def _reopening(start: list[int]) -> tuple[list[int], int]:
    """Return the beginning of a start mark of several tokens, and the token after it.

    In harmony every message begins with a channel mark; the channel's name says that it is
    reasoning.
    """
    return (start[:1], start[1]) if len(start) > 1 else ([], 0)


def token_ids(encode: Callable[[str], Any], text: str) -> list[int]:
    """Return the tokens of a mark. `encode` must not add special tokens."""
    return [int(token) for token in encode(text)]
