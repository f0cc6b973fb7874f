"""Carrying out the calls that a model asks for: checked, allowed, run, and their results told."""

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
Ready = tuple[ToolCall, Callable[[], Any]]

_REFUSED = "The call was refused."
_UNTRUSTED = "This call comes from a file that you did not write on this machine. "


@dataclass
class ToolRunner:
    """Runs calls for one conversation.

    `before_call` and `approve` are as for `Chat`; `always` holds the names of tools that the
    person has allowed once and for all, `untrusted_calls` the ids of calls that come from a file of
    others, and are asked about in any case.
    """

    box: dict[str, Tool]
    before_call: Hook | None = None
    approve: Approve = False
    always: set[str] = field(default_factory=set)
    untrusted_calls: set[str] = field(default_factory=set)

    def run(self, calls: list[ToolCall]) -> Iterator[Delta]:
        """Run calls, async ones together and the others in order; yield each begin and end.

        An interrupt stops what runs, and raises on.
        """
        ready: list[Ready] = []
        for call in calls:
            make = _at_once(self._check(call, _wait_here))
            if make is not None and self._must_ask(call):
                if not callable(self.approve):
                    yield Delta("asking", call=call)
                make = _at_once(self._ask(call, make, _wait_here))
            if make is None:
                yield Delta("result", call=call)
            else:
                ready.append((call, make))
        started = []
        try:
            for call, make in self._async_first(ready):
                yield self._begin(call)
                if self.box[call.name].is_async:
                    started.append((call, background_loop.submit(_run_async(call, make))))
                    continue
                with interruptible():
                    _at_once(_run(call, make, _wait_here))
                yield Delta("result", call=call)
            for call, future in started:
                future.result()
                yield Delta("result", call=call)
        finally:
            for _, future in started:
                future.cancel()
            _interrupt(calls)

    async def arun(self, calls: list[ToolCall]) -> AsyncIterator[Delta]:
        """Do the same on the running event loop; functions that are not async hold it up."""
        ready: list[Ready] = []
        for call in calls:
            make = await self._check(call, _wait_there)
            if make is not None and self._must_ask(call):
                if not callable(self.approve):
                    yield Delta("asking", call=call)
                make = await self._ask(call, make, _wait_there)
            if make is None:
                yield Delta("result", call=call)
            else:
                ready.append((call, make))
        started = []
        try:
            for call, make in self._async_first(ready):
                yield self._begin(call)
                if self.box[call.name].is_async:
                    started.append((call, asyncio.ensure_future(_run_async(call, make))))
                    continue
                with interruptible():
                    await _run(call, make, _wait_there)
                yield Delta("result", call=call)
            for call, task in started:
                await task
                yield Delta("result", call=call)
        finally:
            for _, task in started:
                task.cancel()
            _interrupt(calls)

    def _async_first(self, ready: list[Ready]) -> list[Ready]:
        return sorted(ready, key=lambda one: not self.box[one[0].name].is_async)

    def _begin(self, call: ToolCall) -> Delta:
        call.state = "running"
        return Delta("call", call=call)

    async def _check(self, call: ToolCall, wait: "_Wait") -> Callable[[], Any] | None:
        """Validate a call and ask `before_call`.

        Returns what makes the call, or `None` where it has been answered with an error instead.
        """
        tool = self.box.get(call.name)
        if tool is None:
            known = ", ".join(self.box) or "none"
            _fail(call, f"There is no tool {call.name!r}. The tools are: {known}.")
            return None
        try:
            make = tool.prepare(call.written)
        except BadArguments as error:
            _fail(call, str(error))
            return None
        if self.before_call is not None:
            verdict = await wait(self.before_call(call))
            if verdict is False or isinstance(verdict, str):
                _refuse(call, verdict)
                return None
            make = _changed(call, tool, verdict) or make
        return make

    async def _ask(
        self, call: ToolCall, make: Callable[[], Any], wait: "_Wait"
    ) -> Callable[[], Any] | None:
        """Ask whether a call may be made; return as `_check` does."""
        with interruptible():
            if callable(self.approve):
                verdict = await wait(self.approve(call))
            else:
                verdict = ask_in_cell(call, _UNTRUSTED if call.id in self.untrusted_calls else "")
        if verdict == "always":
            self.always.add(call.name)
        elif verdict is not True and not isinstance(verdict, dict):
            _refuse(call, verdict)
            return None
        return _changed(call, self.box[call.name], verdict) or make

    def _must_ask(self, call: ToolCall) -> bool:
        if call.id in self.untrusted_calls:
            return True
        if call.name in self.always or self.approve is False:
            return False
        if self.approve is True or callable(self.approve):
            return True
        return call.name in self.approve


_Wait = Callable[[Any], Coroutine[Any, Any, Any]]


async def _wait_here(value: Any) -> Any:
    """Wait without giving up the thread: the coroutine that asks never suspends."""
    return background_loop.wait(_awaited(value)) if inspect.isawaitable(value) else value


async def _wait_there(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


async def _awaited(value: Awaitable[T]) -> T:
    return await value


def _at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends, on this thread and beside whatever loop it has."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    raise AssertionError("it suspended")


async def _run_async(call: ToolCall, make: Callable[[], Any]) -> None:
    await _run(call, make, _wait_there)


async def _run(call: ToolCall, make: Callable[[], Any], wait: _Wait) -> None:
    began = time.monotonic()
    try:
        call.value = await wait(make())
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


def _refuse(call: ToolCall, verdict: bool | str | None) -> None:
    reason = verdict.removeprefix("no: ") if isinstance(verdict, str) else ""
    call.state, call.error = "refused", reason or _REFUSED
    call.content = f"{_REFUSED} {reason}".strip()


def _changed(call: ToolCall, tool: Tool, verdict: Any) -> Callable[[], Any] | None:
    if not isinstance(verdict, dict):
        return None
    make = tool.prepare(verdict)
    call.arguments = verdict
    return make


def _interrupt(calls: list[ToolCall]) -> None:
    for call in calls:
        if call.state == "running":
            call.state = "interrupted"
