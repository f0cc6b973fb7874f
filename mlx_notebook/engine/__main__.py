"""The engine process: one thread for the server's socket, and one that owns MLX.

The server runs `python -m mlx_notebook.engine --socket ipc://... --config JSON`. Standard input is
a pipe that stays open as long as the server runs.
"""

import argparse
import logging
import os
import signal
import sys
import threading
from pathlib import Path

import msgspec
import zmq

from mlx_notebook.engine.runtime.activity import Activity, ActivityWatch
from mlx_notebook.engine.runtime.blas import preload, without_compiler
from mlx_notebook.engine.runtime.file_descriptors import kept_limit, raise_limit
from mlx_notebook.engine.runtime.mlx_library import installed, problem
from mlx_notebook.protocol import Command, EngineConfig, Event, Frame, Ready, Shutdown

log = logging.getLogger("mlx_notebook.engine")

_HEARTBEAT_SECONDS = 1.0


def main() -> None:
    """Parse the command line, check MLX's library, preload a BLAS, and serve."""
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
    raise_limit()
    Engine(settings, options.socket).serve()


class Engine:
    """Moves messages between the server's socket and the scheduler's thread.

    This thread does nothing else. So it sends heartbeats, and notices when the server is gone,
    whatever MLX does.

    Parameters
    ----------
    settings
        The engine's settings.
    address
        The ZMQ address of the server's socket.
    """

    def __init__(self, settings: EngineConfig, address: str):
        self._address = address
        self._settings = settings
        self._context = zmq.Context()
        self._server = self._context.socket(zmq.PAIR)
        self._server.linger = 200
        self._server.connect(address)
        # A ZMQ socket belongs to one thread: the scheduler's frames come through this pair.
        self._frames = self._context.socket(zmq.PAIR)
        self._frames.bind("inproc://frames")
        self._encoder = msgspec.msgpack.Encoder()
        self._activity = Activity()
        self._stopped = False

    def serve(self) -> None:
        """Run until the server sends `Shutdown` or is gone, then end the process."""
        failed = True
        try:
            failed = self._move_messages()
            self._context.destroy(linger=200)
        except Exception:
            log.exception("the engine failed")
        finally:
            os._exit(1 if failed else 0)

    def _move_messages(self) -> bool:
        """Move messages until the end; return whether the thread that owns MLX has failed."""
        ready = threading.Event()
        owner = threading.Thread(target=self._own_mlx, args=(ready,), name="mlx", daemon=True)
        owner.start()
        decoder = msgspec.msgpack.Decoder(Command)
        poller = zmq.Poller()
        for source in (self._server, self._frames, sys.stdin.fileno()):
            poller.register(source, zmq.POLLIN)
        watch = ActivityWatch(_HEARTBEAT_SECONDS)
        begun = False
        while owner.is_alive():
            active = dict(poller.poll(int(_HEARTBEAT_SECONDS * 1000)))
            if self._frames in active:
                self._send(self._frames.recv())
                watch.frame()
                begun = True
            if self._server in active:
                ready.wait()
                command = decoder.decode(self._server.recv())
                self._scheduler.inbox.put(command)
                if isinstance(command, Shutdown):
                    owner.join(5)
                    break
            if sys.stdin.fileno() in active and not os.read(sys.stdin.fileno(), 4096):
                self._leave()
            heartbeat = watch.check(self._activity)
            if heartbeat is not None and begun:
                self._send(self._encoder.encode(Frame([heartbeat])))
        return not owner.is_alive() and not self._stopped

    def _send(self, frame: bytes) -> None:
        """Send a frame; while a suspended server does not receive, still notice when it is gone.

        The thread that owns MLX then waits too, once its frames fill their queue.
        """
        try:
            self._server.send(frame, zmq.NOBLOCK, copy=False)
            return
        except zmq.Again:
            poller = zmq.Poller()
            poller.register(self._server, zmq.POLLOUT)
            poller.register(sys.stdin.fileno(), zmq.POLLIN)
        while self._server not in (active := dict(poller.poll())):
            if sys.stdin.fileno() in active and not os.read(sys.stdin.fileno(), 4096):
                self._leave()
        self._server.send(frame, copy=False)

    def _own_mlx(self, ready: threading.Event) -> None:
        """Run the thread that does all work with MLX."""
        try:
            self._run_scheduler(ready)
            self._stopped = True
        except BaseException:
            log.exception("the engine failed")
        finally:
            ready.set()

    def _run_scheduler(self, ready: threading.Event) -> None:
        """Import MLX in this thread, which owns its streams, and run the scheduler."""
        import mlx.core as mx

        with kept_limit():
            from mlx_notebook.engine.scheduling.scheduler import Scheduler

        frames = self._context.socket(zmq.PAIR)
        frames.connect("inproc://frames")
        encoder = msgspec.msgpack.Encoder()

        def send(events: list[Event]) -> None:
            frames.send(encoder.encode(Frame(events)), copy=False)

        self._scheduler = Scheduler(self._settings, send, self._activity)
        ready.set()
        send([Ready(os.getpid(), str(mx.default_device()), _versions())])
        self._scheduler.run()

    def _leave(self) -> None:
        """End the process and its children, and remove the socket: the server is gone."""
        log.warning("the server is gone: the engine ends")
        if self._address.startswith("ipc://"):
            socket = Path(self._address.removeprefix("ipc://"))
            socket.unlink(missing_ok=True)
            try:
                socket.parent.rmdir()
            except OSError as error:
                log.debug("kept %s: %s", socket.parent, error)
        if os.getpgrp() == os.getpid():
            # A sandbox or a compiler that is at work would not end by itself.
            os.killpg(os.getpid(), signal.SIGKILL)
        os._exit(0)


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("mlx", "mlx-lm", "mlx-vlm")}


if __name__ == "__main__":
    main()
