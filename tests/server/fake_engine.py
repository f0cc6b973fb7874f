"""An engine that misbehaves, to provoke faults; run as the real one is."""

import json
import os
import sys
import time

import msgspec
import zmq

from mlx_notebook.messages import Frame, Ready

fault = os.environ["FAULT"]
options = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
assert json.loads(options["--config"])["max_batch"] > 0
if fault == "dies at once":
    sys.exit("no such luck")
socket = zmq.Context().socket(zmq.PAIR)
socket.connect(options["--socket"])
if fault != "never ready":
    ready = Frame([Ready(os.getpid(), "fake", {})])
    socket.send(msgspec.msgpack.encode(ready))
if fault == "garbage":
    socket.send(b"\xc1 this is no frame")
elif fault == "floods the log":
    sys.stderr.write("x" * 10_000_000 + "\nlast words\n")
    sys.stderr.flush()
    sys.exit(3)
time.sleep(60)
