"""`python -m benchmarks.engine.prefixes`: the cost of finding a prompt in the prefix cache.

Long conversations that share a system prompt are in memory; then another one begins, and one goes
on. Compares this project's prefix cache with mlx-lm's `LRUPromptCache`, in one process and by
processor time, and says which of the two still has the system prompt after a hundred conversations
that do not use it. The KV caches are tiny, so that only the search counts.
"""

import argparse
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import KVCache, LRUPromptCache

from benchmarks.harness.contenders import ROOT
from mlx_notebook.engine.kv_cache.prefix_cache import PrefixCache

OURS, THEIRS = "mlx-notebook", "mlx-lm's LRUPromptCache"
_MODEL = "model"


def kv_cache(count: int) -> list[Any]:
    """Return a KV cache of `count` tokens with one number each."""
    layer = KVCache()
    layer.update_and_fetch(mx.zeros((1, 1, count, 1)), mx.zeros((1, 1, count, 1)))
    return [layer]


def milliseconds(function: Callable[[], Any], repeats: int) -> float:
    """Return the least processor time of a call."""
    times = []
    for _ in range(repeats):
        began = time.process_time()
        function()
        times.append(time.process_time() - began)
    return 1000 * min(times)


def measure(tokens: int, system: int, conversations: int, repeats: int) -> dict[str, Any]:
    """Fill both caches and measure them."""
    rng = random.Random(7)
    shared = [rng.randrange(50_000) for _ in range(system)]
    ours = PrefixCache(conversations, 2**60)
    theirs = LRUPromptCache(conversations, 2**60)

    def finish(sequence: list[int]) -> None:
        ours.keep(_MODEL, sequence, kv_cache(len(sequence)))
        theirs.insert_cache(_MODEL, sequence, kv_cache(len(sequence)))

    def ask(sequence: list[int], opening: int) -> dict[str, int]:
        mine = ours.fetch(_MODEL, sequence, opening=opening).length
        _, rest = theirs.fetch_nearest_cache(_MODEL, sequence)
        return {OURS: mine, THEIRS: len(sequence) - len(rest)}

    for _ in range(conversations):
        last = [*shared, *(rng.randrange(50_000) for _ in range(tokens - system))]
        finish(last)
    asked = {
        "another conversation with the same system prompt": [*shared, 50_001, 50_002],
        "the next turn of the last conversation": [*last, 50_001, 50_002],
    }
    times = {
        title: {
            OURS: milliseconds(lambda s=sequence: ours.fetch(_MODEL, s), repeats),
            THEIRS: milliseconds(lambda s=sequence: theirs.fetch_nearest_cache(_MODEL, s), repeats),
        }
        for title, sequence in asked.items()
    }
    ask([*shared, 50_003, 50_004], len(shared) + 1)
    for number in range(100):
        finish([60_000 + number] * 200)
    kept = ask([*shared, 50_005, 50_006], len(shared) + 1)
    settings = {"tokens": tokens, "system": system, "conversations": conversations}
    return {"settings": settings, "milliseconds": times, "kept": kept}


def render(results: dict[str, Any]) -> str:
    """Return the figures as a Markdown table."""
    lines = [f"| | {OURS} | {THEIRS} |", "|---|---:|---:|"]
    for title, times in results["milliseconds"].items():
        lines.append(f"| {title}, ms | {times[OURS]:.1f} | {times[THEIRS]:.1f} |")
    kept = results["kept"]
    title = "tokens of the system prompt that are left after 100 other conversations"
    lines.append(f"| {title} | {kept[OURS]} | {kept[THEIRS]} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.engine.prefixes", description=__doc__
    )
    parser.add_argument("--tokens", type=int, default=20_000)
    parser.add_argument("--system", type=int, default=3_000)
    parser.add_argument("--conversations", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    results = measure(options.tokens, options.system, options.conversations, options.repeats)
    text = render(results)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "prefixes.json").write_text(json.dumps(results, indent=1) + "\n")
    (options.out / "prefixes.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
