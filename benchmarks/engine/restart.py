"""`python -m benchmarks.engine.restart`: time to the first token of a long prompt after a restart.

Cold: nothing is on disk. Warm: an earlier engine has written the prompt's KV cache to disk, since
it came twice, and was killed with kill -9. Both load the model first; the time is measured from a
request to a loaded model to its first token.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.harness.contenders import ROOT
from benchmarks.harness.load import make_prompts
from benchmarks.models.prepare import prepare_model
from mlx_notebook.engine.kv_cache.disk.block_names import BLOCK
from mlx_notebook.protocol import ChatPrompt, Done, Generate, Load, Loaded, Sampling
from tests.engine.process import EngineProcess, running


def first_token(
    engine: EngineProcess, model: Path, system: str, id: str = "r"
) -> tuple[float, Done]:
    """Return the seconds to the first token, and the event with the number of cached tokens."""
    engine.send(Load(id="load", model="bench", path=str(model)))
    engine.wait(lambda event: isinstance(event, Loaded))
    prompt = ChatPrompt(
        messages=[{"role": "system", "content": system}, {"role": "user", "content": "Hello"}]
    )
    sampling = Sampling(max_tokens=1, temperature=0.0)
    began = time.perf_counter()
    engine.send(Generate(id=id, model="bench", path=str(model), prompt=prompt, sampling=sampling))
    (end,) = engine.finish(id)
    if not isinstance(end, Done):
        raise RuntimeError(end.message)
    return time.perf_counter() - began, end


def measure(model: Path, tokens: int, rounds: int) -> dict[str, Any]:
    """Return the median seconds, and the median of the ratios within a round."""
    cold, warm, cached, total = [], [], 0, 0
    for number in range(rounds):
        (system,) = make_prompts(model, 1, tokens, f"restart {number}")
        with tempfile.TemporaryDirectory(prefix="mlx-notebook-restart-") as folder:
            settings = {"prefix_disk_path": folder, "prefix_disk_bytes": 2**32}
            with running(**settings) as engine:
                seconds, end = first_token(engine, model, system)
                cold.append(seconds)
                # What comes twice is written in the background: wait for it.
                first_token(engine, model, system, "again")
                blocks = end.usage.prompt // BLOCK
                while len(list(Path(folder).rglob("*.kv"))) < blocks:
                    time.sleep(0.02)
                engine.process.kill()
            with running(**settings) as engine:
                seconds, end = first_token(engine, model, system)
                warm.append(seconds)
                cached, total = end.usage.cached, end.usage.prompt
                engine.process.kill()
    return {
        "prompt": total,
        "cached": cached,
        "cold": statistics.median(cold),
        "warm": statistics.median(warm),
        "ratio": statistics.median(c / w for c, w in zip(cold, warm, strict=True)),
        "rounds": rounds,
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.engine.restart", description=__doc__
    )
    parser.add_argument("--model", default=str(ROOT / "mlx_notebook" / "demo_models" / "tiny-chat"))
    parser.add_argument("--lengths", type=int, nargs="+", default=[700, 1200, 1900])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mlx-notebook-restart-") as folder:
        model = Path(folder) / "model"
        prepare_model(options.model, model, "bfloat16")
        results = [measure(model, length, options.rounds) for length in options.lengths]
    lines = [
        "| system prompt, tokens | from disk | cold, ms | warm, ms | cold / warm |",
        "|---:|---:|---:|---:|---:|",
        *(
            f"| {r['prompt']} | {r['cached']} | {1000 * r['cold']:.0f} | {1000 * r['warm']:.0f} "
            f"| {r['ratio']:.1f} |"
            for r in results
        ),
    ]
    text = "\n".join(lines) + "\n"
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "restart.json").write_text(json.dumps(results, indent=1) + "\n")
    (options.out / "restart.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
