"""The engine process: one thread for commands and heartbeats, and one that owns MLX.

The server runs `python -m mlx_notebook.engine --commands ipc://... --frames ipc://... --config
JSON`. Standard input is a pipe that stays open as long as the server runs.
"""

import argparse
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import zmq

from mlx_notebook.engine.distributed.rank_channel import FollowerChannel, LeaderChannel
from mlx_notebook.engine.distributed.rank_process import (
    join_leader,
    log_format,
    own_rank,
    read_secret,
    run_follower,
)
from mlx_notebook.engine.runtime.activity import Activity, ActivityWatch
from mlx_notebook.engine.runtime.blas import preload, without_compiler
from mlx_notebook.engine.runtime.file_descriptors import kept_limit, raise_limit
from mlx_notebook.engine.runtime.mlx_library import installed, problem
from mlx_notebook.protocol import (
    Command,
    EngineConfig,
    Event,
    Frame,
    Heartbeat,
    Ready,
    Shutdown,
)

if TYPE_CHECKING:
    import mlx.core as mx

log = logging.getLogger("mlx_notebook.engine")

_HEARTBEAT_SECONDS, _CHECK_SECONDS = 1.0, 0.5
_LINGER_MS = 200
_SWITCH_SECONDS = 0.0005


def main() -> None:
    """Parse the command line, check MLX's library, preload a BLAS, and serve."""
    parser = argparse.ArgumentParser(prog="python -m mlx_notebook.engine", description=__doc__)
    parser.add_argument("--commands", required=True, help="ZMQ address that the server has bound")
    parser.add_argument("--frames", required=True, help="a second one, for the frames")
    parser.add_argument("--config", default="{}", help="EngineConfig as JSON")
    options = parser.parse_args()
    settings = msgspec.json.decode(options.config, type=EngineConfig)
    # Libraries fetch what a model's folder lacks. Models are downloaded by the server, on demand.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    logging.basicConfig(level=settings.log_level, format=log_format(settings.distributed))
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
    # Another thread gets Python's lock this soon. Preparing a prompt takes it a dozen times.
    sys.setswitchinterval(_SWITCH_SECONDS)
    channel = None
    if settings.distributed is not None:
        secret = read_secret()
        if own_rank() != 0:
            run_follower(settings.distributed, secret, _import_follow)
        channel = LeaderChannel(settings.distributed, secret)
    Engine(settings, options.commands, options.frames, channel).serve()


