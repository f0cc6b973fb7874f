"""mlx-lm's own generation loops in a separate process: the baseline of the comparison.

Reads one job per line from standard input and answers with one line: see `measure`. Prompts are
rendered before the clock starts. There is no HTTP and no output parsing.
"""

import json
import sys
import time
from typing import Any

import mlx_lm
from mlx_lm.generate import BatchGenerator, stream_generate


def _stream(model: Any, tokenizer: Any, prompt: list[int], tokens: int) -> dict[str, Any]:
    first, count = None, 0
    for response in stream_generate(model, tokenizer, prompt, max_tokens=tokens):
        if first is None:
            first = time.perf_counter()
        count = response.generation_tokens
    return {"first": first, "ended": time.perf_counter(), "tokens": count}


def _batch(
    model: Any, tokenizer: Any, prompts: list[list[int]], tokens: int
) -> list[dict[str, Any]]:
    generator = BatchGenerator(
        model,
        stop_tokens=[[token] for token in tokenizer.eos_token_ids],
        completion_batch_size=max(32, len(prompts)),
    )
    rows = generator.insert(prompts, [tokens] * len(prompts))
    found: dict[int, dict[str, Any]] = {
        row: {"first": None, "ended": 0.0, "tokens": 0} for row in rows
    }
    while responses := generator.next_generated():
        now = time.perf_counter()
        for response in responses:
            row = found[response.uid]
            row["first"] = row["first"] or now
            row["ended"] = now
            row["tokens"] += 1
    generator.close()
    return list(found.values())


def measure(model: Any, tokenizer: Any, job: dict[str, Any]) -> dict[str, Any]:
    """Run `{"loop": "stream" | "batch", "prompts": [text, ...], "tokens": n}`.

    Returns `started`, and for each prompt `prompt_tokens`, `tokens` (counts), `first` and `ended`
    (seconds on one clock).
    """
    prompts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], add_generation_prompt=True, enable_thinking=False
        )
        for text in job["prompts"]
    ]
    started = time.perf_counter()
    if job["loop"] == "stream":
        rows = [_stream(model, tokenizer, prompts[0], job["tokens"])]
    else:
        rows = _batch(model, tokenizer, prompts, job["tokens"])
    for row, prompt in zip(rows, prompts, strict=True):
        row["prompt_tokens"] = len(prompt)
    return {"started": started, "rows": rows}


def main() -> None:
    """Load the model named on the command line, report that, and run jobs until the input ends."""
    model, tokenizer = mlx_lm.load(sys.argv[1])[:2]
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(measure(model, tokenizer, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
