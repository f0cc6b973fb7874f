"""The engine's events become a response's items, and the events that tell a client of them."""

from collections.abc import Iterator

import msgspec
from msgspec import UNSET

from mlx_notebook import protocol
from mlx_notebook.server.engine.request_stream import KeepAlive
from mlx_notebook.server.errors import ApiError, InvalidRequest, QueueFull, RequestCancelled
from mlx_notebook.server.wire.ids import new_id, now
from mlx_notebook.server.wire.openai import response_events as told
from mlx_notebook.server.wire.openai.logprobs import Logprob
from mlx_notebook.server.wire.openai.response_object import (
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
from mlx_notebook.server.wire.prompt_logprobs import prompt_logprobs
from mlx_notebook.server.wire.sealed_reasoning import seal

Events = Iterator[told.ResponseEvent]


class ResponseWriter:
    """Writes one response, item after item.

    Args:
        response: The empty response.
        as_summary: Tell the thinking as a summary.
        sealed: Give the thinking in opaque form too.
        alternatives: How many to tell for each token of the prompt, where it is scored.
    """

    def __init__(
        self, response: Response, *, as_summary: bool, sealed: bool, alternatives: int = 0
    ) -> None:
        self.response = response
        self.ended = False
        self._as_summary = as_summary
        self._sealed = sealed
        self._alternatives = alternatives
        self._sequence = 0
        self._begun = False
        self._item: OutputItem | None = None
        self._pieces: list[str] = []
        self._logprobs: list[Logprob] = []
        self._held: list[protocol.TokenLogprob] = []
        self._blank: list[protocol.Text] = []
        self._reason: protocol.FinishReason = "stop"

    # --- what comes in ----------------------------------------------------------------------------

    def take(self, event: protocol.Event | KeepAlive) -> list[told.ResponseEvent]:
        """Take one of the engine's events in; return what is to be told of it, in order."""
        return [self._numbered(event) for event in self._taken(event)]

    def accepted(self) -> list[told.ResponseEvent]:
        """Return what is to be told of a request that now waits for its turn."""
        events = (
            (told.ResponseCreated, told.ResponseQueued)
            if self.response.background
            else (told.ResponseCreated,)
        )
        return [self._numbered(kind(response=self._snapshot())) for kind in events]

    def fail(self, error: ApiError) -> list[told.ResponseEvent]:
        """End the response with an error; return what is to be told of it."""
        self.ended = True
        self._close("incomplete", [])
        if isinstance(error, RequestCancelled):
            self.response.status = "cancelled"
            stopped = told.ErrorEvent(code=error.code, message=error.message, param=error.param)
            return [self._numbered(stopped)]
        self.response.status = "failed"
        code = "rate_limit_exceeded" if isinstance(error, QueueFull) else "server_error"
        if isinstance(error, InvalidRequest):
            code = "invalid_prompt"
        self.response.error = ResponseError(code, error.message)  # type: ignore[arg-type]
        return [self._numbered(told.ResponseFailed(response=self._snapshot()))]

    def _taken(self, event: protocol.Event | KeepAlive) -> Events:
        match event:
            case protocol.Prefill():
                yield from self._begin()
            case protocol.Text():
                yield from self._text(event)
            case protocol.Reasoning(text=text) if text:
                yield from self._thought(text)
            case protocol.ToolCallStart():
                self._blank.clear()
                yield from self._open(
                    OutputCall(new_id("fc_"), "in_progress", event.call_id, event.name, "")
                )
            case protocol.ToolCallArguments(arguments=arguments) if arguments:
                self._pieces.append(arguments)
                yield told.FunctionCallArgumentsDelta(
                    output_index=self._index, item_id=self._id, delta=arguments
                )
            case protocol.PromptTokenIds(ids=ids):
                self.response.prompt_token_ids, self.response.token_ids = ids, []
            case protocol.TokenIds(ids=ids) if self.response.token_ids is not UNSET:
                self.response.token_ids += ids
            case protocol.PromptLogprobs():
                self.response.prompt_logprobs = prompt_logprobs(event, self._alternatives)
            case protocol.Finished():
                yield from self._begin()
                self._reason = event.reason
                yield from self._last_item()
            case protocol.Done():
                yield self._finish(event.usage)

    # --- items ------------------------------------------------------------------------------------

    def _begin(self) -> Events:
        if self._begun:
            return
        self._begun = True
        self.response.status = "in_progress"
        if self._sequence == 0:
            yield told.ResponseCreated(response=self._snapshot())
        yield told.ResponseInProgress(response=self._snapshot())

    def _text(self, event: protocol.Text) -> Events:
        if not isinstance(self._item, OutputMessage):
            # Blanks between thinking, text and calls are no message.
            self._blank.append(event)
            if not event.text.strip():
                return
            waiting, self._blank = self._blank, []
            yield from self._open_message()
            for each in waiting:
                yield self._said(each)
        elif event.text:
            yield self._said(event)
        else:
            # The token's text comes with a later one's.
            self._held += event.logprobs or []

    def _open_message(self) -> Events:
        yield from self._open(OutputMessage(new_id("msg_"), "in_progress", []))
        part = OutputText("", [], [])
        yield told.ContentPartAdded(output_index=self._index, item_id=self._id, part=part)

    def _said(self, event: protocol.Text) -> told.ResponseEvent:
        logprobs = [Logprob.of(token) for token in (*self._held, *(event.logprobs or ()))]
        self._held.clear()
        self._pieces.append(event.text)
        self._logprobs.extend(logprobs)
        return told.OutputTextDelta(
            output_index=self._index, item_id=self._id, delta=event.text, logprobs=logprobs
        )

    def _thought(self, text: str) -> Events:
        if not isinstance(self._item, OutputReasoning):
            self._blank.clear()
            item = OutputReasoning(new_id("rs_"), "in_progress", [])
            if not self._as_summary:
                item.content = []
            yield from self._open(item)
            place = {"output_index": self._index, "item_id": self._id}
            if self._as_summary:
                yield told.ReasoningSummaryPartAdded(**place, part=SummaryText(""))  # type: ignore[arg-type]
            else:
                yield told.ContentPartAdded(**place, part=ReasoningText(""))  # type: ignore[arg-type]
        self._pieces.append(text)
        delta = told.ReasoningSummaryTextDelta if self._as_summary else told.ReasoningTextDelta
        yield delta(output_index=self._index, item_id=self._id, delta=text)

    def _open(self, item: OutputItem) -> Events:
        yield from self._begin()
        yield from self._closing("completed")
        self._item = item
        self.response.output.append(item)
        yield told.OutputItemAdded(output_index=self._index, item=msgspec.structs.replace(item))

    def _last_item(self) -> Events:
        if self._item is None:
            # An answer of blanks only, or of nothing, is still a message.
            waiting, self._blank = self._blank, []
            yield from self._open_message()
            for event in waiting:
                yield self._said(event)
        yield from self._closing("incomplete" if self._reason == "length" else "completed")

    def _closing(self, status: ItemStatus) -> Events:
        events: list[told.ResponseEvent] = []
        self._close(status, events)
        yield from events

    def _close(self, status: ItemStatus, events: list[told.ResponseEvent]) -> None:
        item, text = self._item, "".join(self._pieces)
        if item is None:
            return
        index, id = self._index, item.id
        match item:
            case OutputMessage():
                self._logprobs += [Logprob.of(token) for token in self._held]
                self._held.clear()
                said = OutputText(text, [], self._logprobs)
                item.content = [said]
                events += (
                    told.OutputTextDone(
                        output_index=index, item_id=id, text=text, logprobs=self._logprobs
                    ),
                    told.ContentPartDone(output_index=index, item_id=id, part=said),
                )
            case OutputReasoning():
                events += self._close_reasoning(item, text)
            case OutputCall():
                item.arguments = text
                events.append(
                    told.FunctionCallArgumentsDone(
                        output_index=index, item_id=id, name=item.name, arguments=text
                    )
                )
        item.status = status
        events.append(told.OutputItemDone(output_index=index, item=item))
        self._item, self._pieces, self._logprobs = None, [], []

    def _close_reasoning(self, item: OutputReasoning, text: str) -> list[told.ResponseEvent]:
        index, id = self._index, item.id
        if self._sealed:
            item.encrypted_content = seal(text)
        if self._as_summary:
            summary = SummaryText(text)
            item.summary = [summary]
            return [
                told.ReasoningSummaryTextDone(output_index=index, item_id=id, text=text),
                told.ReasoningSummaryPartDone(output_index=index, item_id=id, part=summary),
            ]
        thought = ReasoningText(text)
        item.content = [thought]
        return [
            told.ReasoningTextDone(output_index=index, item_id=id, text=text),
            told.ContentPartDone(output_index=index, item_id=id, part=thought),
        ]

    # --- the end ----------------------------------------------------------------------------------

    def _finish(self, usage: protocol.Usage) -> told.ResponseEvent:
        self.ended = True
        response = self.response
        response.usage = ResponseUsage.of(usage)
        response.completed_at = now()
        if self._reason == "length":
            response.status = "incomplete"
            response.incomplete_details = IncompleteDetails("max_output_tokens")
            return told.ResponseIncomplete(response=self._snapshot())
        response.status = "completed"
        return told.ResponseCompleted(response=self._snapshot())

    @property
    def _index(self) -> int:
        return len(self.response.output) - 1

    @property
    def _id(self) -> str:
        return self.response.output[-1].id

    def _snapshot(self) -> Response:
        return msgspec.structs.replace(self.response, output=list(self.response.output))

    def _numbered(self, event: told.ResponseEvent) -> told.ResponseEvent:
        event.sequence_number = self._sequence
        self._sequence += 1
        return event
