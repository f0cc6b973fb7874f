"""One answer of a model, as it grows chunk by chunk; knows nothing of HTTP, cells or threads."""

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from mlx_notebook.notebook.escaping import safe_markdown

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionChunk


# A shorter answer may arrive all at once, whatever time it took to make.
_MEASURABLE_SECONDS = 0.1


class Delta(NamedTuple):
    """New text of an answer: of the answer itself, or of the thinking before it."""

    kind: Literal["content", "reasoning"]
    text: str


@dataclass
class Answer:
    """What a model said to one prompt, and what that took.

    Token counts are `None` until the server has told them, which it does at an answer's end.
    Times are seconds since the request was sent, as this kernel measured them.
    """

    model: str
    finish_reason: str | None = None
    outcome: Literal["running", "complete", "interrupted", "failed"] = "running"
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    first_token: float | None = None
    last_token: float | None = None
    _began: float = field(default_factory=time.monotonic, repr=False)
    _content: list[str] = field(default_factory=list, repr=False)
    _reasoning: list[str] = field(default_factory=list, repr=False)

    @property
    def text(self) -> str:
        """The answer so far."""
        return "".join(self._content)

    @property
    def reasoning(self) -> str:
        """The thinking before the answer, empty where the model does none."""
        return "".join(self._reasoning)

    @property
    def tokens_per_second(self) -> float | None:
        """Speed after the first token, or `None` for an answer too short to measure it by."""
        if not self.completion_tokens or self.first_token is None or self.last_token is None:
            return None
        took = self.last_token - self.first_token
        return (self.completion_tokens - 1) / took if took >= _MEASURABLE_SECONDS else None

    def take(self, chunk: "ChatCompletionChunk") -> list[Delta]:
        """Take in one chunk of the stream and return what it adds."""
        if chunk.usage is not None:
            self.prompt_tokens = chunk.usage.prompt_tokens
            self.completion_tokens = chunk.usage.completion_tokens
            details = chunk.usage.prompt_tokens_details
            self.cached_tokens = details.cached_tokens if details else None
        self.model = chunk.model or self.model
        deltas: list[Delta] = []
        for choice in chunk.choices:
            self.finish_reason = choice.finish_reason or self.finish_reason
            # Not in OpenAI's API, so not in the SDK's types either.
            if reasoning := getattr(choice.delta, "reasoning_content", None):
                self._reasoning.append(reasoning)
                deltas.append(Delta("reasoning", reasoning))
            if choice.delta.content:
                self._content.append(choice.delta.content)
                deltas.append(Delta("content", choice.delta.content))
        if deltas:
            self.last_token = time.monotonic() - self._began
            if self.first_token is None:
                self.first_token = self.last_token
        return deltas

    def summary(self) -> str:
        """One line: model, tokens, speed, time to the first token, reuse, and how it ended."""
        parts = [self.model]
        if self.completion_tokens is not None:
            parts.append(f"{self.completion_tokens} tokens")
        if self.tokens_per_second is not None:
            parts.append(f"{self.tokens_per_second:.0f} tokens/s")
        if self.first_token is not None:
            parts.append(f"first token after {self.first_token:.2f} s")
        if self.cached_tokens:
            parts.append(f"{self.cached_tokens} of {self.prompt_tokens} prompt tokens cached")
        if self.outcome == "interrupted":
            parts.append("interrupted")
        elif self.outcome == "failed":
            parts.append("broken off")
        elif self.finish_reason == "length":
            parts.append("cut off at the token limit")
        return " · ".join(parts)

    def __str__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        return safe_markdown(self.text)
