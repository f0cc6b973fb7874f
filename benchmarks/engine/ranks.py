"""`python -m benchmarks.engine.ranks`: what it costs to divide a model among ranks of one machine.

Two servers run beside each other, one with one rank and one with several, and answer the same
requests in turn. The ratio of their speeds is the overhead: on one machine all ranks share its
processors and memory, so nothing is gained. Beside that:

- the bytes that the ranks send a step, counted at the loopback interface, against what the model's
  shape says: two sums of the hidden states a layer, and the tokens;
- how long each rank waited for the others;
- the seconds of one sum of the hidden states in MLX's ring alone, and what part of a step the sums
  take at that speed. The ring's threads poll their sockets without a pause: two a rank. Where ranks
  share few cores they wait for each other's turn, which takes milliseconds.

`--estimate` measures nothing. It prints what is expected of two and four machines, for models whose
weights are read once a step at the memory's bandwidth, and from the bytes and messages above.

Other traffic on the loopback interface counts too: run it on a machine that does nothing else.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil

from benchmarks.harness.contenders import ROOT
from benchmarks.models.prepare import prepare_model
from tests.server.running import RunningServer, running

_LOOPBACK = ("lo", "lo0")
_MEMORY_BANDWIDTH = 400e9
"""Bytes a second that a machine reads of its memory, for the estimates: an M3 or M4 Max."""

_LINKS = {"TCP": (2.0e9, 300e-6), "RDMA": (7.0e9, 10e-6)}
"""Bytes a second of a Thunderbolt link, and seconds until a message has arrived."""

_MODELS = {
    "8B, 4 bits": (4.5e9, 36, 4096),
    "32B, 4 bits": (18e9, 64, 5120),
    "70B, 4 bits": (40e9, 80, 8192),
}
"""Bytes of weights, layers and hidden size of dense models, for the estimates."""


def loopback_bytes() -> int:
    """Return the bytes that the loopback interface has sent since the machine started."""
    counters = psutil.net_io_counters(pernic=True)
    return int(next(counters[name].bytes_sent for name in _LOOPBACK if name in counters))


def decode(server: RunningServer, model: str, streams: int, tokens: int) -> dict[str, float]:
    """Let some streams generate together; return tokens per second and loopback bytes a step."""
    body = {
        "model": model,
        "max_tokens": tokens,
        "ignore_eos": True,
        "temperature": 1,
        "top_p": 0.95,
    }

    def ask(number: int) -> int:
        text = f"Write a long story about the number {number}."
        message = {"role": "user", "content": text}
        answer = server.client.post(
            "v1/chat/completions", json={**body, "seed": number, "messages": [message]}, timeout=600
        )
        return int(answer.raise_for_status().json()["usage"]["completion_tokens"])

    before, began = loopback_bytes(), time.perf_counter()
    with ThreadPoolExecutor(streams) as pool:
        count = sum(pool.map(ask, range(streams)))
    seconds = time.perf_counter() - began
    return {"rate": count / seconds, "bytes": (loopback_bytes() - before) * streams / count}


def bytes_by_shape(layers: int, hidden: int, ranks: int, width: int) -> float:
    """Return the bytes that all ranks send in a step of one stream.

    Each layer sums the hidden states twice. In a ring each rank sends 2 (ranks - 1) / ranks of an
    array's bytes for its sum, and rank 0's token is a sum too.

    Parameters
    ----------
    width
        Bytes of a number.
    """
    return 2 * (ranks - 1) * (2 * layers * hidden * width + 4)


def seconds_of_a_sum(hidden: int, ranks: int) -> float:
    """Return the seconds of one sum of the hidden states of a token, in MLX alone."""
    command = ["mlx.launch", "-n", str(ranks), "--backend", "ring", "--python", sys.executable]
    script = str(ROOT / "benchmarks" / "ring_sums.py")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [*command, script, str(hidden)],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return float(done.stdout.split()[-1])


def speed_up(model: str, link: str, machines: int) -> float:
    """Return the expected speed of one stream on several machines, against one machine."""
    weights, layers, hidden = _MODELS[model]
    bandwidth, latency = _LINKS[link]
    alone = weights / _MEMORY_BANDWIDTH
    messages = 2 * (machines - 1) * (2 * layers + 1)
    sent = bytes_by_shape(layers, hidden, machines, 2) / machines
    return alone / (alone / machines + messages * latency + sent / bandwidth)


def estimates() -> str:
    """Return a table of the expected speeds."""
    lines = ["| model | link | 2 machines | 4 machines |", "|---|---|---|---|"]
    for model in _MODELS:
        for link in _LINKS:
            two, four = (speed_up(model, link, machines) for machines in (2, 4))
            lines.append(f"| {model} | {link} | {two:.2f} | {four:.2f} |")
    return "\n".join(lines)


def compare(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Measure both servers in turn."""
    found: dict[str, Any] = {
        "model": Path(options.model).name,
        "ranks": options.ranks,
        "levels": {},
    }
    with ExitStack() as stack:
        servers = {}
        for ranks in (1, options.ranks):
            settings = {"models_dirs": [str(folder.parent)], "ranks": ranks}
            servers[ranks] = stack.enter_context(running(config={"MlxNotebookApp": settings}))
            decode(servers[ranks], folder.name, 1, 8)
        for streams in options.streams:
            rounds: dict[int, list[dict[str, float]]] = {ranks: [] for ranks in servers}
            for _ in range(options.rounds):
                for ranks, server in servers.items():
                    rounds[ranks].append(decode(server, folder.name, streams, options.tokens))
            one, several = (
                {key: statistics.median(row[key] for row in rows) for key in ("rate", "bytes")}
                for rows in rounds.values()
            )
            found["levels"][streams] = {
                "tokens_per_second": {"one": one["rate"], "several": several["rate"]},
                "ratio": several["rate"] / one["rate"],
                "bytes_a_step": several["bytes"] - one["bytes"],
            }
        found["waited_seconds"] = [
            rank["waited"] for rank in servers[options.ranks].status().get("ranks", [])
        ]
    return found


def main() -> None:
    """Run the comparison and write `ranks.json` to the results folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    tiny = str(ROOT / "mlx_notebook" / "demo_models" / "tiny-chat")
    parser.add_argument("--model", default=tiny, help="as for benchmarks.serving")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--estimate", action="store_true", help="print what is expected of machines"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    if options.estimate:
        print(estimates())
        return
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "model"
        prepare_model(options.model, folder, "float32")
        found = compare(folder, options)
        config = json.loads((folder / "config.json").read_text())
    config = config.get("text_config") or config
    layers, hidden = config["num_hidden_layers"], config["hidden_size"]
    found["bytes_by_shape"] = bytes_by_shape(layers, hidden, options.ranks, 4)
    alone = found["seconds_of_a_sum"] = seconds_of_a_sum(hidden, options.ranks)
    streams = options.streams[0]
    step = streams / found["levels"][streams]["tokens_per_second"]["several"]
    found["sums_of_a_step"] = (2 * layers + 1) * alone / step
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "ranks.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
