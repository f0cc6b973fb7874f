"""Drives a real engine process over its socket, as the server does."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import zmq

from mlx_notebook import protocol


class EngineProcess:
    """One engine and the events it has sent."""

    def __init__(self, **settings: Any):
        self.folder = Path(tempfile.mkdtemp(prefix="mlxnb-"))
        self._context = zmq.Context()
        # A test that fails leaves them open: what is not sent must not hold up the end of all.
        self._context.linger = 0
        self._context.sndtimeo = 60_000  # an engine that has ended takes nothing
        self.commands, self.frames = (self._context.socket(zmq.PAIR) for _ in range(2))
        self.commands.bind(f"ipc://{self.folder}/commands")
        self.frames.bind(f"ipc://{self.folder}/frames")
        self.log = self.folder.parent / f"{self.folder.name}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "mlx_notebook.engine"),
                    *("--commands", f"ipc://{self.folder}/commands"),
                    *("--frames", f"ipc://{self.folder}/frames"),
                    *("--config", json.dumps(settings)),
                ],
                stdin=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        self._decoder = msgspec.msgpack.Decoder(protocol.Frame)
        self.events: list[protocol.Event] = []
        self._count = 0

    def send(self, command: protocol.Command) -> None:
        self.commands.send(msgspec.msgpack.encode(command))

    def wait(self, until: Callable[[protocol.Event], bool], timeout: float = 60) -> protocol.Event:
        """Take events in until one satisfies `until`; returns it."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if not self.frames.poll(200):
                if self.process.poll() is not None:
                    raise AssertionError(f"engine ended: {self.log.read_text()}")
                continue
            frame = self._decoder.decode(self.frames.recv())
            self.events.extend(frame.events)
            for event in frame.events:
                if until(event):
                    return event
        raise AssertionError(f"nothing came in {timeout} s: {self.log.read_text()}")

    def start(self, model: str, path: Path, text: str | protocol.Prompt, **options: Any) -> str:
        """Send a request; returns its id."""
        self._count += 1
        request_id = f"r{self._count}"
        n = options.pop("n", 1)
        prompt = (
            protocol.ChatPrompt(messages=[{"role": "user", "content": text}])
            if isinstance(text, str)
            else text
        )
        self.send(
            protocol.Generate(
                id=request_id,
                model=model,
                path=str(path),
                prompt=prompt,
                sampling=protocol.Sampling(**options),
                n=n,
            )
        )
        return request_id

    def finish(self, *ids: str, timeout: float = 60) -> list[protocol.Done | protocol.Failed]:
        """Wait for the ends of requests, in the order given."""
        ends: dict[str, protocol.Done | protocol.Failed] = {}

        def ended() -> bool:
            for event in self.events:
                if isinstance(event, protocol.Done | protocol.Failed) and event.id in ids:
                    ends[event.id] = event
            return len(ends) == len(ids)

        if not ended():
            self.wait(lambda event: ended(), timeout)
        return [ends[i] for i in ids]

    def text(self, request_id: str, row: int = 0) -> str:
        return "".join(
            e.text
            for e in self.events
            if isinstance(e, protocol.Text) and e.id == request_id and e.row == row
        )

    def reason(self, request_id: str, row: int = 0) -> str:
        return next(
            e.reason
            for e in self.events
            if isinstance(e, protocol.Finished) and e.id == request_id and e.row == row
        )

    def stats(self) -> protocol.Stats:
        """Fresh statistics."""
        event = self.wait(lambda e: isinstance(e, protocol.Stats))
        assert isinstance(event, protocol.Stats)
        return event

    def stop(self) -> int:
        if self.process.poll() is None:
            self.send(protocol.Shutdown())
        code = self.process.wait(10)
        self.close()
        return code

    def close(self) -> None:
        """Let go of what belongs to an engine that has ended."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        self._context.destroy(0)
        for file in (self.folder / "commands", self.folder / "frames", self.log):
            file.unlink(missing_ok=True)
        if self.folder.exists():
            self.folder.rmdir()


@contextmanager
def running(**settings: Any) -> Iterator[EngineProcess]:
    engine = EngineProcess(**settings)
    try:
        yield engine
    finally:
        if engine.process.poll() is None and engine.process.stdin:
            engine.process.stdin.close()
        engine.process.wait(15)
        engine.close()
