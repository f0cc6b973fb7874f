"""`python -m benchmarks.engine.gated_delta`: the gated delta rule by chunks and token by token.

The first table compares the engine's way with mlx-lm's, which goes token by token where there is no
Metal, on random inputs: the time and the largest difference. The second compares whole models of
random weights: prompt tokens and decoded tokens per second. The two ways take turns in one process,
and the fastest of the rounds counts. On a CPU, the time is this process's CPU time, which depends
least on other load. It needs no files, and takes under 30 seconds on an idle machine.
"""

import argparse
import logging
import time
from collections.abc import Callable
from typing import Any

from mlx_notebook.engine.runtime.blas import preload

Way = Callable[..., Any]


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.engine.gated_delta", description=__doc__
    )
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    preload()

    import mlx.core as mx
    from mlx_lm.models import gated_delta as library

    from mlx_notebook.engine.runtime import gated_delta

    slow = library.gated_delta_ops
    gated_delta.replace_token_loops()
    fast = library.gated_delta_ops
    print(f"device: {mx.default_device()} {mx.device_info().get('device_name', '')}")
    if fast is slow:
        raise SystemExit("the engine keeps mlx-lm's way on this device")
    print(compare_rule(slow, fast, options.rounds), flush=True)
    print(compare_models(slow, fast, options.rounds))


def fastest(ways: tuple[Way, Way], *given: tuple[Any, ...], rounds: int) -> list[float]:
    """Return the least seconds of each way, called with its part of `given`; they take turns."""
    import mlx.core as mx

    clock = time.perf_counter if mx.default_device() == mx.gpu else time.process_time
    best = [float("inf"), float("inf")]
    for _ in range(rounds + 1):  # the first round compiles
        for place, way in enumerate(ways):
            arguments = given[place % len(given)]
            began = clock()
            mx.eval(way(*arguments))
            best[place] = min(best[place], clock() - began)
    return best


def compare_rule(slow: Way, fast: Way, rounds: int) -> str:
    """Return a table for one layer of the size of `hybrid` and of a large Qwen3.5."""
    import mlx.core as mx

    gpu = mx.default_device() == mx.gpu
    sizes = {"small": (4, 8, 64), "large": (16, 32, 128)}
    cases = [
        *(("small", 1, tokens, "float32", "head", False) for tokens in (1, 8, 64, 512)),
        ("small", 8, 128, "float32", "head", True),
        ("small", 1, 128, "float32", "width", False),
        *(("large", 1, tokens, "bfloat16", "head", False) for tokens in (1, 4, 64)),
    ]
    if gpu:
        cases += [
            ("large", 1, 512, "float32", "head", False),
            ("large", 1, 2048, "bfloat16", "head", False),
            ("large", 8, 1, "bfloat16", "head", False),
            ("large", 8, 512, "bfloat16", "head", True),
            ("large", 1, 512, "bfloat16", "width", False),
        ]
    lines = [
        "| layer | rows | tokens | type | gates | mask | token by token, ms | chunks, ms | ratio |"
        " difference |",
        "|---|--:|--:|---|---|---|--:|--:|--:|--:|",
    ]
    for size, rows, tokens, dtype, gates, masked in cases:
        given = _inputs(rows, tokens, *sizes[size], dtype, gates, masked)
        before, after = fastest((slow, fast), given, rounds=rounds)
        found = max(
            _difference(one, other, given[-1] if place == 0 else None)
            for place, (one, other) in enumerate(zip(slow(*given), fast(*given), strict=True))
        )
        lines.append(
            f"| {size} | {rows} | {tokens} | {dtype} | one a {gates} | {'yes' if masked else 'no'} "
            f"| {before * 1e3:.2f} | {after * 1e3:.2f} | {before / after:.1f} | {found:.1e} |"
        )
    return "\n".join(lines) + "\n"


