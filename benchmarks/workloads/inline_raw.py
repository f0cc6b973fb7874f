"""mlx-lm's own loop on the prompts of inline completions, for `benchmarks.workloads.inline`.

Reads one job per line from standard input and answers with one line. The prompt is made as the
engine makes it, and as many of its tokens are computed before the clock starts as the engine had
cached.
"""

import json
import sys
import time
from typing import Any

import mlx.core as mx
import mlx_lm
from mlx_lm.generate import generate_step
from mlx_lm.models.cache import make_prompt_cache

from mlx_notebook.engine.infilling.infiller import Infiller
from mlx_notebook.engine.prompts.chat_format import ChatFormat
from mlx_notebook.engine.prompts.length_limits import LengthLimit
from mlx_notebook.protocol import FillPrompt, Generate


def measure(model: Any, infiller: Infiller, job: dict[str, Any]) -> dict[str, float]:
    """Run `{"prefix", "usage"}`, the usage being that of the server's answer.

    Returns the seconds to the `first` token and to the last one of the `whole` text.
    """
    usage = job["usage"]
    prompt = FillPrompt(
        prefix=job["prefix"],
        suffix="",
        context_tokens=1024,
        language="python",
        ends_with_block=True,
    )
    command = Generate(id="raw", model="", path="", prompt=prompt)
    prepared, _ = infiller.plan(command, prompt, LengthLimit(32768))
    assert len(prepared.tokens) == usage["prompt_tokens"]
    tokens = mx.array(prepared.tokens)
    cache = make_prompt_cache(model)
    if usage["cached_tokens"]:
        mx.eval(model(tokens[: usage["cached_tokens"]][None], cache=cache))
        mx.eval([layer.state for layer in cache])
    began = time.perf_counter()
    rest = tokens[usage["cached_tokens"] :]
    count = max(1, usage["completion_tokens"])
    times = []
    for _ in generate_step(rest, model, max_tokens=count, prompt_cache=cache):
        times.append(time.perf_counter() - began)
    return {"first": times[0], "whole": times[-1]}


def main() -> None:
    """Load the model named on the command line, report that, and run jobs until the input ends."""
    model, tokenizer = mlx_lm.load(sys.argv[1])[:2]
    model.set_dtype(mx.float32)  # as the engine computes on a CPU
    infiller = Infiller(ChatFormat(tokenizer, len(tokenizer)))
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(measure(model, infiller, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
