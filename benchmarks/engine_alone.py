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

from benchmarks.contenders import ROOT, Contender, Setting
from benchmarks.load import Sample
from benchmarks.processes import Service, environment
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
        config = msgspec.json.encode(EngineConfig(idle_unload_minutes=0.0)).decode()
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

    async def run(self, prompts: list[str], tokens: int) -> list[Sample]:
        """Send one command per prompt and collect the events until all have finished."""
        encode = msgspec.msgpack.encode
        started = time.perf_counter()
        waiting = {f"r{next(self.numbers)}" for _ in prompts}
        for name, prompt in zip(sorted(waiting), prompts, strict=True):
            command = Generate(
                id=name,
                model="model",
                path=str(self.setting.model),
                prompt=ChatPrompt(messages=[{"role": "user", "content": prompt}]),
                sampling=Sampling(temperature=0.0, max_tokens=tokens),
            )
            await self.commands.send(encode(command))
        first: dict[str, float] = {}
        samples = []
        async with asyncio.timeout(180):
            while waiting:
                events = await self._events()
                now = time.perf_counter()
                for event in events:
                    if isinstance(event, Text | Reasoning) and event.text:
                        first.setdefault(event.id, now)
                    elif isinstance(event, Done):
                        usage = event.usage
                        wrong = usage.completion != tokens
                        samples.append(
                            Sample(
                                started=started,
                                first=first.get(event.id),
                                ended=now,
                                prompt_tokens=usage.prompt,
                                cached_tokens=usage.cached,
                                tokens=usage.completion,
                                error=f"{usage.completion} tokens" if wrong else None,
                            )
                        )
                        waiting.discard(event.id)
                    elif isinstance(event, Failed):
                        samples.append(Sample(started, None, now, 0, 0, 0, event.message))
                        waiting.discard(event.id)
        return samples

    def stop(self) -> list[int]:
        """Ask the engine to shut down, as the server does."""
        with contextlib.suppress(zmq.ZMQError):
            zmq.Socket(self.commands).send(msgspec.msgpack.encode(Shutdown()), zmq.NOBLOCK)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.service.process.wait(timeout=6)
        killed = self.service.stop()
        self.context.destroy(linger=0)
        return killed
