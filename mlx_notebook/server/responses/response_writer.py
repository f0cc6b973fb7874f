"""Turn the engine's events into the items of a response and its stream events."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import msgspec
from msgspec import UNSET

from mlx_notebook import protocol
from mlx_notebook.server.engine.request_stream import KeepAlive
from mlx_notebook.server.errors import ApiError, RequestCancelled
from mlx_notebook.server.wire.ids import new_id, now
from mlx_notebook.server.wire.openai.logprobs import Logprob
from mlx_notebook.server.wire.prompt_logprobs import prompt_logprobs
from mlx_notebook.server.wire.responses import response_events as wire
from mlx_notebook.server.wire.responses.response_object import (
    IncompleteDetails,
    ItemStatus,
    OutputCall,
    OutputItem,
    OutputMessage,
    OutputReasoning,
    OutputText,
    ReasoningText,
    Response,
    ResponseError,
    ResponseUsage,
    SummaryText,
)
from mlx_notebook.server.wire.sealed_reasoning import seal

Events = Iterator[wire.ResponseEvent]


class ResponseWriter:
    """Write one response, item after item.

    Parameters
    ----------
    response
        The empty response.
    as_summary
        Whether to send the reasoning as a summary.
    sealed
        Whether to send the reasoning in encrypted form too.
    alternatives
        Number of alternatives for each token of the prompt, if its log probabilities are wanted.
    namespaces
        Namespace and name of the functions in namespaces, by their names for the model.
    """

    def __init__(
        self,
        response: Response,
        *,
        as_summary: bool,
        sealed: bool,
        alternatives: int = 0,
        namespaces: Mapping[str, tuple[str, str]] = MappingProxyType({}),
    ) -> None:
        self.response = response
        self.ended = False
        self._as_summary = as_summary
        self._sealed = sealed
        self._alternatives = alternatives
        self._namespaces = namespaces
        self._sequence = 0
        self._started = False
        self._item: OutputItem | None = None
        self._pieces: list[str] = []
        self._logprobs: list[Logprob] = []
        self._held: list[protocol.TokenLogprob] = []
        self._whitespace: list[protocol.Text] = []
        self._reason: protocol.FinishReason = "stop"

    # --- events -----------------------------------------------------------------------------------

    def handle(self, event: protocol.Event | KeepAlive) -> list[wire.ResponseEvent]:
        """Handle an event of the engine. Return the stream events for it."""
        return [self._numbered(event) for event in self._events_for(event)]

    def accepted(self) -> list[wire.ResponseEvent]:
        """Return the stream events for a request that has been accepted."""
        events = (
            (wire.ResponseCreated, wire.ResponseQueued)
            if self.response.background
            else (wire.ResponseCreated,)
        )
        return [self._numbered(kind(response=self._snapshot())) for kind in events]

    def fail(self, error: ApiError) -> list[wire.ResponseEvent]:
        """End the response with an error. Return the stream events for it."""
        self.ended = True
        self._close("incomplete", [])
        if isinstance(error, RequestCancelled):
            self.response.status = "cancelled"
            stopped = wire.ErrorEvent(code=error.code, message=error.message, param=error.param)
            return [self._numbered(stopped)]
        self.response.status = "failed"
        codes = {429: "rate_limit_exceeded", 400: "invalid_prompt"}
        code = codes.get(error.status_code, "server_error")
        self.response.error = ResponseError(code, error.message)  # type: ignore[arg-type]
        return [self._numbered(wire.ResponseFailed(response=self._snapshot()))]

    def _events_for(self, event: protocol.Event | KeepAlive) -> Events:
        match event:
            case protocol.Prefill():
                yield from self._start()
            case protocol.Text():
                yield from self._text(event)
            case protocol.Reasoning(text=text) if text:
                yield from self._reasoning(text)
            case protocol.ToolCallStart():
                self._whitespace.clear()
                yield from self._open_call(event)
            case protocol.ToolCallArguments(arguments=arguments) if arguments:
                yield from self._arguments(arguments)
            case protocol.PromptTokenIds(ids=ids):
                self.response.prompt_token_ids, self.response.token_ids = ids, []
            case protocol.TokenIds(ids=ids) if self.response.token_ids is not UNSET:
                self.response.token_ids += ids
            case protocol.PromptLogprobs():
                self.response.prompt_logprobs = prompt_logprobs(event, self._alternatives)
            case protocol.Finished():
                yield from self._start()
                self._reason = event.reason
                yield from self._last_item()
            case protocol.Done():
                yield from self._done(event.usage)

    # --- items ------------------------------------------------------------------------------------

    def _start(self) -> Events:
        if self._started:
            return
        self._started = True
        self.response.status = "in_progress"
        if self._sequence == 0:
            yield wire.ResponseCreated(response=self._snapshot())
        yield wire.ResponseInProgress(response=self._snapshot())

    def _text(self, event: protocol.Text) -> Events:
        if not isinstance(self._item, OutputMessage):
            # Whitespace between reasoning, text and calls is no message.
            self._whitespace.append(event)
            if not event.text.strip():
                return
            waiting, self._whitespace = self._whitespace, []
            yield from self._open_message()
            for each in waiting:
                yield self._text_delta(each)
        elif event.text:
            yield self._text_delta(event)
        else:
            # The text of this token comes with that of a later one.
            self._held += event.logprobs or []

    def _open_message(self) -> Events:
        yield from self._open(OutputMessage(new_id("msg_"), "in_progress", []))
        part = OutputText("", [], [])
        yield wire.ContentPartAdded(output_index=self._index, item_id=self._id, part=part)

    def _text_delta(self, event: protocol.Text) -> wire.ResponseEvent:
        logprobs = [Logprob.of(token) for token in (*self._held, *(event.logprobs or ()))]
        self._held.clear()
        self._pieces.append(event.text)
        self._logprobs.extend(logprobs)
        return wire.OutputTextDelta(
            output_index=self._index, item_id=self._id, delta=event.text, logprobs=logprobs
        )

    def _reasoning(self, text: str) -> Events:
        if not isinstance(self._item, OutputReasoning):
            self._whitespace.clear()
            item = OutputReasoning(new_id("rs_"), "in_progress", [])
            if not self._as_summary:
                item.content = []
            yield from self._open(item)
            position = {"output_index": self._index, "item_id": self._id}
            if self._as_summary:
                yield wire.ReasoningSummaryPartAdded(**position, part=SummaryText(""))  # type: ignore[arg-type]
            else:
                yield wire.ContentPartAdded(**position, part=ReasoningText(""))  # type: ignore[arg-type]
        self._pieces.append(text)
        delta = wire.ReasoningSummaryTextDelta if self._as_summary else wire.ReasoningTextDelta
        yield delta(output_index=self._index, item_id=self._id, delta=text)

    def _open(self, item: OutputItem) -> Events:
        yield from self._start()
        yield from self._closing("completed")
        self._item = item
        self.response.output.append(item)
        yield wire.OutputItemAdded(output_index=self._index, item=msgspec.structs.replace(item))

    def _open_call(self, event: protocol.ToolCallStart) -> Events:
        namespace, name = self._namespaces.get(event.name, (UNSET, event.name))
        id = new_id("fc_")
        yield from self._open(OutputCall(id, "in_progress", event.call_id, name, "", namespace))

    def _arguments(self, arguments: str) -> Events:
        self._pieces.append(arguments)
        yield wire.FunctionCallArgumentsDelta(
            output_index=self._index, item_id=self._id, delta=arguments
        )

    def _last_item(self) -> Events:
        if self._item is None:
            # A response of whitespace only, or of nothing, is still a message.
            waiting, self._whitespace = self._whitespace, []
            yield from self._open_message()
            for event in waiting:
                yield self._text_delta(event)
        cut_off = self._reason in ("length", "content_filter")
        yield from self._closing("incomplete" if cut_off else "completed")

    def _closing(self, status: ItemStatus) -> Events:
        events: list[wire.ResponseEvent] = []
        self._close(status, events)
        yield from events

    def _close(self, status: ItemStatus, events: list[wire.ResponseEvent]) -> None:
        item, text = self._item, "".join(self._pieces)
        if not isinstance(item, OutputMessage | OutputReasoning | OutputCall):
            return
        index, id = self._index, item.id
        match item:
            case OutputMessage():
                self._logprobs += [Logprob.of(token) for token in self._held]
                self._held.clear()
                output = OutputText(text, [], self._logprobs)
                item.content = [output]
                events += (
                    wire.OutputTextDone(
                        output_index=index, item_id=id, text=text, logprobs=self._logprobs
                    ),
                    wire.ContentPartDone(output_index=index, item_id=id, part=output),
                )
            case OutputReasoning():
                events += self._close_reasoning(item, text)
            case OutputCall():
                item.arguments = text
                events.append(
                    wire.FunctionCallArgumentsDone(
                        output_index=index, item_id=id, name=item.name, arguments=text
                    )
                )
        item.status = status
        events.append(wire.OutputItemDone(output_index=index, item=item))
        self._item, self._pieces, self._logprobs = None, [], []

    def _close_reasoning(self, item: OutputReasoning, text: str) -> list[wire.ResponseEvent]:
        index, id = self._index, item.id
        if self._sealed:
            item.encrypted_content = seal(text)
        if self._as_summary:
            summary = SummaryText(text)
            item.summary = [summary]
            return [
                wire.ReasoningSummaryTextDone(output_index=index, item_id=id, text=text),
                wire.ReasoningSummaryPartDone(output_index=index, item_id=id, part=summary),
            ]
        reasoning = ReasoningText(text)
        item.content = [reasoning]
        return [
            wire.ReasoningTextDone(output_index=index, item_id=id, text=text),
            wire.ContentPartDone(output_index=index, item_id=id, part=reasoning),
        ]

    # --- end --------------------------------------------------------------------------------------

    def _done(self, usage: protocol.Usage) -> Events:
        yield self._finish(usage)

    def _add_usage(self, usage: protocol.Usage) -> None:
        used = ResponseUsage.of(usage)
        self.response.usage = used if self.response.usage is None else self.response.usage + used

    def _finish(self, usage: protocol.Usage | None) -> wire.ResponseEvent:
        self.ended = True
        response = self.response
        if usage is not None:
            self._add_usage(usage)
        response.completed_at = now()
        if self._reason in ("length", "content_filter"):
            response.status = "incomplete"
            response.incomplete_details = IncompleteDetails(
                "max_output_tokens" if self._reason == "length" else "content_filter"
            )
            return wire.ResponseIncomplete(response=self._snapshot())
        response.status = "completed"
        return wire.ResponseCompleted(response=self._snapshot())

    @property
    def _index(self) -> int:
        return len(self.response.output) - 1

    @property
    def _id(self) -> str:
        return self.response.output[-1].id

    def _snapshot(self) -> Response:
        return msgspec.structs.replace(self.response, output=list(self.response.output))

    def _numbered(self, event: wire.ResponseEvent) -> wire.ResponseEvent:
        event.sequence_number = self._sequence
        self._sequence += 1
        return event
