"""What a model says to one prompt, as it grows chunk by chunk; knows nothing of HTTP or cells."""

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from mlx_notebook.notebook.answers.tool_call import Call
from mlx_notebook.notebook.escaping import safe_markdown
from mlx_notebook.notebook.human_units import counted
from mlx_notebook.notebook.schemas.reply_schema import parsed
from mlx_notebook.notebook.shell import cell_number

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionChunk
    from openai.types.chat.chat_completion_chunk import ChoiceDeltaToolCall


# A shorter answer may arrive all at once, whatever time it took to make.
_MEASURABLE_SECONDS = 0.1


class Delta(NamedTuple):
    """What is new of an answer.

    `content` and `reasoning` bring more `text`: of the answer itself, or of the reasoning before
    it. The others bring a `call` of a tool and no text: `writing` while the model writes it,
    `asking` when the person is about to be asked, `call` when it begins, `result` when it has
    ended.
    """

    kind: Literal["content", "reasoning", "writing", "asking", "call", "result"]
    text: str = ""
    call: Call | None = None


@dataclass
class Reply:
    """What came of one request: reasoning, text, calls of tools, in any part empty.

    Token counts are `None` until the server has told them, which it does at a reply's end.
    Times are seconds since the request was sent, as this kernel measured them.
    """

    finish_reason: str | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    first_token: float | None = None
    last_token: float | None = None
    calls: list[Call] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic, repr=False)
    _content: list[str] = field(default_factory=list, repr=False)
    _reasoning: list[str] = field(default_factory=list, repr=False)
    _calls: dict[int, Call] = field(default_factory=dict, repr=False)
    _arguments: dict[int, list[str]] = field(default_factory=dict, repr=False)

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._content)

    @property
    def reasoning(self) -> str:
        """The reasoning before the text, empty where the model does none."""
        return "".join(self._reasoning)

    @property
    def message(self) -> dict[str, Any]:
        """The reply as a message of the conversation."""
        message: dict[str, Any] = {"role": "assistant", "content": self.text}
        if self._reasoning:
            message["reasoning_content"] = self.reasoning
        if self.calls:
            message["tool_calls"] = [call.wanted for call in self.calls]
        return message

    def take(self, chunk: "ChatCompletionChunk") -> list[Delta]:
        """Take in one chunk of the stream and return what it adds."""
        if chunk.usage is not None:
            self.prompt_tokens = chunk.usage.prompt_tokens
            self.completion_tokens = chunk.usage.completion_tokens
            details = chunk.usage.prompt_tokens_details
            self.cached_tokens = details.cached_tokens if details else None
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
            deltas += [self._write(piece) for piece in choice.delta.tool_calls or ()]
        if deltas:
            self.last_token = time.monotonic() - self._began
            if self.first_token is None:
                self.first_token = self.last_token
        return deltas

    def complete(self) -> None:
        """Take the calls for whole: the stream has ended."""
        for at, call in self._calls.items():
            call.written = "".join(self._arguments[at])
            call.decode()
            call.state = "waiting"
        self.calls = list(self._calls.values())

    def _write(self, piece: "ChoiceDeltaToolCall") -> Delta:
        call = self._calls.get(piece.index)
        if call is None:
            call = self._calls[piece.index] = Call(piece.id or f"call_{piece.index}", "")
            self._arguments[piece.index] = []
        if piece.function is not None:
            call.name += piece.function.name or ""
            self._arguments[piece.index].append(piece.function.arguments or "")
        return Delta("writing", call=call)


