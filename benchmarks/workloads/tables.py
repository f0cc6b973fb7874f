"""`python -m benchmarks.workloads.tables`: `map` over a table, against mlx-lm's own batch.

The rows are answered in pieces, each by both in turn: by `map` through a server in another process,
and by mlx-lm's `BatchGenerator` in a process of its own. Both load the same weights (fp32) with the
same BLAS, have room for as many rows, compute the instruction that all rows share once, and give
each row the same number of tokens. mlx-lm's prompts are rendered before the clock starts. CPU
seconds are those of all processes: kernel, server, engine and its helpers. After each piece the
memory of kernel, server and engine is noted. `--schema` asks for JSON, which mlx-lm cannot do.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.harness.contenders import ROOT
from benchmarks.harness.processes import environment, find_blas
from benchmarks.models.prepare import prepare_model
from tests.server.running import RunningServer, running

_INSTRUCTION = "You label short texts. Answer in a few words, and do not explain anything. " * 4
_TINY = ROOT / "mlx_notebook" / "demo_models" / "tiny-chat"
_SCHEMA = {
    "type": "object",
    "properties": {"label": {"enum": ["good", "bad"]}, "day": {"type": "integer", "maximum": 9999}},
    "required": ["label", "day"],
    "additionalProperties": False,
}


class Raw:
    """mlx-lm's loops in another process (see `benchmarks.harness.raw`)."""

    def __init__(self, model: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.harness.raw", str(model)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env=environment(find_blas()),
        )  # fmt: skip
        self._line()

    def answer(self, texts: list[str], tokens: int, most: int) -> dict[str, float]:
        """Answer the rows, `most` at a time; return seconds and CPU seconds."""
        requests = [
            {"prompt": _INSTRUCTION + text, "tokens": tokens, "delay": 0.0, "late": False}
            for text in texts
        ]
        assert self._process.stdin is not None
        job = json.dumps({"loop": "rows", "requests": requests, "most": most})
        print(job, file=self._process.stdin, flush=True)
        found = self._line()
        assert all(len(row["times"]) == tokens for row in found["rows"])
        return {"seconds": found["seconds"], "cpu_seconds": found["cpu_seconds"]}

    def stop(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


class Ours:
    """`map` in this process, which stands for the kernel, and a server in another one."""

    def __init__(self, server: RunningServer, file: Path, schema: Any) -> None:
        import mlx_notebook

        mlx_notebook.connect(server.url, server.token)
        self._map, self._file, self._schema = mlx_notebook.map, file, schema
        self._server = psutil.Process(server.process.pid)
        self._engine = psutil.Process(server.engine_pid())

    def answer(self, texts: list[str], tokens: int) -> dict[str, float]:
        """Answer the rows; return seconds and CPU seconds."""
        settings: dict[str, Any] = {"max_tokens": tokens, "temperature": 0}
        if self._schema is not None:
            settings = {"max_tokens": 60, "schema": self._schema}
        began, before = time.perf_counter(), self._cpu()
        answers = self._map(
            texts, _INSTRUCTION + "{{ value }}", cache=self._file, show=False, **settings
        )
        seconds = time.perf_counter() - began
        failed = answers["error"] if self._schema is not None else answers.isna()
        assert not failed.any(), failed
        used = {name: now - before[name] for name, now in self._cpu().items()}
        return {"seconds": seconds, "cpu_seconds": sum(used.values()), **used}

    def megabytes(self) -> dict[str, float]:
        """Return the memory of kernel, server and engine."""
        these = {"kernel": psutil.Process(), "server": self._server, "engine": self._engine}
        return {name: round(one.memory_info().rss / 1e6, 1) for name, one in these.items()}

    def _cpu(self) -> dict[str, float]:
        """Return the CPU seconds of kernel, server, engine, and the engine's helpers."""
        found = {"kernel": time.process_time(), "server": 0.0, "engine": 0.0, "helpers": 0.0}
        for process in [self._server, *self._server.children(recursive=True)]:
            names = {self._server: "server", self._engine: "engine"}
            with contextlib.suppress(psutil.NoSuchProcess):
                used = process.cpu_times()
                found[names.get(process, "helpers")] += used.user + used.system
        return found


def compare(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Answer all pieces by both in turn."""
    model = folder / "models" / "tiny"
    prepare_model(str(_TINY), model, "float32")
    texts = [f"Text {number}: the weather of day {number * 7}." for number in range(options.rows)]
    pieces: list[dict[str, Any]] = []
    config = {"models_dirs": [str(model.parent)], "default_model": "tiny"}
    raw = None if options.schema else Raw(model)
    with running(config={"MlxNotebookApp": config}) as server:
        assert server.works()
        most = server.status()["queue"]["batch"]
        ours = Ours(server, folder / "answers.sqlite", _SCHEMA if options.schema else None)
        warm = [f"Warm up {number}." for number in range(2 * most)]
        ours.answer(warm, options.tokens)
        if raw is not None:
            raw.answer(warm, options.tokens, most)
        for start in range(0, options.rows, options.piece):
            part = texts[start : start + options.piece]
            found: dict[str, Any] = {"rows": len(part), "map": ours.answer(part, options.tokens)}
            if raw is not None:
                found["raw"] = raw.answer(part, options.tokens, most)
            pieces.append(found | {"megabytes": ours.megabytes()})
            print(json.dumps(pieces[-1]), file=sys.stderr, flush=True)
    if raw is not None:
        raw.stop()
    return {"rows": options.rows, "tokens": options.tokens, "batch": most, "pieces": pieces}


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of all pieces together, and the median of their ratios."""
    pieces = found["pieces"]
    result = {"map_rows_per_second": found["rows"] / sum(p["map"]["seconds"] for p in pieces)}
    if "raw" in pieces[0]:
        for name, word in (("seconds", "speed"), ("cpu_seconds", "cpu")):
            result[f"{word}_ratios"] = [round(p["raw"][name] / p["map"][name], 3) for p in pieces]
            result[f"median_{word}_ratio"] = statistics.median(result[f"{word}_ratios"])
    result["first_megabytes"], result["last_megabytes"] = (
        pieces[0]["megabytes"],
        pieces[-1]["megabytes"],
    )
    return result


def main() -> None:
    """Run the comparison and write `tables.json` to the results folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--piece", type=int, default=500, help="rows between two turns")
    parser.add_argument("--tokens", type=int, default=20)
    parser.add_argument("--schema", action="store_true")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        found = compare(options, Path(work))
    found["summary"] = summary(found)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "tables.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found["summary"], indent=1))


if __name__ == "__main__":
    main()
