"""The engine process: a socket to the server, a thread that owns MLX, and a watch on the parent.

Run by the server: `python -m mlx_notebook.engine --socket ipc://... --config JSON`, with a pipe as
standard input that stays open as long as the server lives.
"""

import argparse
import logging
import os
import sys
import threading
import time
from pathlib import Path

import msgspec
import zmq

from mlx_notebook.engine.blas import preload, without_compiler
from mlx_notebook.engine.mlx_library import installed, problem
from mlx_notebook.messages import Command, EngineConfig, Event, Frame, Ready, Shutdown, Stats

log = logging.getLogger("mlx_notebook.engine")

_HEARTBEAT = 1.0


def main() -> None:
    """Parse the command line, preload a BLAS, serve."""
    parser = argparse.ArgumentParser(prog="python -m mlx_notebook.engine", description=__doc__)
    parser.add_argument("--socket", required=True, help="ZMQ address that the server has bound")
    parser.add_argument("--config", default="{}", help="EngineConfig as JSON")
    options = parser.parse_args()
    settings = msgspec.json.decode(options.config, type=EngineConfig)
    logging.basicConfig(level=settings.log_level, format="%(levelname)s %(name)s: %(message)s")
    preload()
    if (wrong := problem(installed())) is not None:
        message, fatal = wrong
        if fatal:
            log.error(message)
            raise SystemExit(1)
        log.warning(message)
    if without_compiler():
        log.warning("no g++ found: MLX runs without compiled functions, somewhat slower")
        os.environ["MLX_DISABLE_COMPILE"] = "1"
    Engine(settings, options.socket).serve()


class Engine:
    """Carries messages between the server's socket and the scheduler's thread.

    This thread only moves bytes, so that it answers and notices the parent's end whatever MLX does.
    """

    def __init__(self, settings: EngineConfig, address: str):
        self._address = address
        self._settings = settings
        self._context = zmq.Context()
        self._server = self._context.socket(zmq.PAIR)
        self._server.linger = 200
        self._server.connect(address)
        # ZMQ sockets belong to one thread: the scheduler's frames come through this pair.
        self._frames = self._context.socket(zmq.PAIR)
        self._frames.bind("inproc://frames")
        self._encoder = msgspec.msgpack.Encoder()
        self._stats = b""

    def serve(self) -> None:
        """Run until the server says so, or is gone."""
        ready = threading.Event()
        owner = threading.Thread(target=self._own_mlx, args=(ready,), name="mlx", daemon=True)
        owner.start()
        decoder = msgspec.msgpack.Decoder(Command)
        poller = zmq.Poller()
        for source in (self._server, self._frames, sys.stdin.fileno()):
            poller.register(source, zmq.POLLIN)
        last = time.monotonic()
        while owner.is_alive():
            active = dict(poller.poll(int(_HEARTBEAT * 1000)))
            if self._frames in active:
                self._server.send(self._frames.recv(), copy=False)
                last = time.monotonic()
            if self._server in active:
                ready.wait()
                command = decoder.decode(self._server.recv())
                self._scheduler.inbox.put(command)
                if isinstance(command, Shutdown):
                    owner.join(5)
                    break
            if sys.stdin.fileno() in active and not os.read(sys.stdin.fileno(), 4096):
                self._orphaned()
            if time.monotonic() - last > _HEARTBEAT and self._stats:
                # MLX may be held by a load or a compilation; the engine is alive.
                self._server.send(self._stats)
                last = time.monotonic()
        failed = not owner.is_alive() and not self._stopped
        self._context.destroy(linger=200)
        os._exit(1 if failed else 0)

    def _own_mlx(self, ready: threading.Event) -> None:
        """The thread that does all MLX work. It imports MLX, since streams belong to threads."""
        self._stopped = False
        import mlx.core as mx

        from mlx_notebook.engine.scheduler import Scheduler

        frames = self._context.socket(zmq.PAIR)
        frames.connect("inproc://frames")

        def send(events: list[Event]) -> None:
            frame = self._encoder.encode(Frame(events))
            latest = next((e for e in reversed(events) if isinstance(e, Stats)), None)
            if latest is not None:
                self._stats = self._encoder.encode(Frame([latest]))
            frames.send(frame, copy=False)

        try:
            self._scheduler = Scheduler(self._settings, send)
            ready.set()
            send([Ready(os.getpid(), str(mx.default_device()), _versions())])
            self._scheduler.run()
            self._stopped = True
        except BaseException:
            log.exception("the engine failed")
        finally:
            ready.set()

    def _orphaned(self) -> None:
        """The server is gone, however it died: leave, and leave nothing behind."""
        log.warning("the server is gone: leaving")
        if self._address.startswith("ipc://"):
            socket = Path(self._address.removeprefix("ipc://"))
            socket.unlink(missing_ok=True)
            try:
                socket.parent.rmdir()
            except OSError as error:
                log.debug("kept %s: %s", socket.parent, error)
        os._exit(0)


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("mlx", "mlx-lm", "mlx-vlm")}


if __name__ == "__main__":
    main()
