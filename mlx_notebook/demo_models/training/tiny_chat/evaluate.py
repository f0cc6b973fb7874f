"""Measure each skill with greedy decoding, through an OpenAI-compatible server or in this process.

``python -m mlx_notebook.demo_models.training.tiny_chat.evaluate --base-url URL --api-key KEY``
``--folder mlx_notebook/demo_models/tiny-chat`` in place of the address needs no server.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from math import sqrt
from pathlib import Path
from typing import Any

from .cases import Case, Reply, cases

MAX_TOKENS = 256


def wilson(right: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a proportion (E. B. Wilson, JASA 22 (1927) 209)."""
    share, square = right / count, z * z / count
    middle = (share + square / 2) / (1 + square)
    half = z / (1 + square) * sqrt(share * (1 - share) / count + square / (4 * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def through_server(
    base_url: str, api_key: str, model: str, parallel: int
) -> Callable[[list[Case]], list[Reply]]:
    """Return a function that asks a server with the official client, `parallel` cases at a time."""
    from openai import OpenAI

    client = OpenAI(base_url=base_url, api_key=api_key, timeout=300)

    def ask(case: Case) -> Reply:
        options: dict[str, Any] = {"tools": case.tools} if case.tools else {}
        message = (
            client.chat.completions.create(
                model=model,
                messages=case.messages,  # type: ignore[arg-type]
                temperature=0,
                max_tokens=MAX_TOKENS,
                extra_body={"chat_template_kwargs": {"enable_thinking": case.thinking}},
                **options,
            )
            .choices[0]
            .message
        )
        calls = [
            {"name": call.function.name, "arguments": _arguments(call.function.arguments)}
            for call in message.tool_calls or []
            if call.type == "function"
        ]
        reasoning = (
            getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None) or ""
        )
        return Reply(message.content or "", calls, reasoning)

    def ask_all(every: list[Case]) -> list[Reply]:
        with ThreadPoolExecutor(parallel) as pool:
            return list(pool.map(ask, every))

    return ask_all


def _arguments(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def in_process(folder: Path) -> Callable[[list[Case]], list[Reply]]:
    """Return a function that runs mlx-lm in this process, in batches."""
    import mlx.core as mx
    from mlx_lm import batch_generate, load

    loaded: Any = load(str(folder))
    model, tokenizer = loaded
    if mx.default_device() == mx.Device(mx.cpu):
        model.set_dtype(mx.float32)

    def prompt(case: Case) -> list[int]:
        tokens: list[int] = tokenizer.apply_chat_template(
            case.messages,
            tools=case.tools or None,
            add_generation_prompt=True,
            enable_thinking=case.thinking,
        )
        return tokens

    def ask_all(every: list[Case]) -> list[Reply]:
        replies: list[Reply] = []
        for start in range(0, len(every), 16):
            prompts = [prompt(case) for case in every[start : start + 16]]
            texts = batch_generate(model, tokenizer, prompts, max_tokens=MAX_TOKENS).texts
            replies += [parsed(text) for text in texts]
        return replies

    return ask_all


def parsed(text: str) -> Reply:
    """Split the model's raw text into reasoning, content and calls."""
    reply = Reply("")
    if "</think>" in text:
        reasoning, _, text = text.partition("</think>")
        reply.reasoning = reasoning.replace("<think>", "").strip()
    reply.content, *calls = text.split("<tool_call>")
    for call in calls:
        try:
            found = json.loads(call.split("</tool_call>")[0])
            reply.calls.append({"name": found["name"], "arguments": found["arguments"]})
        except (ValueError, KeyError, TypeError):
            reply.calls.append({"name": "", "arguments": call})
    return reply


def report(every: list[Case], replies: list[Reply], show: int) -> dict[str, Any]:
    """Print a table and some failures; return the figures by skill."""
    right: dict[str, list[bool]] = defaultdict(list)
    shown: dict[str, int] = defaultdict(int)
    for case, reply in zip(every, replies, strict=True):
        good = case.right(reply)
        right[case.skill].append(good)
        if not good and shown[case.skill] < show:
            shown[case.skill] += 1
            expected = (
                case.calls if case.calls is not None else case.record or case.content or case.holds
            )
            print(
                f"[{case.skill}] {case.messages[-1]['content']!r}\n"
                f"  expected {expected} {case.holds}\n  got {reply}"
            )
    figures = {}
    print(
        f"| {'skill':36} | right | of  | share  | 95 % interval    |\n"
        f"|{'-' * 38}|-------|-----|--------|------------------|"
    )
    for skill, outcomes in right.items():
        low, high = wilson(sum(outcomes), len(outcomes))
        figures[skill] = {"right": sum(outcomes), "of": len(outcomes), "low": low, "high": high}
        share = f"{sum(outcomes) / len(outcomes):.1%}"
        print(
            f"| {skill:36} | {sum(outcomes):5} | {len(outcomes):3} | {share:>6} "
            f"| {f'{low:.1%} to {high:.1%}':16} |"
        )
    return figures


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--base-url", help="OpenAI-compatible server, such as http://127.0.0.1:1234/v1"
    )
    parser.add_argument("--api-key", default="none")
    parser.add_argument("--model", default="tiny-chat")
    parser.add_argument(
        "--folder", type=Path, help="folder of a model to measure in this process instead"
    )
    parser.add_argument("--each", type=int, default=100, help="cases per skill")
    parser.add_argument("--parallel", type=int, default=8)
    parser.add_argument("--show", type=int, default=0, help="failures to print per skill")
    parser.add_argument("--output", type=Path, help="write the figures to this JSON file")
    arguments = parser.parse_args()
    if (arguments.base_url is None) == (arguments.folder is None):
        parser.error("give either --base-url or --folder")
    if arguments.base_url is not None:
        ask = through_server(
            arguments.base_url, arguments.api_key, arguments.model, arguments.parallel
        )
    else:
        ask = in_process(arguments.folder)
    every = list(cases(arguments.each))
    figures = report(every, ask(every), arguments.show)
    if arguments.output is not None:
        arguments.output.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
