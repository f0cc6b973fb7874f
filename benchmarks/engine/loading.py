"""`python -m benchmarks.engine.loading`: the time to the first token if the model must be loaded.

Models of random weights, some hundred megabytes each, take turns, so that each request evicts one
and loads another. For comparison, mlx-lm's own `load` and `stream_generate` do the same in a
process that has imported mlx-lm already, with the same BLAS, files (fp32, in the page cache) and
prompt.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import zmq

from benchmarks.harness.contenders import ROOT
from benchmarks.harness.processes import environment, find_blas
from benchmarks.models.model import make_random
from mlx_notebook import protocol

_PROMPT = "Tell me how the sea, the land and the sky came to be. " * 12
_BOUND = 1.15


class Raw:
    """mlx-lm without a server, in its own process. Each line of its input is one job."""

    def __init__(self, blas: Path | None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.engine.loading", "--raw"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(blas),
            cwd=ROOT,
            text=True,
        )
        self._answer()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def first_token(self, model: Path) -> float:
        """Return the seconds to load the model and generate one token."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{model}\n")
        self.process.stdin.flush()
        return float(self._answer())

    def stop(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)


def serve_raw() -> None:
    """For each line, load the model that it names, generate one token, and print the seconds."""
    import gc

    import mlx.core as mx
    import mlx_lm

    model = tokenizer = None
    print("0", flush=True)
    for line in sys.stdin:
        began = time.perf_counter()
        del model, tokenizer
        gc.collect()
        mx.clear_cache()
        model, tokenizer = mlx_lm.load(line.strip())[:2]
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": _PROMPT}], add_generation_prompt=True
        )
        next(iter(mlx_lm.stream_generate(model, tokenizer, prompt, max_tokens=1)))
        print(time.perf_counter() - began, flush=True)


class Engine:
    """This project's engine, started without a model and limited to one resident model."""

    def __init__(self, blas: Path | None, work: Path) -> None:
        self.context = zmq.Context()
        self.commands, self.frames = (self.context.socket(zmq.PAIR) for _ in range(2))
        self.commands.bind(f"ipc://{work}/commands")
        self.frames.bind(f"ipc://{work}/frames")
        config = msgspec.json.encode(protocol.EngineConfig(max_resident=1, idle_unload_minutes=0.0))
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlx_notebook.engine"),
                *("--commands", f"ipc://{work}/commands", "--frames", f"ipc://{work}/frames"),
                *("--config", config.decode()),
            ],
            stdin=subprocess.PIPE,
            stderr=(work / "engine.log").open("w"),
            env=environment(blas),
            cwd=ROOT,
        )
        self.decoder = msgspec.msgpack.Decoder(protocol.Frame)
        self.count = 0
        self._until(protocol.Ready)

    def _until(self, kind: type[protocol.Event]) -> protocol.Event:
        while True:
            for event in self.decoder.decode(self.frames.recv()).events:
                if isinstance(event, protocol.Failed):
                    raise RuntimeError(event.message)
                if isinstance(event, kind):
                    return event

    def first_token(self, model: Path) -> float:
        """Return the seconds from a request to its only token."""
        self.count += 1
        prompt = protocol.ChatPrompt(messages=[{"role": "user", "content": _PROMPT}])
        began = time.perf_counter()
        command = protocol.Generate(
            id=f"r{self.count}",
            model=model.name,
            path=str(model),
            prompt=prompt,
            sampling=protocol.Sampling(temperature=0.0, max_tokens=1),
        )
        self.commands.send(msgspec.msgpack.encode(command))
        self._until(protocol.Done)
        return time.perf_counter() - began

    def stop(self) -> None:
        """End it."""
        self.commands.send(msgspec.msgpack.encode(protocol.Shutdown()))
        self.process.wait(30)
        self.context.destroy(0)


def make_models(folder: Path, count: int, hidden: int, layers: int) -> list[Path]:
    """Write `count` models of random fp32 weights."""
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_lm.utils import _get_classes

    models = []
    for number in range(count):
        target = folder / f"model-{number}"
        make_random(target)
        file = target / "config.json"
        config = json.loads(file.read_text()) | {
            "hidden_size": hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": hidden // 64,
            "num_key_value_heads": hidden // 128,
            "intermediate_size": 3 * hidden,
            "torch_dtype": "float32",
        }
        file.write_text(json.dumps(config))
        model_class, arguments = _get_classes(config)
        mx.random.seed(number)
        weights = dict(tree_flatten(model_class(arguments.from_dict(config)).parameters()))
        for old in target.glob("*.safetensors"):
            old.unlink()
        mx.save_safetensors(str(target / "model.safetensors"), weights, {"format": "mlx"})
        models.append(target)
    return models


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run the rounds. The first one does not count (compilation, page cache)."""
    with tempfile.TemporaryDirectory(prefix="mlx-notebook-loading-") as folder:
        work = Path(folder)
        models = make_models(work, options.models, options.hidden, options.layers)
        size = (models[0] / "model.safetensors").stat().st_size
        blas = find_blas()
        raw, engine = Raw(blas), Engine(blas, work)
        rows = []
        for number in range(options.rounds + 1):
            for i, model in enumerate(models):
                both = [("raw", raw), ("engine", engine)]
                if (number + i) % 2:
                    both.reverse()
                row = {name: contender.first_token(model) for name, contender in both}
                if number:
                    rows.append(row)
        raw.stop()
        engine.stop()
    ratios = [row["engine"] / row["raw"] for row in rows]
    return {
        "models": options.models,
        "bytes": size,
        "loads": len(rows),
        "raw": [round(row["raw"], 4) for row in rows],
        "engine": [round(row["engine"], 4) for row in rows],
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in sorted(ratios)],
    }


def render(found: dict[str, Any]) -> str:
    """Return the figures as a Markdown table."""
    rows = [
        ("models, size of each", f"{found['models']}, {found['bytes'] / 1e6:.0f} MB"),
        ("loads", found["loads"]),
        ("mlx-lm: load and first token, s (median)", f"{statistics.median(found['raw']):.2f}"),
        ("engine: request to first token, s (median)", f"{statistics.median(found['engine']):.2f}"),
        ("ratio (median)", found["ratio"]),
        ("ratio (lowest, highest)", f"{found['ratios'][0]}, {found['ratios'][-1]}"),
    ]
    return "\n".join(["| | |", "|---|---|", *(f"| {k} | {v} |" for k, v in rows)]) + "\n"


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.engine.loading", description=__doc__
    )
    parser.add_argument("--raw", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--models", type=int, default=3)
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    if options.raw:
        serve_raw()
        return
    found = measure(options)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "loading.json").write_text(json.dumps(found, indent=1) + "\n")
    (options.out / "loading.md").write_text(render(found))
    print(render(found))
    if found["ratio"] > _BOUND:
        sys.exit(f"failed: more than {_BOUND} times mlx-lm's own time")


if __name__ == "__main__":
    main()
