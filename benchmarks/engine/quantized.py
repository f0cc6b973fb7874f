"""`python -m benchmarks.engine.quantized`: the quality and the speed of KV caches of 8 and 4 bits.

Quality is the perplexity of a fixed text (`fixed_text.txt`), computed through the engine's own
caches: as a prompt, in chunks, and as an answer, token by token; alone, and beside a second row.
Speed is measured on one engine that has the model three times, in turns.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from benchmarks.harness.contenders import ROOT
from benchmarks.harness.load import make_prompts
from benchmarks.harness.processes import environment, find_blas
from benchmarks.models.prepare import prepare_model
from benchmarks.models.shapes import SMOLLM2
from mlx_notebook.protocol import ChatPrompt, Done, Generate, ModelOptions, Sampling, Text
from tests.engine.process import EngineProcess, running

TEXT = Path(__file__).with_name("fixed_text.txt")
Bits = Literal[4, 8] | None
BITS: tuple[Bits, ...] = (None, 8, 4)


def title(bits: Bits) -> str:
    """Return the name of a way to keep KV caches."""
    return "full precision" if bits is None else f"{bits} bits"


# --- quality -----------------------------------------------------------------------------------


def perplexities(folder: Path, chunk: int, counted: int) -> dict[str, dict[str, float]]:
    """Return the perplexity of the text for each way to keep KV caches and to feed it.

    The last `counted` tokens count, in each of them. What comes before is fed in chunks.
    """
    from mlx_lm import load
    from mlx_lm.models.cache import make_prompt_cache

    from mlx_notebook.engine.kv_cache.quantized import quantized_caches

    model, tokenizer = load(str(folder))[:2]
    tokens = tokenizer.encode(TEXT.read_text())
    found: dict[str, dict[str, float]] = {}
    for bits in BITS:

        def make(bits: Bits = bits) -> list[Any]:
            if bits is None:
                return list(make_prompt_cache(model))
            return quantized_caches(folder.name, model, bits)()

        found[title(bits)] = {
            how: _perplexity(model, [make() for _ in range(rows)], tokens, counted, (chunk, step))
            for how, rows, step in (
                ("as a prompt", 1, chunk),
                ("as an answer", 1, 1),
                ("as an answer beside another row", 2, 1),
            )
        }
    return found


def _perplexity(
    model: Any, rows: list[list[Any]], tokens: list[int], counted: int, steps: tuple[int, int]
) -> float:
    """Feed the tokens to the first row and return the perplexity of the last `counted`.

    They are fed `steps[1]` at a time, those before them `steps[0]`. The other rows get the same
    tokens in reverse order, so that they hold other keys and values.
    """
    import mlx.core as mx

    from mlx_notebook.engine.kv_cache.batch_cache import BatchCache

    cache = BatchCache(rows)
    fed = [tokens, *([tokens[::-1]] * (len(rows) - 1))]
    last = len(tokens) - 1
    head = max(1, last - counted)
    places = [*range(0, head, steps[0]), *range(head, last, steps[1]), last]
    total, count = 0.0, 0
    for start, end in pairwise(places):
        inputs = mx.array([row[start:end] for row in fed])
        logits = cache.feed(model, inputs, [end - start] * len(rows))[0].astype(mx.float32)
        mx.eval(logits, cache.state)
        if start < head:
            continue
        targets = mx.array(tokens[start + 1 : end + 1])
        chosen = mx.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
        total += float((mx.logsumexp(logits, axis=-1) - chosen).sum())
        count += end - start
    return math.exp(total / count)


def measure_quality(model: Path, chunk: int, counted: int) -> dict[str, dict[str, float]]:
    """Compute the perplexities in a process of their own, with the engine's BLAS."""
    command = [sys.executable, "-m", "benchmarks.engine.quantized", "--perplexity", str(model)]
    done = subprocess.run(
        [*command, "--chunk", str(chunk), "--counted", str(counted)],
        env=environment(find_blas()),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, dict[str, float]] = json.loads(done.stdout)
    return found


# --- speed -------------------------------------------------------------------------------------


