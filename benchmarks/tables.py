"""`python -m benchmarks.tables`: `mlx_notebook.map` over a table, against mlx-lm's own batch.

Both answer the same rows in turn: `map` through a server in another process, and mlx-lm's
`BatchGenerator` in a process of its own, with room for as many rows as the server. All answers have
the same number of tokens. `--rows 10000 --memory` is the large table: it also takes the memory of
this process and of the engine after each tenth of the rows.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.contenders import ROOT
from tests.server.running import running

_INSTRUCTION = "You label short texts. Answer in a few words, and do not explain anything. " * 4
_TINY = ROOT / "mlx_notebook" / "demo_models" / "tiny-chat"


class Raw:
    """mlx-lm's loops in another process (see `benchmarks.raw`)."""

    def __init__(self, model: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.raw", str(model)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip
        self._line()

    def rows_per_second(self, texts: list[str], tokens: int) -> float:
        """Answer the rows in batches of mlx-lm's default size."""
        requests = [
            {"prompt": _INSTRUCTION + text, "tokens": tokens, "delay": 0.0, "late": False}
            for text in texts
        ]
        assert self._process.stdin is not None
        began = time.perf_counter()
        job = json.dumps({"loop": "batch", "requests": requests})
        print(job, file=self._process.stdin, flush=True)
        self._line()
        return len(texts) / (time.perf_counter() - began)

    def stop(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


def mapped(texts: list[str], tokens: int, folder: Path, **options: Any) -> float:
    """Answer the rows with `map`; return rows per second."""
    import mlx_notebook

    file = folder / "answers.sqlite"
    file.unlink(missing_ok=True)
    settings: dict[str, Any] = {"max_tokens": tokens, "temperature": 0, "show": False}
    if "schema" not in options:
        settings["extra_body"] = {"ignore_eos": True}
    began = time.perf_counter()
    answers = mlx_notebook.map(
        texts, _INSTRUCTION + "{{ value }}", cache=file, **settings, **options
    )
    seconds = time.perf_counter() - began
    assert len(answers) == len(texts)
    return len(texts) / seconds


def compare(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure both in turn."""
    import mlx_notebook

    texts = [f"Text {number}: the weather of day {number * 7}." for number in range(options.rows)]
    found: dict[str, Any] = {"rows": options.rows, "tokens": options.tokens, "rounds": []}
    raw = Raw(_TINY)
    with running(config={"MlxNotebookApp": {"default_model": "tiny-chat"}}) as server:
        mlx_notebook.connect(server.url, server.token)
        mapped(texts[:40], options.tokens, folder)
        raw.rows_per_second(texts[:40], options.tokens)
        engine = psutil.Process(server.engine_pid())
        for number in range(options.rounds):
            fresh = [f"{text} Round {number}." for text in texts]
            ours = mapped(fresh, options.tokens, folder)
            theirs = raw.rows_per_second(fresh, options.tokens)
            found["rounds"].append({"map": ours, "raw": theirs, "ratio": ours / theirs})
        if options.memory:
            part = options.rows // 10
            found["megabytes"] = []
            for start in range(0, options.rows, part):
                mapped(texts[start : start + part], options.tokens, folder)
                found["megabytes"].append(
                    {
                        "kernel": psutil.Process(os.getpid()).memory_info().rss / 1e6,
                        "engine": engine.memory_info().rss / 1e6,
                    }
                )
    raw.stop()
    return found


def main() -> None:
    """Run the comparison and write `tables.json` to the results folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--tokens", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        found = compare(options, Path(work))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "tables.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
