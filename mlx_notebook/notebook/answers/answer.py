"""The answer of a model to one prompt, built up from the chunks of its stream."""

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from mlx_notebook.notebook.answers.server_times import ServerTimes
from mlx_notebook.notebook.answers.tool_call import ToolCall
from mlx_notebook.notebook.escaping import safe_markdown
from mlx_notebook.notebook.human_units import plural
from mlx_notebook.notebook.schemas.reply_schema import parsed
from mlx_notebook.notebook.shell import cell_number

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionChunk
    from openai.types.chat.chat_completion_chunk import ChoiceDeltaToolCall


# The chunks of a faster answer may arrive together, so that it has no measurable speed.
_MEASURABLE_SECONDS = 0.1
# A first token that takes longer is explained, in seconds.
_SLOW_SECONDS = 1.0


class Delta(NamedTuple):
    """A new piece of an answer.

    Attributes
    ----------
    kind
        `content` and `reasoning` add `text` to the answer or to the reasoning before it. The others
        are about a tool call and have no text: `writing` while the model writes the call, `asking`
        before the user is asked to approve it, `call` when it starts, `result` when it has ended.
    text
        The new text.
    call
        The tool call.
    """

    kind: Literal["content", "reasoning", "writing", "asking", "call", "result"]
    text: str = ""
    call: ToolCall | None = None


@dataclass
class Reply:
    """The response to one request: reasoning, text and tool calls. Each of them can be empty.

    `id` is the response's; `mlx/traces/ID` tells more about it. Token counts are `None` until the
    server sends them, at the end of the response. Times are in seconds since the request was sent,
    measured in this kernel.
    """

    id: str | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    first_token: float | None = None
    last_token: float | None = None
    server_times: ServerTimes | None = None
    calls: list[ToolCall] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic, repr=False)
    _content: list[str] = field(default_factory=list, repr=False)
    _reasoning: list[str] = field(default_factory=list, repr=False)
    _calls: dict[int, ToolCall] = field(default_factory=dict, repr=False)
    _arguments: dict[int, list[str]] = field(default_factory=dict, repr=False)

    def sent(self, at: float) -> None:
        """Count the times from when the request was sent, in seconds of the monotonic clock."""
        self._began = at

    @property
    def network_seconds(self) -> float | None:
        """What the network added to the first token; `None` without the server's own times."""
        if self.first_token is None or self.server_times is None:
            return None
        return max(0.0, self.first_token - self.server_times.first_token)

    @property
    def text(self) -> str:
        """Text so far."""
        return "".join(self._content)

    @property
    def reasoning(self) -> str:
        """Reasoning before the text; empty for a model that does not reason."""
        return "".join(self._reasoning)

    @property
    def message(self) -> dict[str, Any]:
        """The reply as an assistant message of the conversation."""
        message: dict[str, Any] = {"role": "assistant", "content": self.text}
        if self._reasoning:
            message["reasoning_content"] = self.reasoning
        if self.calls:
            message["tool_calls"] = [call.openai_call for call in self.calls]
        return message

    def continue_message(self, message: dict[str, Any]) -> None:
        """Begin with the text of a message that this reply continues."""
        self._content.append(message["content"])
        if reasoning := message.get("reasoning_content"):
            self._reasoning.append(reasoning)

    def take(self, chunk: "ChatCompletionChunk") -> list[Delta]:
        """Add one chunk of the stream and return what is new."""
        self.id = chunk.id or self.id
        if chunk.usage is not None:
            self.prompt_tokens = chunk.usage.prompt_tokens
            self.completion_tokens = chunk.usage.completion_tokens
            details = chunk.usage.prompt_tokens_details
            self.cached_tokens = details.cached_tokens if details else None
            # The SDK's types do not have it, because OpenAI's API does not.
            self.server_times = ServerTimes.of(getattr(chunk, "timings", None))
        deltas: list[Delta] = []
        for choice in chunk.choices:
            self.finish_reason = choice.finish_reason or self.finish_reason
            # The SDK's types do not have it, because OpenAI's API does not.
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
        """Decode the tool calls, because the stream has ended."""
        for at, call in self._calls.items():
            call.written = "".join(self._arguments[at])
            call.decode()
            call.state = "waiting"
        self.calls = list(self._calls.values())

    def _write(self, piece: "ChoiceDeltaToolCall") -> Delta:
        call = self._calls.get(piece.index)
        if call is None:
            call = self._calls[piece.index] = ToolCall(piece.id or f"call_{piece.index}", "")
            self._arguments[piece.index] = []
        if piece.function is not None:
            call.name += piece.function.name or ""
            self._arguments[piece.index].append(piece.function.arguments or "")
        return Delta("writing", call=call)