def burst(
    engine: EngineProcess, model: Path, bits: Bits, prompts: list[str], tokens: int
) -> dict[str, float]:
    """Return the median seconds to the first token, and the tokens per second of all after it."""
    name = title(bits)
    began = time.perf_counter()
    ids = [f"{name} {time.perf_counter_ns()} {index}" for index in range(len(prompts))]
    for id, prompt in zip(ids, prompts, strict=True):
        engine.send(
            Generate(
                id=id,
                model=name,
                path=str(model),
                options=ModelOptions(kv_bits=bits, prompt_lookup=0),
                prompt=ChatPrompt(messages=[{"role": "user", "content": prompt}]),
                sampling=Sampling(max_tokens=tokens, temperature=0.0, ignore_eos=True),
            )
        )
    first: dict[str, float] = {}

    def all_begun(event: Any) -> bool:
        if isinstance(event, Text) and event.id in ids:
            first.setdefault(event.id, time.perf_counter() - began)
        return len(first) == len(ids)

    engine.wait(all_begun, timeout=600)
    for end in engine.finish(*ids, timeout=600):
        if not isinstance(end, Done):
            raise RuntimeError(end.message)
    whole = time.perf_counter() - began
    return {"first": statistics.median(first.values()), "total": len(ids) * tokens / whole}


def measure_speed(model: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row for each number of streams and way to keep KV caches; ratios are by round."""
    rows = []
    with running(max_resident=len(BITS), idle_unload_minutes=0) as engine:
        for streams in options.streams:
            seen: dict[str, list[dict[str, float]]] = {title(bits): [] for bits in BITS}
            # The first round loads and compiles; it does not count.
            for number in range(options.rounds + 1):
                turn = number % len(BITS)
                for bits in BITS[turn:] + BITS[:turn]:
                    salt = f"quantized {streams} {number}"
                    prompts = make_prompts(model, streams, options.prompt_tokens, salt)
                    found = burst(engine, model, bits, prompts, options.tokens)
                    if number:
                        seen[title(bits)].append(found)
            full = seen[title(None)]
            for way, mine in seen.items():
                row: dict[str, Any] = {"streams": streams, "way": way}
                for key in ("first", "total"):
                    row[key] = statistics.median(one[key] for one in mine)
                    ratios = (a[key] / b[key] for a, b in zip(mine, full, strict=True))
                    row[f"{key}_ratio"] = statistics.median(ratios)
                rows.append(row)
    return rows


def render(found: dict[str, Any]) -> str:
    """Return the figures as two Markdown tables, with ratios to full precision in bold."""
    full = found["perplexity"][title(None)]
    lines = [
        f"Model `{found['model']}`. Perplexity of a text of {found['words']} words:",
        "",
        "| KV cache | " + " | ".join(full) + " |",
        "|---|" + "---:|" * len(full),
    ]
    for way, values in found["perplexity"].items():
        cells = (f"{value:.3f}, **{value / full[how]:.4f}**" for how, value in values.items())
        lines.append(f"| {way} | " + " | ".join(cells) + " |")
    if found["speed"]:
        lines += [
            *("", "| streams | KV cache | first token, ms | all streams, tok/s |"),
            "|---:|---|---:|---:|",
            *(
                f"| {row['streams']} | {row['way']} | {1000 * row['first']:.0f}, "
                f"**{row['first_ratio']:.2f}** | {row['total']:.1f}, **{row['total_ratio']:.2f}** |"
                for row in found["speed"]
            ),
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.engine.quantized", description=__doc__
    )
    parser.add_argument("--perplexity", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--model", default=SMOLLM2, help="as for benchmarks.serving")
    parser.add_argument("--chunk", type=int, default=64, help="tokens of a chunk of the text")
    parser.add_argument("--counted", type=int, default=300, help="tokens whose perplexity counts")
    parser.add_argument("--streams", type=int, nargs="*", default=[1, 8])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--prompt-tokens", type=int, default=400)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    if options.perplexity is not None:
        print(json.dumps(perplexities(options.perplexity, options.chunk, options.counted)))
        return
    with tempfile.TemporaryDirectory(prefix="mlx-notebook-quantized-") as folder:
        model = Path(folder) / "model"
        prepare_model(options.model, model, "float32")
        found = {
            "model": Path(options.model).name,
            "words": len(TEXT.read_text().split()),
            "perplexity": measure_quality(model, options.chunk, options.counted),
            "speed": measure_speed(model, options) if options.streams else [],
        }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "quantized.json").write_text(json.dumps(found, indent=1) + "\n")
    (options.out / "quantized.md").write_text(render(found))
    print(render(found))


if __name__ == "__main__":
    main()
