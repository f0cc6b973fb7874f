"""An engine that misbehaves as FAULT says, or that only answers; run as the real one is."""

import json
import os
import sys
import time

import msgspec
import zmq

from mlx_notebook.protocol import (
    Command,
    Event,
    Frame,
    Generate,
    Memory,
    Pin,
    Pinned,
    Ready,
    Shutdown,
    Stats,
    Text,
    Totals,
)

fault = os.environ["FAULT"]
options = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
assert json.loads(options["--config"])["max_batch"] > 0
if fault == "dies at once":
    sys.exit("no such luck")
context = zmq.Context()
commands, frames = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
for socket, name in ((commands, "--commands"), (frames, "--frames")):
    socket.immediate = True
    socket.connect(options[name])
commands.poll(flags=zmq.POLLOUT)
if fault != "never ready":
    ready = Frame([Ready(os.getpid(), "fake", {})])
    frames.send(msgspec.msgpack.encode(ready))
if fault == "garbage":
    frames.send(b"\xc1 this is no frame")
elif fault == "floods the log":
    sys.stderr.write("x" * 10_000_000 + "\nlast words\n")
    sys.stderr.flush()
    sys.exit(3)
elif fault == "none":
    sys.stderr.write("at work\n")
    sys.stderr.flush()
    stats = Stats([], [], [], Totals(), Memory(0, 0, 0, 0, 0), 0.0, 0.0, 0)
    while True:
        events: list[Event] = [stats]
        if commands.poll(100):
            command = msgspec.msgpack.decode(commands.recv(), type=Command)
            if isinstance(command, Shutdown):
                sys.exit()
            if isinstance(command, Generate):
                events.append(Text(command.id, 0, "text", 1))
            if isinstance(command, Pin) and command.model != "never":
                events.append(Pinned(command.id, command.model, command.pinned))
        frames.send(msgspec.msgpack.encode(Frame(events)))
time.sleep(60)