@dataclass
class Answer:
    """All that answers one prompt: one reply, or several with calls of tools between them.

    Attributes
    ----------
    model
        Name of the model that answers.
    outcome
        How it stands. A `paused` answer waits for its calls to be allowed, or has come to the
        most steps it may take: `Chat.resume` goes on.
    replies
        One for each request to the model.
    note
        Why it is paused, in one sentence.
    schema
        The type of the reply that was asked for, if one was.
    """

    model: str
    outcome: Literal["running", "complete", "paused", "interrupted", "failed"] = "running"
    replies: list[Reply] = field(default_factory=list)
    note: str | None = None
    schema: Any = field(default=None, repr=False)
    # Number of the cell that showed it as it came, if one did.
    shown_in: int | None = field(default=None, repr=False)
    # Calls that an earlier answer left undone.
    resumed: list[Call] = field(default_factory=list, repr=False)

    @property
    def text(self) -> str:
        """What was said last, so far: after all calls that there were."""
        return self.replies[-1].text if self.replies else ""

    @property
    def parsed(self) -> Any:
        """The reply as the type that `schema` asked for.

        Raises `NotParsed` if it does not fit, since it was cut off.
        """
        return parsed(self.text, self.schema if self.schema is not None else {})

    @property
    def reasoning(self) -> str:
        """The reasoning before that, empty where the model does none."""
        return self.replies[-1].reasoning if self.replies else ""

    @property
    def calls(self) -> list[Call]:
        """Every call of a tool, in order."""
        return [*self.resumed, *(call for reply in self.replies for call in reply.calls)]

    @property
    def finish_reason(self) -> str | None:
        """Why the model stopped: `stop`, `length`, `tool_calls`."""
        return self.replies[-1].finish_reason if self.replies else None

    @property
    def prompt_tokens(self) -> int | None:
        """Tokens that the model was given, over all replies; `None` while that is unknown."""
        return _total([reply.prompt_tokens for reply in self.replies])

    @property
    def cached_tokens(self) -> int | None:
        """How many of these were in the server's cache."""
        return _total([reply.cached_tokens for reply in self.replies])

    @property
    def completion_tokens(self) -> int | None:
        """Tokens that the model wrote, over all replies."""
        return _total([reply.completion_tokens for reply in self.replies])

    @property
    def first_token(self) -> float | None:
        """Seconds until the first token of the first reply."""
        return self.replies[0].first_token if self.replies else None

    @property
    def tokens_per_second(self) -> float | None:
        """Speed after each first token, or `None` for an answer too short to measure it by."""
        tokens, took = 0, 0.0
        for reply in self.replies:
            if reply.completion_tokens and reply.first_token is not None:
                tokens += reply.completion_tokens - 1
                took += (reply.last_token or 0) - reply.first_token
        return tokens / took if tokens and took >= _MEASURABLE_SECONDS else None

    def summary(self) -> str:
        """One line: model, tokens, speed, time to the first token, reuse, and how it ended."""
        parts = [self.model]
        if calls := len(self.calls):
            parts.append(counted(calls, "tool call"))
        if self.completion_tokens is not None:
            parts.append(counted(self.completion_tokens, "token"))
        if self.tokens_per_second is not None:
            parts.append(f"{self.tokens_per_second:.0f} tokens/s")
        if self.first_token is not None:
            parts.append(f"first token after {self.first_token:.2f} s")
        if self.cached_tokens:
            parts.append(f"{self.cached_tokens} of {self.prompt_tokens} prompt tokens cached")
        if self.outcome == "paused":
            parts.append(f"paused: {self.note}" if self.note else "paused")
        elif self.outcome == "interrupted":
            parts.append("interrupted")
        elif self.outcome == "failed":
            parts.append("failed")
        elif self.finish_reason == "length":
            parts.append("cut off at the token limit")
        return " · ".join(parts)

    def __str__(self) -> str:
        return self.text

    def _ipython_display_(self) -> None:
        """Show nothing as the value of the cell that has shown the answer while it came."""
        if self.shown_in is None or self.shown_in != cell_number():
            raise NotImplementedError  # IPython then shows it as what it is

    def _repr_markdown_(self) -> str:
        return safe_markdown(self.text)


def _total(counts: list[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