@dataclass
class Answer:
    """Everything that answers one prompt: one reply, or several with tool calls between them.

    Attributes
    ----------
    model
        Name of the model.
    outcome
        State of the answer. A `paused` answer waits for the approval of its tool calls, or has used
        all requests that it may make. `Chat.resume` continues it.
    replies
        The response to each request.
    note
        Why the answer is paused, in one sentence.
    schema
        The type that was asked for, if any.
    crosses_network
        Whether the server may be on another machine.
    """

    model: str
    outcome: Literal["running", "complete", "paused", "interrupted", "failed"] = "running"
    replies: list[Reply] = field(default_factory=list)
    note: str | None = None
    schema: Any = field(default=None, repr=False)
    crosses_network: bool = False
    # Number of the cell that has shown the answer while it was streamed.
    shown_in: int | None = field(default=None, repr=False)
    # Tool calls that an earlier answer has not made.
    resumed: list[ToolCall] = field(default_factory=list, repr=False)

    @property
    def text(self) -> str:
        """Text of the last reply so far. It comes after all tool calls."""
        return self.replies[-1].text if self.replies else ""

    @property
    def parsed(self) -> Any:
        """The last reply as an object of the type that `schema` asked for.

        Raises
        ------
        NotParsed
            If it does not fit the type, for example because it was cut off.
        """
        return parsed(self.text, self.schema if self.schema is not None else {})

    @property
    def reasoning(self) -> str:
        """Reasoning before `text`; empty for a model that does not reason."""
        return self.replies[-1].reasoning if self.replies else ""

    @property
    def calls(self) -> list[ToolCall]:
        """All tool calls, in order."""
        return [*self.resumed, *(call for reply in self.replies for call in reply.calls)]

    @property
    def finish_reason(self) -> str | None:
        """Why the model stopped: `stop`, `length` or `tool_calls`."""
        return self.replies[-1].finish_reason if self.replies else None

    @property
    def prompt_tokens(self) -> int | None:
        """Prompt tokens of all replies; `None` while unknown."""
        return _total([reply.prompt_tokens for reply in self.replies])

    @property
    def cached_tokens(self) -> int | None:
        """How many of the prompt tokens were in the prefix cache."""
        return _total([reply.cached_tokens for reply in self.replies])

    @property
    def completion_tokens(self) -> int | None:
        """Generated tokens of all replies."""
        return _total([reply.completion_tokens for reply in self.replies])

    @property
    def first_token(self) -> float | None:
        """Seconds until the first token of the first reply."""
        return self.replies[0].first_token if self.replies else None

    @property
    def tokens_per_second(self) -> float | None:
        """Generation speed without the time to the first token; `None` for a very short answer."""
        tokens, took = 0, 0.0
        for reply in self.replies:
            if reply.completion_tokens and reply.first_token is not None:
                tokens += reply.completion_tokens - 1
                took += (reply.last_token or 0) - reply.first_token
        return tokens / took if tokens and took >= _MEASURABLE_SECONDS else None

    @property
    def network_seconds(self) -> float | None:
        """What the network added to the time to the first token; `None` if that is not known."""
        return self.replies[0].network_seconds if self.replies else None

    def first_token_summary(self) -> str:
        """Describe the time to the first token, and what took it where it was long or remote."""
        if self.first_token is None:
            return ""
        text = f"first token after {self.first_token:.2f} s"
        times, network = self.replies[0].server_times, self.network_seconds
        if times is None or network is None:
            return text
        if self.crosses_network:
            return f"{text}: {network:.1f} s network, {times.describe()}"
        return text if self.first_token < _SLOW_SECONDS else f"{text}: {times.describe()}"

    def summary(self) -> str:
        """Describe the answer in one line: model, tokens, speed, cached tokens and outcome."""
        parts = [self.model]
        if calls := len(self.calls):
            parts.append(plural(calls, "tool call"))
        if self.completion_tokens is not None:
            parts.append(plural(self.completion_tokens, "token"))
        if self.tokens_per_second is not None:
            parts.append(f"{self.tokens_per_second:.0f} tokens/s")
        if first_token := self.first_token_summary():
            parts.append(first_token)
        if self.cached_tokens:
            parts.append(f"{self.cached_tokens} of {self.prompt_tokens} prompt tokens cached")
        if self.outcome == "paused":
            parts.append(f"paused: {self.note}" if self.note else "paused")
        elif self.outcome == "interrupted":
            parts.append(f"interrupted: {self.note}" if self.note else "interrupted")
        elif self.outcome == "failed":
            parts.append("failed")
        elif self.finish_reason == "length":
            parts.append("cut off at the token limit")
        return " · ".join(parts)

    def __str__(self) -> str:
        return self.text

    def _ipython_display_(self) -> None:
        """Show nothing in the cell that has already shown the answer while it was streamed."""
        if self.shown_in is None or self.shown_in != cell_number():
            raise NotImplementedError  # IPython then uses another representation

    def _repr_markdown_(self) -> str:
        return safe_markdown(self.text)


def _total(counts: list[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