def _inputs(
    rows: int,
    tokens: int,
    key_heads: int,
    heads: int,
    width: int,
    dtype: str,
    gates: str,
    mask: Any,
) -> tuple[Any, ...]:
    import mlx.core as mx
    from mlx_lm.models.gated_delta import normalize_qk

    kind = getattr(mx, dtype)
    mx.random.seed(tokens)
    q, k = mx.random.normal((2, rows, tokens, key_heads, width)).astype(kind)
    q, k = normalize_qk(q, k, inv_scale=width**-0.5, eps=1e-6)
    v = mx.random.normal((rows, tokens, heads, width)).astype(kind)
    # As Qwen3.5's layers begin their training: from remembering all to forgetting all.
    decay = mx.random.normal((rows, tokens, heads, *((width,) if gates == "width" else ()))) + 1
    strength = mx.random.uniform(0, 16, (heads,) + (1,) * (gates == "width"))
    g = mx.exp(-strength * mx.logaddexp(decay, 0))
    beta = mx.random.uniform(0, 1, (rows, tokens, heads)).astype(kind)
    state = mx.random.normal((rows, heads, width, width))
    ends = tokens - mx.arange(rows)[:, None] * (tokens // (2 * rows))
    given = q, k, v, g, beta, state, mx.arange(tokens)[None] < ends if mask else None
    mx.eval([array for array in given if array is not None])
    return given


def _difference(one: Any, other: Any, mask: Any) -> float:
    """Return the largest difference as a part of the largest value, where the mask counts."""
    import mlx.core as mx

    one, other = one.astype(mx.float32), other.astype(mx.float32)
    if mask is not None:
        one, other = (mx.where(mask[..., None, None], array, 0) for array in (one, other))
    return (mx.abs(one - other).max() / mx.abs(one).max()).item()


def compare_models(slow: Way, fast: Way, rounds: int) -> str:
    """Return a table for the shape `hybrid`: a prompt alone, eight prompts, one decoded token."""
    import mlx.core as mx
    from mlx_lm.models import gated_delta as library
    from mlx_lm.models.cache import make_prompt_cache
    from mlx_lm.utils import _get_classes

    from benchmarks.models.shapes import SHAPES

    dtype = "bfloat16" if mx.default_device() == mx.gpu else "float32"
    config = {**SHAPES["hybrid"]}
    config["text_config"] = {**config["text_config"], "vocab_size": 49152}
    model_class, arguments = _get_classes(config)
    mx.random.seed(7)
    model = model_class(arguments.from_dict(config))
    model.set_dtype(getattr(mx, dtype))
    mx.eval(model.parameters())

    def prompt(way: Way, rows: int, tokens: int) -> list[Any]:
        library.gated_delta_ops = way
        cache = make_prompt_cache(model)
        mx.eval(model.language_model.model(mx.ones((rows, tokens), mx.int32), cache=cache))
        return [layer.state for layer in cache]

    def decode(way: Way, rows: int, cache: list[Any]) -> None:
        library.gated_delta_ops = way
        for _ in range(4):
            mx.eval(model(mx.ones((rows, 1), mx.int32), cache=cache))

    lines = [
        f"| `hybrid`, {dtype} | token by token, tokens/s | chunks, tokens/s | ratio |",
        "|---|--:|--:|--:|",
    ]

    def add(name: str, tokens: int, seconds: list[float]) -> None:
        before, after = (tokens / one for one in seconds)
        lines.append(f"| {name} | {before:.0f} | {after:.0f} | {after / before:.2f} |")

    for rows, tokens in ((1, 512), (8, 64)):
        given = [(way, rows, tokens) for way in (slow, fast)]
        seconds = fastest((prompt, prompt), *given, rounds=rounds)
        add(f"{rows} prompt{'s' * (rows > 1)} of {tokens} tokens", rows * tokens, seconds)
    for rows in (1, 8):
        given = [(way, rows, make_prompt_cache(model)) for way in (slow, fast)]
        seconds = fastest((decode, decode), *given, rounds=rounds)
        add(f"decoding {rows} row{'s' * (rows > 1)}", rows * 4, seconds)
    library.gated_delta_ops = fast
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
