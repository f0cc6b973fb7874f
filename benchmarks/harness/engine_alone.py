"""This project's engine process without the Jupyter server, to measure the cost of HTTP and SSE."""

import asyncio
import contextlib
import itertools
import subprocess
import sys
import time
from typing import Any

import msgspec
import zmq
import zmq.asyncio

from benchmarks.harness.contenders import ROOT, Contender, Setting
from benchmarks.harness.load import Request, Sample
from benchmarks.harness.processes import Service, environment
from mlx_notebook.protocol import (
    ChatPrompt,
    Done,
    EngineConfig,
    Failed,
    Frame,
    Generate,
    Ready,
    Reasoning,
    Sampling,
    Shutdown,
    Text,
)

ENGINE = "engine alone"


class EngineAlone(Contender):
    """Runs the engine over the server's protocol, on sockets of its own."""

    name = ENGINE

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.numbers = itertools.count()

    async def start(self) -> None:
        """Start the engine and wait until it has loaded the model."""
        address = f"ipc://{self.setting.work}/engine-{time.time_ns()}"
        self.context = zmq.asyncio.Context()
        self.context.linger = 0
        self.commands, self.frames = (self.context.socket(zmq.PAIR) for _ in range(2))
        self.commands.bind(f"{address}.commands")
        self.frames.bind(f"{address}.frames")
        self.decoder = msgspec.msgpack.Decoder(Frame)
        settings = EngineConfig(idle_unload_minutes=0.0, max_batch=max(32, self.setting.streams))
        config = msgspec.json.encode(settings).decode()
        self.service = Service(
            [
                *(sys.executable, "-m", "mlx_notebook.engine"),
                *("--commands", f"{address}.commands", "--frames", f"{address}.frames"),
                *("--config", config),
            ],
            self.setting.work / "engine.log",
            environment(self.setting.blas),
            pipes=True,
            cwd=ROOT,
        )
        async with asyncio.timeout(60):
            while not any(isinstance(event, Ready) for event in await self._events()):
                if self.service.process.poll() is not None:
                    raise RuntimeError(f"it ended:\n{self.service.tail()}")
        sample = (await self.run(["Hello."], 2))[0]
        if sample.error:
            raise RuntimeError(sample.error)

    async def _events(self) -> list[Any]:
        return list(self.decoder.decode(await self.frames.recv()).events)

    async def send(self, requests: list[Request]) -> list[Sample]:
        """Send one command per request and collect the events until all have finished."""
        asked = {f"r{next(self.numbers)}": request for request in requests}
        times: dict[str, list[float]] = {name: [] for name in asked}
        samples: dict[str, Sample] = {}
        early = [name for name, request in asked.items() if not request.late]
        all_begun = asyncio.Event()
        started: dict[str, float] = {}

        async def command(name: str, request: Request) -> None:
            if request.late:
                await all_begun.wait()
            await asyncio.sleep(request.delay)
            started[name] = time.perf_counter()
            generate = Generate(
                id=name,
                model="model",
                path=str(self.setting.model),
                prompt=ChatPrompt(messages=[{"role": "user", "content": request.prompt}]),
                sampling=Sampling(temperature=0.0, max_tokens=request.tokens),
            )
            await self.commands.send(msgspec.msgpack.encode(generate))

        async with asyncio.timeout(180), asyncio.TaskGroup() as group:
            for name, request in asked.items():
                group.create_task(command(name, request))
            while len(samples) < len(asked):
                events = await self._events()
                now = time.perf_counter()
                for event in events:
                    # An answer that was given up may still send events.
                    if getattr(event, "id", None) not in asked:
                        continue
                    if isinstance(event, Text | Reasoning) and event.text:
                        times[event.id].append(now)
                    elif isinstance(event, Done | Failed):
                        known = (asked[event.id], started[event.id], times[event.id])
                        samples[event.id] = _sample(event, *known, now)
                if all(times[name] or name in samples for name in early):
                    all_begun.set()
        return [samples[name] for name in asked]

    def stop(self) -> list[int]:
        """Ask the engine to shut down, as the server does."""
        with contextlib.suppress(zmq.ZMQError):
            zmq.Socket(self.commands).send(msgspec.msgpack.encode(Shutdown()), zmq.NOBLOCK)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.service.process.wait(timeout=6)
        killed = self.service.stop()
        self.context.destroy(linger=0)
        return killed


def _sample(
    event: Done | Failed, request: Request, started: float, times: list[float], ended: float
) -> Sample:
    first = times[0] if times else None
    if isinstance(event, Failed):
        return Sample(started, first, ended, 0, 0, 0, event.message)
    usage = event.usage
    return Sample(
        started=started,
        first=first,
        ended=ended,
        prompt_tokens=usage.prompt,
        cached_tokens=usage.cached,
        tokens=usage.completion,
        error=None if usage.completion == request.tokens else f"{usage.completion} tokens",
        times=tuple(times),
    )