class Engine:
    """Takes the server's commands to the scheduler's thread, which sends its frames itself.

    This thread does nothing else. So it sends heartbeats, and notices when the server is gone,
    whatever MLX does. A ZMQ socket belongs to one thread, so each of the two has its own. ZMQ's own
    thread does the writing, and needs no Python lock.

    Parameters
    ----------
    settings
        The engine's settings.
    commands
        The ZMQ address for commands and heartbeats.
    frames
        The ZMQ address for frames.
    channel
        To the other ranks, if there are several.
    """

    def __init__(
        self, settings: EngineConfig, commands: str, frames: str, channel: LeaderChannel | None
    ):
        self._addresses = commands, frames
        self._settings = settings
        self._channel = channel
        self._context = zmq.Context()
        self._server = self._connect(commands)
        self._encoder = msgspec.msgpack.Encoder()
        self._activity = Activity()
        self._stopped = False

    def serve(self) -> None:
        """Run until the server sends `Shutdown` or is gone, then end the process."""
        failed = True
        try:
            failed = self._move_messages()
            if self._channel is not None and self._stopped:
                self._channel.close()
            self._context.destroy(linger=_LINGER_MS)
        except Exception:
            log.exception("the engine failed")
        finally:
            os._exit(1 if failed else 0)

    def _connect(self, address: str) -> zmq.Socket[bytes]:
        socket = self._context.socket(zmq.PAIR)
        socket.linger = _LINGER_MS
        # A socket that is not connected takes nothing, so that one can wait for the connection.
        socket.immediate = True
        socket.connect(address)
        return socket

    def _move_messages(self) -> bool:
        """Move messages until the end; return whether the thread that owns MLX has failed."""
        # The server closes its addresses once it has the first frame.
        while not self._wait_for(zmq.POLLOUT, _CHECK_SECONDS):
            log.debug("the server does not take a connection yet")
        ready = threading.Event()
        owner = threading.Thread(target=self._own_mlx, args=(ready,), name="mlx", daemon=True)
        owner.start()
        decoder = msgspec.msgpack.Decoder(Command)
        watch = ActivityWatch(_HEARTBEAT_SECONDS)
        while owner.is_alive():
            if self._wait_for(zmq.POLLIN, _CHECK_SECONDS):
                ready.wait()
                command = decoder.decode(self._server.recv())
                self._scheduler.inbox.put(command)
                if isinstance(command, Shutdown):
                    owner.join(5)
                    break
            heartbeat = watch.check(self._activity)
            if heartbeat is not None and self._activity.frames:
                self._send(heartbeat)
        return not owner.is_alive() and not self._stopped

    def _wait_for(self, event: int, seconds: float) -> bool:
        """Wait until the socket for commands is ready, and return whether it is.

        End the process if the server is gone.
        """
        poller = zmq.Poller()
        poller.register(self._server, event)
        poller.register(sys.stdin.fileno(), zmq.POLLIN)
        active = dict(poller.poll(int(seconds * 1000)))
        if sys.stdin.fileno() in active and not os.read(sys.stdin.fileno(), 4096):
            self._leave()
        return self._server in active

    def _send(self, heartbeat: Heartbeat) -> None:
        """Send a heartbeat. A suspended server receives none, and need not get them later."""
        try:
            self._server.send(self._encoder.encode(Frame([heartbeat])), zmq.NOBLOCK)
        except zmq.Again:
            log.debug("the server takes no heartbeats")

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
            from mlx_notebook.engine.sandbox.sandbox import SANDBOX
            from mlx_notebook.engine.scheduling.scheduler import Scheduler

        # What was imported stays. Without this, Python looks through it now and then, for 50 ms.
        gc.freeze()
        frames, activity = self._connect(self._addresses[1]), self._activity
        encoder = msgspec.msgpack.Encoder()

        def send(events: list[Event]) -> None:
            frame = encoder.encode(Frame(events))
            try:
                frames.send(frame, zmq.NOBLOCK)
            except zmq.Again:  # a suspended server does not receive: wait for it
                activity.blocked = True
                frames.send(frame)
                activity.blocked = False
            activity.frames += 1

        leader = None
        if self._channel is not None and self._settings.distributed is not None:
            from mlx_notebook.engine.distributed.leader import Leader

            group, memory = join_leader(self._settings.distributed, self._channel)
            leader = Leader(group, self._channel, self._settings.distributed.hosts, memory)
        self._scheduler = Scheduler(self._settings, send, self._activity, leader)
        ready.set()
        send([Ready(os.getpid(), str(mx.default_device()), _versions())])
        # So the first request finds them, and nothing waits until they have started.
        threading.Thread(target=SANDBOX.start, name="sandboxes", daemon=True).start()
        self._scheduler.run()

    def _leave(self) -> None:
        """End the process and its children, and remove the sockets: the server is gone."""
        log.warning("the server is gone: the engine ends")
        for address in self._addresses:
            if address.startswith("ipc://"):
                _remove(Path(address.removeprefix("ipc://")))
        if os.getpgrp() == os.getpid():
            # A sandbox or a compiler that is at work would not end by itself.
            os.killpg(os.getpid(), signal.SIGKILL)
        os._exit(0)


def _import_follow() -> "Callable[[mx.distributed.Group, FollowerChannel], None]":
    """Import what other ranks do, and MLX, whose streams belong to this thread then."""
    from mlx_notebook.engine.scheduling.follower import follow

    return follow


def _remove(socket: Path) -> None:
    """Remove a socket, and its folder if that is empty then."""
    socket.unlink(missing_ok=True)
    try:
        socket.parent.rmdir()
    except OSError as error:
        log.debug("kept %s: %s", socket.parent, error)


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("mlx", "mlx-lm", "mlx-vlm")}


if __name__ == "__main__":
    main()
