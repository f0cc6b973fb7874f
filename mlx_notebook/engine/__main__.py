"""The engine process: a socket to the server, a thread that owns MLX, and a watch on the parent.

Run by the server: `python -m mlx_notebook.engine --socket ipc://... --config JSON`, with a pipe as
standard input that stays open as long as the server lives.
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

from mlx_notebook.engine.runtime.activity import Activity, Watch
from mlx_notebook.engine.runtime.blas import preload, without_compiler
from mlx_notebook.engine.runtime.file_descriptors import kept_limit, raise_limit
from mlx_notebook.engine.runtime.mlx_library import installed, problem
from mlx_notebook.protocol import Command, EngineConfig, Event, Frame, Ready, Shutdown

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
    raise_limit()
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
        self._activity = Activity()
        self._stopped = False

    def serve(self) -> None:
        """Run until the server says so, or is gone; ends the process."""
        failed = True
        try:
            failed = self._carry()
            self._context.destroy(linger=200)
        except Exception:
            log.exception("the engine failed")
        finally:
            os._exit(1 if failed else 0)

    def _carry(self) -> bool:
        """Carry messages to and fro; returns whether the thread that owns MLX has failed."""
        ready = threading.Event()
        owner = threading.Thread(target=self._own_mlx, args=(ready,), name="mlx", daemon=True)
        owner.start()
        decoder = msgspec.msgpack.Decoder(Command)
        poller = zmq.Poller()
        for source in (self._server, self._frames, sys.stdin.fileno()):
            poller.register(source, zmq.POLLIN)
        watch = Watch(_HEARTBEAT)
        begun = False
        while owner.is_alive():
            active = dict(poller.poll(int(_HEARTBEAT * 1000)))
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
                self._orphaned()
            working = watch.look(self._activity)
            if working is not None and begun:
                self._send(self._encoder.encode(Frame([working])))
        return not owner.is_alive() and not self._stopped

    def _send(self, frame: bytes) -> None:
        """Send a frame; while a server that stands still takes none, notice its end all the same.

        Meanwhile the thread that owns MLX is held up too, as soon as its frames fill their queue.
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
                self._orphaned()
        self._server.send(frame, copy=False)

    def _own_mlx(self, ready: threading.Event) -> None:
        """The thread that does all MLX work."""
        try:
            self._schedule(ready)
            self._stopped = True
        except BaseException:
            log.exception("the engine failed")
        finally:
            ready.set()

    def _schedule(self, ready: threading.Event) -> None:
        """Import MLX, whose streams belong to threads, and run the scheduler to its end."""
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
        if os.getpgrp() == os.getpid():
            # A sandbox or a compiler in the middle of its work would go on.
            os.killpg(os.getpid(), signal.SIGKILL)
        os._exit(0)


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("mlx", "mlx-lm", "mlx-vlm")}


if __name__ == "__main__":
    main()
