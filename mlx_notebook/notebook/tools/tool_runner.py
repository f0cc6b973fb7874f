"""Run the tool calls of a model: check the arguments, ask for approval, call the tool."""

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from mlx_notebook.notebook import background_loop
from mlx_notebook.notebook.answers.answer import Delta
from mlx_notebook.notebook.answers.tool_call import ToolCall
from mlx_notebook.notebook.answers.tool_result import content_of
from mlx_notebook.notebook.errors import BadArguments
from mlx_notebook.notebook.inputs.as_text import traceback_of
from mlx_notebook.notebook.interrupts import interruptible
from mlx_notebook.notebook.tools.approval import ask_in_cell
from mlx_notebook.notebook.tools.tool import Tool

T = TypeVar("T")
Decision = bool | str | dict[str, Any] | None
Hook = Callable[[ToolCall], Decision | Awaitable[Decision]]
Approve = bool | Collection[str] | Hook
ReadyCall = tuple[ToolCall, Callable[[], Any]]

_REFUSED = "The call was refused."
_UNTRUSTED = "This call comes from a file that you did not write on this machine. "


@dataclass
class ToolRunner:
    """Runs tool calls for one conversation.

    Parameters
    ----------
    tools
        The tools by name.
    before_call, approve
        As for `Chat`.
    allowed_tools
        Names of tools that the user has allowed with "always".
    untrusted_calls
        Ids of calls from files that this user did not write. They always need approval.
    """

    tools: dict[str, Tool]
    before_call: Hook | None = None
    approve: Approve = False
    allowed_tools: set[str] = field(default_factory=set)
    untrusted_calls: set[str] = field(default_factory=set)

    def run(self, calls: list[ToolCall]) -> Iterator[Delta]:
        """Run tool calls: async ones together, the others in order.

        Yields the start and the result of each call. An interrupt stops the calls that are running
        and is raised again.
        """
        ready: list[ReadyCall] = []
        for call in calls:
            invoke = _run_blocking(self._check(call, _wait_blocking))
            if invoke is not None and self._needs_approval(call):
                if not callable(self.approve):
                    yield Delta("asking", call=call)
                invoke = _run_blocking(self._ask(call, invoke, _wait_blocking))
            if invoke is None:
                yield Delta("result", call=call)
            else:
                ready.append((call, invoke))
        started = []
        try:
            for call, invoke in self._async_first(ready):
                yield self._start(call)
                if self.tools[call.name].is_async:
                    started.append((call, background_loop.submit(_run_async(call, invoke))))
                    continue
                with interruptible():
                    _run_blocking(_run(call, invoke, _wait_blocking))
                yield Delta("result", call=call)
            for call, future in started:
                future.result()
                yield Delta("result", call=call)
        finally:
            for _, future in started:
                future.cancel()
            _interrupt(calls)

    async def arun(self, calls: list[ToolCall]) -> AsyncIterator[Delta]:
        """Run tool calls on the running event loop. Functions that are not async block it."""
        ready: list[ReadyCall] = []
        for call in calls:
            invoke = await self._check(call, _wait_async)
            if invoke is not None and self._needs_approval(call):
                if not callable(self.approve):
                    yield Delta("asking", call=call)
                invoke = await self._ask(call, invoke, _wait_async)
            if invoke is None:
                yield Delta("result", call=call)
            else:
                ready.append((call, invoke))
        started = []
        try:
            for call, invoke in self._async_first(ready):
                yield self._start(call)
                if self.tools[call.name].is_async:
                    started.append((call, asyncio.ensure_future(_run_async(call, invoke))))
                    continue
                with interruptible():
                    await _run(call, invoke, _wait_async)
                yield Delta("result", call=call)
            for call, task in started:
                await task
                yield Delta("result", call=call)
        finally:
            for _, task in started:
                task.cancel()
            _interrupt(calls)

    def _async_first(self, ready: list[ReadyCall]) -> list[ReadyCall]:
        return sorted(ready, key=lambda one: not self.tools[one[0].name].is_async)

    def _start(self, call: ToolCall) -> Delta:
        call.state = "running"
        return Delta("call", call=call)

    async def _check(self, call: ToolCall, resolve: "Wait") -> Callable[[], Any] | None:
        """Validate a call and ask `before_call`.

        Returns
        -------
        Callable or None
            Makes the call. `None` if the call has been answered with an error instead.
        """
        tool = self.tools.get(call.name)
        if tool is None:
            known = ", ".join(self.tools) or "none"
            _fail(call, f"There is no tool {call.name!r}. The tools are: {known}.")
            return None
        try:
            invoke = tool.prepare(call.written)
        except BadArguments as error:
            _fail(call, str(error))
            return None
        if self.before_call is not None:
            decision = await resolve(self.before_call(call))
            if decision is False or isinstance(decision, str):
                _refuse(call, decision)
                return None
            invoke = _changed(call, tool, decision) or invoke
        return invoke

    async def _ask(
        self, call: ToolCall, invoke: Callable[[], Any], resolve: "Wait"
    ) -> Callable[[], Any] | None:
        """Ask for approval of a call; return what `_check` returns."""
        with interruptible():
            if callable(self.approve):
                decision = await resolve(self.approve(call))
            else:
                decision = ask_in_cell(call, _UNTRUSTED if call.id in self.untrusted_calls else "")
        if decision == "always":
            self.allowed_tools.add(call.name)
        elif decision is not True and not isinstance(decision, dict):
            _refuse(call, decision)
            return None
        return _changed(call, self.tools[call.name], decision) or invoke

    def _needs_approval(self, call: ToolCall) -> bool:
        if call.id in self.untrusted_calls:
            return True
        if call.name in self.allowed_tools or self.approve is False:
            return False
        if self.approve is True or callable(self.approve):
            return True
        return call.name in self.approve


Wait = Callable[[Any], Coroutine[Any, Any, Any]]


async def _wait_blocking(value: Any) -> Any:
    """Wait for a value on the background loop. This coroutine itself never suspends."""
    return background_loop.wait(_awaited(value)) if inspect.isawaitable(value) else value


async def _wait_async(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


async def _awaited(value: Awaitable[T]) -> T:
    return await value


def _run_blocking(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends, on this thread, also while an event loop runs on it."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    raise AssertionError("it suspended")


async def _run_async(call: ToolCall, invoke: Callable[[], Any]) -> None:
    await _run(call, invoke, _wait_async)


async def _run(call: ToolCall, invoke: Callable[[], Any], resolve: Wait) -> None:
    began = time.monotonic()
    try:
        call.value = await resolve(invoke())
        call.content = content_of(call.value)
        call.state = "done"
    except Exception as error:
        call.traceback = traceback_of(error)
        _fail(call, f"{type(error).__name__}: {error}")
    finally:
        call.seconds = time.monotonic() - began


def _fail(call: ToolCall, error: str) -> None:
    call.state, call.error = "failed", error
    call.content = f"Error: {error}"


def _refuse(call: ToolCall, decision: bool | str | None) -> None:
    reason = decision.removeprefix("no: ") if isinstance(decision, str) else ""
    call.state, call.error = "refused", reason or _REFUSED
    call.content = f"{_REFUSED} {reason}".strip()


def _changed(call: ToolCall, tool: Tool, decision: Any) -> Callable[[], Any] | None:
    if not isinstance(decision, dict):
        return None
    invoke = tool.prepare(decision)
    call.arguments = decision
    return invoke


def _interrupt(calls: list[ToolCall]) -> None:
    for call in calls:
        if call.state == "running":
            call.state = "interrupted"
