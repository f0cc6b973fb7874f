"""Turn the events of a response into those of LM Studio's `POST api/v1/chat`."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from msgspec import UNSET

from mlx_notebook import protocol
from mlx_notebook.server.errors import ApiError
from mlx_notebook.server.wire.call_arguments import arguments_of
from mlx_notebook.server.wire.lmstudio.lmstudio_chat_answer import (
    LmStudioAnswer,
    LmStudioChatStats,
    LmStudioError,
    LmStudioEvent,
    LmStudioFailedCall,
    LmStudioItem,
    LmStudioMessage,
    LmStudioProvider,
    LmStudioReasoning,
    LmStudioToolCall,
)
from mlx_notebook.server.wire.responses import response_events as written
from mlx_notebook.server.wire.responses.response_object import (
    OutputItem,
    OutputMcpCall,
    OutputMessage,
    OutputReasoning,
    Response,
)


class LmStudioChatWriter:
    """Write one answer.

    Parameters
    ----------
    model
        Name of the model that answers.
    providers
        Where the tools of each MCP server come from, by the server's label.
    progress
        Returns how much of the model is loaded, from 0 to 1.
    """

    def __init__(
        self,
        model: str,
        providers: Mapping[str, LmStudioProvider],
        progress: Callable[[], float],
    ) -> None:
        self._model = model
        self._providers = providers
        self._progress = progress
        self._rounds: list[protocol.Done] = []
        self._seen: list[LmStudioEvent] = []
        self._started = False
        self._loading_since: float | None = None
        self._reads_prompt = False

    def see(self, event: object) -> None:
        """Note an event of the engine: responses have no events for loading and prefill."""
        match event:
            case protocol.Loading(seconds=seconds):
                if self._loading_since is None:
                    self._loading_since = time.monotonic() - seconds
                    self._add("model_load.start", model_instance_id=self._model)
                share = round(self._progress(), 4)
                self._add("model_load.progress", model_instance_id=self._model, progress=share)
            case protocol.Prefill(done=done, total=total):
                self._end_loading()
                if not self._reads_prompt:
                    self._reads_prompt = True
                    self._add("prompt_processing.start")
                share = round(done / total, 4) if total else 1.0
                self._add("prompt_processing.progress", progress=share)
            case protocol.Done():
                self._rounds.append(event)
            case protocol.Text() | protocol.Reasoning() | protocol.ToolCallStart():
                self._end_prompt()

    def events(self, said: Iterable[object]) -> list[LmStudioEvent]:
        """Return the events for what has been seen, and then for events of the response."""
        events, self._seen = self._seen, []
        for event in said:
            events += self._events_for(event)
        if events and not self._started:
            self._started = True
            events.insert(0, LmStudioEvent(type="chat.start", model_instance_id=self._model))
        return events

    def failed(self, error: ApiError, response: Response) -> list[LmStudioEvent]:
        """Return the last events of a stream that fails."""
        events = self.events(())
        events.append(LmStudioEvent(type="error", error=LmStudioError.of(error)))
        events.append(LmStudioEvent(type="chat.end", result=self.answer(response)))
        return events

    def answer(self, response: Response) -> LmStudioAnswer:
        """Return the whole answer, as far as there is one."""
        is_stored = response.store and response.status in ("completed", "incomplete")
        return LmStudioAnswer(
            self._model,
            [item for each in response.output for item in self._item(each)],
            LmStudioChatStats.of(self._rounds),
            response.id if is_stored else UNSET,
        )

    def _add(self, kind: str, **fields: object) -> None:
        self._seen.append(LmStudioEvent(type=kind, **fields))  # type: ignore[arg-type]

    def _end_loading(self) -> None:
        if self._loading_since is None:
            return
        took = round(time.monotonic() - self._loading_since, 4)
        self._loading_since = None
        self._add("model_load.end", model_instance_id=self._model, load_time_seconds=took)

    def _end_prompt(self) -> None:
        if self._reads_prompt:
            self._reads_prompt = False
            self._add("prompt_processing.end")

    def _events_for(self, event: object) -> Iterator[LmStudioEvent]:
        match event:
            case written.OutputItemAdded(item=OutputMessage()):
                yield LmStudioEvent(type="message.start")
            case written.OutputTextDelta(delta=text):
                yield LmStudioEvent(type="message.delta", content=text)
            case written.OutputItemDone(item=OutputMessage()):
                yield LmStudioEvent(type="message.end")
            case written.OutputItemAdded(item=OutputReasoning()):
                yield LmStudioEvent(type="reasoning.start")
            case written.ReasoningTextDelta(delta=text):
                yield LmStudioEvent(type="reasoning.delta", content=text)
            case written.OutputItemDone(item=OutputReasoning()):
                yield LmStudioEvent(type="reasoning.end")
            case written.OutputItemAdded(item=OutputMcpCall(name=name, server_label=label)):
                provider = self._providers[label]
                yield LmStudioEvent(type="tool_call.start", tool=name, provider_info=provider)
            case written.OutputItemDone(item=OutputMcpCall() as call):
                yield from self._called(call)
            case written.ResponseCompleted(response=response):
                yield LmStudioEvent(type="chat.end", result=self.answer(response))
            case written.ResponseIncomplete(response=response):
                yield LmStudioEvent(type="chat.end", result=self.answer(response))

    def _called(self, call: OutputMcpCall) -> Iterator[LmStudioEvent]:
        provider, arguments = self._providers[call.server_label], arguments_of(call.arguments)
        yield LmStudioEvent(
            type="tool_call.arguments", tool=call.name, arguments=arguments, provider_info=provider
        )
        if call.status == "completed":
            yield LmStudioEvent(
                type="tool_call.success",
                tool=call.name,
                arguments=arguments,
                output=call.output or "",
                provider_info=provider,
            )
        else:
            about = LmStudioFailedCall("invalid_arguments", call.name, arguments, provider)
            yield LmStudioEvent(type="tool_call.failure", reason=_failure(call), metadata=about)

    def _item(self, item: OutputItem) -> Iterator[LmStudioItem]:
        match item:
            case OutputMessage(content=content):
                yield LmStudioMessage("".join(part.text for part in content))
            case OutputReasoning(content=list(parts)):
                yield LmStudioReasoning("".join(part.text for part in parts))
            case OutputMcpCall():
                output = item.output if item.status == "completed" else _failure(item)
                provider = self._providers[item.server_label]
                arguments = arguments_of(item.arguments)
                yield LmStudioToolCall(item.name, arguments, output or "", provider)


def _failure(call: OutputMcpCall) -> str:
    """Return why a call failed."""
    if call.error is None:
        return "The answer ended before the call was made."
    return str(call.error["content"][0]["text"])
