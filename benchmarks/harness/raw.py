"""mlx-lm's own generation loops in a separate process: the baseline of the comparison.

Reads one job per line from standard input and answers with one line: see `measure`. Prompts are
rendered before the clock starts. There is no HTTP and no output parsing.
"""

import copy
import json
import sys
import time
from typing import Any

import mlx.core as mx
import mlx_lm
from mlx_lm.generate import BatchGenerator, stream_generate
from mlx_lm.models.cache import make_prompt_cache


def _stream(model: Any, tokenizer: Any, prompt: list[int], tokens: int) -> list[float]:
    """Return when each token came."""
    responses = stream_generate(model, tokenizer, prompt, max_tokens=tokens)
    return [time.perf_counter() for _ in responses]


def _batch(
    model: Any, tokenizer: Any, prompts: list[list[int]], requests: list[dict[str, Any]], wide: bool
) -> list[tuple[float, list[float]]]:
    """Return for each request when it joined and when its tokens came.

    It joins after its `delay`, or, if it is `late`, when all others have a token. The batches have
    mlx-lm's default sizes, or room for all requests at once if `wide`.
    """
    sizes = {}
    if wide:
        sizes = {"completion_batch_size": len(prompts), "prefill_batch_size": len(prompts)}
    stops = [[token] for token in tokenizer.eos_token_ids]
    generator = BatchGenerator(model, stop_tokens=stops, **sizes)
    times: list[list[float]] = [[] for _ in prompts]
    waiting = sorted(range(len(prompts)), key=lambda i: requests[i]["delay"])
    early = [i for i in waiting if not requests[i]["late"]]
    joined = [0.0] * len(prompts)
    place: dict[int, int] = {}
    began = time.perf_counter()
    unfinished = len(prompts)
    while unfinished:
        now = time.perf_counter() - began
        begun = all(times[i] for i in early)
        due = [i for i in waiting if requests[i]["delay"] <= now and (begun or i in early)]
        if due:
            waiting = [i for i in waiting if i not in due]
            for i in due:
                # A late one arrives when it can; the others were there when their time came.
                joined[i] = now if requests[i]["late"] else requests[i]["delay"]
            uids = generator.insert([prompts[i] for i in due], [requests[i]["tokens"] for i in due])
            place.update(zip(uids, due, strict=True))
        elif unfinished == len(waiting):
            time.sleep(max(0.0, requests[waiting[0]]["delay"] - now))
            continue
        _, responses = generator.next()
        now = time.perf_counter()
        for response in responses:
            times[place[response.uid]].append(now)
            unfinished -= response.finish_reason is not None
    generator.close()
    return [(began + moment, when) for moment, when in zip(joined, times, strict=True)]


_WAITING = 8
"""Rows that wait beside those of a batch: as many as it takes in together."""


def _rows(
    model: Any, tokenizer: Any, prompts: list[list[int]], requests: list[dict[str, Any]], most: int
) -> list[tuple[float, list[float]]]:
    """Answer rows that begin alike, `most` at a time; their beginning is computed once."""
    shared = next(
        (i for i, column in enumerate(zip(*prompts, strict=False)) if len(set(column)) > 1), 0
    )
    shared = min(shared, min(map(len, prompts)) - 1)
    beginning = make_prompt_cache(model)
    began = time.perf_counter()
    if shared:
        model(mx.array(prompts[0][:shared])[None], cache=beginning)
        mx.eval([layer.state for layer in beginning])
    stops = [[token] for token in tokenizer.eos_token_ids]
    generator = BatchGenerator(model, stop_tokens=stops, completion_batch_size=most)
    times: list[list[float]] = [[] for _ in prompts]
    place: dict[int, int] = {}
    begun = ended = 0
    while ended < len(prompts):
        new = range(begun, min(len(prompts), ended + most + _WAITING))
        if new:
            uids = generator.insert(
                [prompts[i][shared:] for i in new],
                [requests[i]["tokens"] for i in new],
                caches=[copy.deepcopy(beginning) for _ in new],
                all_tokens=[prompts[i][:shared] for i in new],
            )
            place.update(zip(uids, new, strict=True))
            begun = new.stop
        _, responses = generator.next()
        now = time.perf_counter()
        for response in responses:
            times[place[response.uid]].append(now)
            ended += response.finish_reason is not None
    generator.close()
    return [(began, when) for when in times]


def measure(model: Any, tokenizer: Any, job: dict[str, Any]) -> dict[str, Any]:
    """Run `{"loop": "stream" | "batch" | "wide" | "rows", "requests": [...]}`.

    `rows` takes `most`, how many rows a batch has. A request has `prompt`, `tokens`, `delay` and
    `late` (see `benchmarks.harness.load.Request`).

    Returns `rows`, one per request: `prompt_tokens` (a count), `started`, and `times`, when each
    token came (seconds on one clock); and the `seconds` and `cpu_seconds` of all.
    """
    requests = job["requests"]
    prompts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": request["prompt"]}],
            add_generation_prompt=True,
            enable_thinking=False,
        )
        for request in requests
    ]
    started, cpu = time.perf_counter(), time.process_time()
    if job["loop"] == "rows":
        times = _rows(model, tokenizer, prompts, requests, job["most"])
    elif job["loop"] == "stream":
        times = [(started, _stream(model, tokenizer, prompts[0], requests[0]["tokens"]))]
    else:
        times = _batch(model, tokenizer, prompts, requests, job["loop"] == "wide")
    rows = [
        {"prompt_tokens": len(prompt), "started": joined, "times": when}
        for prompt, (joined, when) in zip(prompts, times, strict=True)
    ]
    return {
        "rows": rows,
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - cpu,
    }


def main() -> None:
    """Load the model named on the command line, report that, and run jobs until the input ends."""
    model, tokenizer = mlx_lm.load(sys.argv[1])[:2]
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(measure(model, tokenizer, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
