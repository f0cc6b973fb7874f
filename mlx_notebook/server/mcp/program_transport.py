"""Speak MCP with a program over its standard input and output.

It ends as the specification asks for. A message has a longest length, so that no program can fill
the memory of this server:
https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#stdio
"""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from subprocess import DEVNULL
from typing import Any

import anyio
from anyio.abc import Process

LONGEST_MESSAGE = 8 * 1024 * 1024
_END_SECONDS = 1.0
_GONE = (anyio.ClosedResourceError, anyio.BrokenResourceError, anyio.EndOfStream, OSError)


@asynccontextmanager
async def program(
    command: tuple[str, ...], env: dict[str, str], folder: str | None
) -> AsyncIterator[tuple[Any, Any]]:
    """Start a program for the block, and yield the streams of messages from it and to it.

    Raises
    ------
    OSError
        If it cannot be started.
    """
    from mcp.client.stdio import get_default_environment

    process = await anyio.open_process(
        command,
        env={**get_default_environment(), **env},
        cwd=folder,
        stderr=DEVNULL,
        start_new_session=True,
    )
    try:
        from_program, received = anyio.create_memory_object_stream[Any](0)
        to_send, for_program = anyio.create_memory_object_stream[Any](0)
        async with from_program, received, to_send, for_program, anyio.create_task_group() as tasks:
            tasks.start_soon(_read, process, from_program)
            tasks.start_soon(_write, process, for_program)
            try:
                yield received, to_send
            finally:
                tasks.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await _end(process)


async def _read(process: Process, messages: Any) -> None:
    from mcp.shared.message import SessionMessage
    from mcp.types import jsonrpc_message_adapter

    assert process.stdout is not None
    buffer = bytearray()
    async with messages:
        with suppress(*_GONE):
            while True:
                chunk = await process.stdout.receive()
                *lines, rest = chunk.split(b"\n")
                for line in lines:
                    buffer += line
                    try:
                        message = jsonrpc_message_adapter.validate_json(buffer, by_name=False)
                    except ValueError as error:
                        await messages.send(error)
                    else:
                        await messages.send(SessionMessage(message))
                    buffer.clear()
                buffer += rest
                if len(buffer) > LONGEST_MESSAGE:
                    return


async def _write(process: Process, messages: Any) -> None:
    assert process.stdin is not None
    with suppress(*_GONE):
        async for each in messages:
            text = each.message.model_dump_json(by_alias=True, exclude_unset=True)
            await process.stdin.send(text.encode() + b"\n")


async def _end(process: Process) -> None:
    """Close the program's input, and kill it with all that it started if it does not end."""
    assert process.stdin is not None
    with suppress(*_GONE):
        await process.stdin.aclose()
    with anyio.move_on_after(_END_SECONDS):
        await process.wait()
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with anyio.move_on_after(_END_SECONDS):
        await process.wait()
    with suppress(*_GONE):
        await process.aclose()
