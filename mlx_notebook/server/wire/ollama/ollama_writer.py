"""Turn the engine's events into Ollama's answers."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from msgspec import UNSET, UnsetType

from mlx_notebook import protocol
from mlx_notebook.server.wire.call_arguments import arguments_of
from mlx_notebook.server.wire.ollama.ollama_responses import (
    OllamaAnswer,
    OllamaAnswerMessage,
    OllamaChatAnswer,
    OllamaFunctionCall,
    OllamaGenerateAnswer,
    OllamaLogprob,
    OllamaToolCall,
    moment,
    nanoseconds,
)

A = TypeVar("A", bound=OllamaAnswer)


class OllamaWriter(ABC, Generic[A]):
    """Write one answer in parts, and join them if it is not streamed.

    Parameters
    ----------
    model
        Name of the model in the answer.
    arrived
        When the request had arrived, in seconds of the monotonic clock.
    """

    def __init__(self, model: str, arrived: float) -> None:
        self._model = model
        self._arrived = arrived
        self._call: tuple[str, str, list[str]] | None = None
        self._calls = 0
        self._reason: str = "stop"
        self._done: protocol.Done | None = None

    @abstractmethod
    def part(self, text: str = "", reasoning: str = "", calls: Iterable[OllamaToolCall] = ()) -> A:
        """Return a part of the answer."""

    @abstractmethod
    def joined(self, parts: list[A]) -> A:
        """Return the whole answer, from all of its parts."""

    def parts(self, event: object) -> Iterator[A]:
        """Yield the parts of the answer that an event brings, usually one or none."""
        match event:
            case protocol.Text():
                yield from self._flush()
                if event.text or event.logprobs:
                    yield self._with_logprobs(self.part(event.text), event.logprobs)
            case protocol.Reasoning():
                if event.text or event.logprobs:
                    yield self._with_logprobs(self.part(reasoning=event.text), event.logprobs)
            case protocol.ToolCallStart():
                yield from self._flush()
                self._call = (event.call_id, event.name, [])
            case protocol.ToolCallArguments():
                assert self._call is not None, "the call has begun"
                self._call[2].append(event.arguments)
            case protocol.Finished():
                yield from self._flush()
                # Ollama's clients see by the calls that there are calls.
                self._reason = "stop" if event.reason == "tool_calls" else event.reason
            case protocol.Done():
                yield self._last(event)

    def _with_logprobs(self, part: A, tokens: list[protocol.TokenLogprob] | None) -> A:
        if tokens:
            part.logprobs = [OllamaLogprob.of(token) for token in tokens]
        return part

    def _flush(self) -> Iterator[A]:
        """Yield the call whose arguments are complete now. Ollama sends calls in one piece."""
        if self._call is None:
            return
        id, name, pieces = self._call
        self._call = None
        function = OllamaFunctionCall(self._calls, name, arguments_of("".join(pieces)))
        self._calls += 1
        yield self.part(calls=[OllamaToolCall(id, function)])

    def _last(self, done: protocol.Done) -> A:
        part, took = self.part(), done.timings
        part.done, part.done_reason = True, self._reason
        part.total_duration = nanoseconds(time.monotonic() - self._arrived)
        part.load_duration = nanoseconds(took.loading)
        part.prompt_eval_count = done.usage.prompt
        part.prompt_eval_duration = nanoseconds(took.prefill)
        part.eval_count = done.usage.completion
        part.eval_duration = nanoseconds(took.decode)
        return part


class OllamaChatWriter(OllamaWriter[OllamaChatAnswer]):
    """Write an answer of `api/chat`."""

    def part(
        self, text: str = "", reasoning: str = "", calls: Iterable[OllamaToolCall] = ()
    ) -> OllamaChatAnswer:
        """Return a part of the answer."""
        message = OllamaAnswerMessage(text, reasoning or UNSET, list(calls) or UNSET)
        return OllamaChatAnswer(model=self._model, created_at=moment(), message=message)

    def joined(self, parts: list[OllamaChatAnswer]) -> OllamaChatAnswer:
        """Return the whole answer, from all of its parts."""
        messages = [part.message for part in parts]
        whole = parts[-1]
        whole.message = OllamaAnswerMessage(
            "".join(message.content for message in messages),
            "".join(message.thinking or "" for message in messages) or UNSET,
            [call for message in messages for call in message.tool_calls or ()] or UNSET,
        )
        whole.logprobs = _all_logprobs(parts)
        return whole


class OllamaGenerateWriter(OllamaWriter[OllamaGenerateAnswer]):
    """Write an answer of `api/generate`."""

    def part(
        self, text: str = "", reasoning: str = "", calls: Iterable[OllamaToolCall] = ()
    ) -> OllamaGenerateAnswer:
        """Return a part of the answer. There are no tools, and so no calls."""
        part = OllamaGenerateAnswer(model=self._model, created_at=moment(), response=text)
        part.thinking = reasoning or UNSET
        return part

    def joined(self, parts: list[OllamaGenerateAnswer]) -> OllamaGenerateAnswer:
        """Return the whole answer, from all of its parts."""
        whole = parts[-1]
        whole.response = "".join(part.response for part in parts)
        whole.thinking = "".join(part.thinking or "" for part in parts) or UNSET
        whole.logprobs = _all_logprobs(parts)
        return whole


def _all_logprobs(parts: Iterable[OllamaAnswer]) -> list[OllamaLogprob] | UnsetType:
    return [token for part in parts for token in part.logprobs or ()] or UNSET
