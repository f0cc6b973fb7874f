"""How families of models mark their reasoning, and a budget that ends it cleanly."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mlx_notebook.engine.errors import EngineError
from mlx_notebook.engine.grammar.constraints import Constraint


class ReasoningMarks(NamedTuple):
    """A family's reasoning block.

    `start` and `end` enclose it; `closing` is what is written to end it before the model does.
    Where messages have headers (harmony), `between` comes before the next message's header and
    `head` is the header of the answer.
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

# Families by their marks, rarer marks first. The mark decides where it is in the vocabulary, or,
# for models that spell it in pieces, where the chat template writes both marks.
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
    """Return how a model marks its reasoning, from its chat template and vocabulary.

    None where it has no reasoning, or marks it in no way that is known here.
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
    """Return the special token that a mark of several tokens begins with."""
    for bracket in ("|>", ">"):
        head, found, rest = mark.partition(bracket)
        if found and rest:
            return head + found
    return "<|channel>" if mark.startswith("<|channel>") else mark


def opens_reasoning(prompt: str, reasoning: ReasoningMarks) -> bool:
    """Say whether a rendered prompt ends inside a reasoning block that its template opened.

    Only an opening mark that nothing but white space follows counts: users may write marks too.
    """
    return prompt.rstrip().endswith(reasoning.start)


def continues_reasoning(message: Mapping[str, Any], prompt: str, reasoning: ReasoningMarks) -> bool:
    """Say whether an answer that goes on with a message goes on with its reasoning.

    `prompt` is the rendered one; it ends with what the message says so far.
    """
    if said := message.get("content"):
        return bool(said.rfind(reasoning.start) > said.rfind(reasoning.end))
    thought = str(message.get("reasoning_content", "")).rstrip()
    within = prompt.rfind(reasoning.start) > prompt.rfind(reasoning.end)
    return within and prompt.rstrip().endswith(thought)


class ReasoningBudget:
    """Ends a row's reasoning after a number of tokens by writing the family's closing mark.

    A constraint for the sampler that wraps the row's other one, if it has any: while the mark is
    being written only its next token is allowed, otherwise the other constraint decides.

    Parameters
    ----------
    limit
        How many tokens the reasoning may have, the closing mark not counted.
    closing
        The tokens of `ReasoningMarks.closing`.
    start, end
        The tokens of the reasoning marks, by which this keeps count on its own.
    in_reasoning
        Whether the prompt ends inside a reasoning block.
    whole
        Tells whether the text so far ends in a whole character; the mark waits until it does.
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
        whole: Callable[[], bool] | None = None,
    ) -> None:
        if limit < 0:
            raise ValueError("A reasoning budget is a number of tokens, 0 or more.")
        if not closing or not end:
            raise ValueError("This model has no mark that ends its reasoning.")
        self._limit = limit
        self._closing = closing
        self._start, self._end = start, end
        self._inner = inner
        self._whole = whole
        self._tail: list[int] = []
        self._longest = max(len(start), len(end))
        # How many tokens of the closing mark are written; -1 while it is not being written.
        self._written = -1
        self._reopening = _reopening(start)
        self.in_reasoning = in_reasoning
        self.used = 0
        self.exhausted = False

    @property
    def failure(self) -> EngineError | None:
        """That of the inner constraint."""
        return self._inner.failure if self._inner is not None else None

    def advance(self, token: int) -> None:
        """Count a token that was chosen."""
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
        """Allow only the closing mark's next token where the budget is used up."""
        due = self._written < 0 and self.in_reasoning and self.used >= self._limit
        # Closing inside a character would leave half of it in the text.
        if due and (self._whole is None or self._whole()):
            self._written = 0
            self.exhausted = True
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

    def _ends_with(self, marks: list[int]) -> bool:
        return self._tail[-len(marks) :] == marks


def _reopening(start: list[int]) -> tuple[list[int], int]:
    """Return the token that tells a reasoning block from others, and the tokens before it.

    In harmony every message begins with a channel mark, and its name says whether it is reasoning.
    """
    return (start[:1], start[1]) if len(start) > 1 else ([], 0)


def token_ids(encode: Callable[[str], Any], text: str) -> list[int]:
    """Return the tokens of a mark; `encode` must not add special tokens of its own."""
    return [int(token) for token in encode(text)]
