"""Turn the engine's events into Anthropic's content blocks and stream events."""

import hashlib
from collections.abc import Iterator

import msgspec
from msgspec import UNSET

from mlx_notebook import protocol
from mlx_notebook.server.engine.request_stream import KeepAlive
from mlx_notebook.server.wire.anthropic.message_response import (
    ContentBlock,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    InputJsonDelta,
    MessageDelta,
    MessageEvent,
    MessageResponse,
    MessageStart,
    MessageStop,
    MessageUsage,
    Ping,
    SignatureDelta,
    StopDelta,
    StopReason,
    TextBlock,
    TextDelta,
    ThinkingBlock,
    ThinkingDelta,
    ToolUseBlock,
)
from mlx_notebook.server.wire.call_arguments import arguments_of
from mlx_notebook.server.wire.prompt_logprobs import prompt_logprobs
from mlx_notebook.server.wire.sealed_reasoning import seal

Events = Iterator[MessageEvent]


class MessageWriter:
    """Write one message, block after block.

    Parameters
    ----------
    answer
        The empty message.
    max_tokens
        Most tokens that it may have.
    hides_reasoning
        Whether to send the reasoning in encrypted form only.
    alternatives
        Number of alternatives for each token of the prompt, if its log probabilities are wanted.
    has_cache_marks
        Whether the request has a `cache_control`.
    """

    def __init__(
        self,
        answer: MessageResponse,
        *,
        max_tokens: int,
        hides_reasoning: bool,
        alternatives: int = 0,
        has_cache_marks: bool = False,
    ) -> None:
        self.answer = answer
        self._max_tokens = max_tokens
        self._hides_reasoning = hides_reasoning
        self._alternatives = alternatives
        self._has_cache_marks = has_cache_marks
        self._started = False
        self._block: ContentBlock | None = None
        self._pieces: list[str] = []
        self._whitespace = ""
        self._finished: protocol.Finished | None = None

    def handle(self, event: protocol.Event | KeepAlive) -> Events:
        """Handle an event of the engine. Yield the stream events for it."""
        match event:
            case protocol.Prefill() if not self._started:
                self.answer.usage.count_prompt(
                    event.total, event.cached, has_cache_marks=self._has_cache_marks
                )
                yield from self._start()
            case protocol.Text(text=text) if text:
                yield from self._text(text)
            case protocol.Reasoning(text=text) if text:
                yield from self._reasoning(text)
            case protocol.ToolCallStart():
                # Anthropic's clients expect this prefix.
                id = "toolu_" + event.call_id.removeprefix("call_")
                yield from self._open(ToolUseBlock(id, event.name, {}))
            case protocol.ToolCallArguments(arguments=arguments) if arguments:
                self._pieces.append(arguments)
                yield self._delta(InputJsonDelta(arguments))
            case protocol.PromptTokenIds(ids=ids):
                self.answer.prompt_token_ids, self.answer.token_ids = ids, []
            case protocol.TokenIds(ids=ids) if self.answer.token_ids is not UNSET:
                self.answer.token_ids += ids
            case protocol.PromptLogprobs():
                self.answer.prompt_logprobs = prompt_logprobs(event, self._alternatives)
            case protocol.Finished():
                self._finished = event
                yield from self._start()
                if not self.answer.content and self._whitespace:
                    # A message of whitespace only still has a text block.
                    yield from self._open_text(self._whitespace)
                yield from self._close()
            case protocol.Done():
                yield from self._end(event.usage)
            case KeepAlive():
                yield Ping()

    def _start(self) -> Events:
        if not self._started:
            self._started = True
            yield MessageStart(msgspec.structs.replace(self.answer, content=[]))

    def _text(self, text: str) -> Events:
        if isinstance(self._block, TextBlock):
            self._pieces.append(text)
            yield self._delta(TextDelta(text))
            return
        # Whitespace between reasoning, text and calls are no block.
        self._whitespace += text
        if text.strip():
            yield from self._open_text(self._whitespace)

    def _open_text(self, text: str) -> Events:
        yield from self._open(TextBlock(""))
        self._pieces.append(text)
        yield self._delta(TextDelta(text))

    def _reasoning(self, text: str) -> Events:
        if not isinstance(self._block, ThinkingBlock):
            yield from self._open(ThinkingBlock("", ""))
        self._pieces.append(text)
        if not self._hides_reasoning:
            yield self._delta(ThinkingDelta(text))

    def _open(self, block: ContentBlock) -> Events:
        yield from self._start()
        yield from self._close()
        self._whitespace = ""
        self._block = block
        self.answer.content.append(block)
        yield ContentBlockStart(self._index, msgspec.structs.replace(block))

    def _close(self) -> Events:
        block, text = self._block, "".join(self._pieces)
        if block is None:
            return
        match block:
            case TextBlock():
                block.text = text
            case ThinkingBlock():
                block.thinking = "" if self._hides_reasoning else text
                block.signature = seal(text) if self._hides_reasoning else _digest(text)
                yield self._delta(SignatureDelta(block.signature))
            case ToolUseBlock():
                block.input = arguments_of(text)
        yield ContentBlockStop(self._index)
        self._block, self._pieces = None, []

    def _end(self, usage: protocol.Usage) -> Events:
        answer = self.answer
        answer.usage = MessageUsage.of(usage, has_cache_marks=self._has_cache_marks)
        answer.stop_reason = self._stop_reason(usage)
        if answer.stop_reason == "stop_sequence" and self._finished:
            answer.stop_sequence = self._finished.stop
        delta = StopDelta(answer.stop_reason, answer.stop_sequence)
        yield MessageDelta(delta, answer.usage, answer.context_management, answer.token_ids)
        yield MessageStop()

    def _stop_reason(self, usage: protocol.Usage) -> StopReason:
        match self._finished:
            case protocol.Finished(reason="tool_calls"):
                return "tool_use"
            case protocol.Finished(reason="length") if usage.completion < self._max_tokens:
                return "model_context_window_exceeded"
            case protocol.Finished(reason="length"):
                return "max_tokens"
            case protocol.Finished(reason="content_filter"):
                return "refusal"
            case protocol.Finished(stop=str()):
                return "stop_sequence"
        return "end_turn"

    @property
    def _index(self) -> int:
        return len(self.answer.content) - 1

    def _delta(
        self, delta: TextDelta | ThinkingDelta | SignatureDelta | InputJsonDelta
    ) -> MessageEvent:
        return ContentBlockDelta(self._index, delta)


def _digest(text: str) -> str:
    # Clients only check that there is a signature, and send it back.
    return hashlib.sha256(text.encode()).hexdigest()
