"""`python -m benchmarks.workloads.agents`: the cost of tools and grammars.

Measures the seconds to the first token with twenty tools in the prompt: cold, with the tools in the
prefix cache, and in the second turn of an agent. Then measures the tokens per second of a row with
a JSON schema, and of seven rows without one in the same batch.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.harness.client import Reply, post
from benchmarks.harness.contenders import ROOT
from benchmarks.harness.load import make_prompts
from benchmarks.harness.running import Running, running
from benchmarks.models.prepare import prepare_model

# More items than any run generates, so that the answer never ends before `max_tokens`.
_RECORDS = {
    "type": "array",
    "minItems": 500,
    "items": {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 12}, "count": {"type": "integer"}},
        "required": ["name", "count"],
        "additionalProperties": False,
    },
}
_CONSTRAINED = {
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "records", "schema": _RECORDS, "strict": True},
    }
}
_FREE_ROWS = 7


def make_tools(count: int, salt: str) -> list[dict[str, Any]]:
    """Return `count` tools that differ for each `salt`, so that no cache has them."""
    return [
        {
            "type": "function",
            "function": {
                "name": f"{salt}_{number}",
                "description": f"Look up the record number {number} of a customer by city.",
                "parameters": {
                    "type": "object",
                    "properties": {
                        "city": {"type": "string", "description": "Where the customer lives"},
                        "limit": {"enum": [1, 2, 5]},
                    },
                    "required": ["city", "limit"],
                    "additionalProperties": False,
                },
            },
        }
        for number in range(count)
    ]


async def send(live: Running, **body: Any) -> Reply:
    """Send a greedy request. Raise `RuntimeError` if there is no answer."""
    name = live.server.recipe.model(live.server.setting)
    reply = await post(live.server.endpoint, {"model": name, "temperature": 0, **body})
    if reply.error:
        raise RuntimeError(reply.error)
    return reply


def usage(reply: Reply) -> dict[str, int]:
    """Return the number of prompt tokens, and how many of them were cached."""
    counts = reply.usage
    details = counts.get("prompt_tokens_details") or {}
    return {"prompt": counts["prompt_tokens"], "cached": details.get("cached_tokens", 0)}


async def first_token(live: Running, **body: Any) -> tuple[float, dict[str, int]]:
    """Return the seconds until an answer of one token, and the number of prompt tokens."""
    reply = await send(live, max_tokens=1, **body)
    return reply.ended - reply.started, usage(reply)


async def time_tools(live: Running, rounds: int, count: int) -> dict[str, Any]:
    """Return the median seconds to the first token: cold, with cached tools, in the second turn."""
    seen: dict[str, list[tuple[float, dict[str, int]]]] = {}
    for number in range(rounds):
        tools = make_tools(count, f"round{number}")
        question = {"role": "user", "content": "How many customers live in Paris?"}
        other = {"role": "user", "content": "And who lives in Oslo?"}
        cold = await first_token(live, messages=[question], tools=tools)
        cached = await first_token(live, messages=[other], tools=tools)
        called = await send(
            live,
            messages=[question],
            tools=tools,
            tool_choice="required",
            parallel_tool_calls=False,
            max_tokens=200,
        )
        [answer] = called.events
        message = answer["choices"][0]["message"]
        results = [
            {"role": "tool", "tool_call_id": call["id"], "content": "42"}
            for call in message.get("tool_calls") or []
        ]
        second = await first_token(live, messages=[question, message, *results], tools=tools)
        for title, figures in (
            (f"{count} tools, cold", cold),
            (f"{count} tools, another question", cached),
            ("second turn of an agent", second),
        ):
            seen.setdefault(title, []).append(figures)
    return {
        title: {
            "seconds": round(statistics.median(seconds for seconds, _ in runs), 4),
            **runs[-1][1],
        }
        for title, runs in seen.items()
    }


def speed(reply: Reply) -> float:
    """Return an answer's tokens per second after its first one."""
    if reply.first is None or reply.ended <= reply.first:
        raise RuntimeError("an answer came all at once: ask for more tokens")
    return float(reply.usage["completion_tokens"] - 1) / (reply.ended - reply.first)


async def time_rows(live: Running, model: Path, rounds: int, tokens: int) -> dict[str, Any]:
    """Return median tokens per second of free and constrained rows, alone and in one batch."""
    seen: dict[str, list[float]] = {}

    async def burst(salt: str, kinds: list[dict[str, Any]]) -> list[float]:
        prompts = make_prompts(model, len(kinds), 60, salt)
        replies = await asyncio.gather(
            *(
                send(
                    live,
                    messages=[{"role": "user", "content": prompt}],
                    max_tokens=tokens,
                    ignore_eos=True,
                    stream=True,
                    stream_options={"include_usage": True},
                    **kind,
                )
                for prompt, kind in zip(prompts, kinds, strict=True)
            )
        )
        return [speed(reply) for reply in replies]

    await burst("warm", [_CONSTRAINED, {}])
    for number in range(rounds):
        [alone] = await burst(f"free {number}", [{}])
        [bound] = await burst(f"bound {number}", [_CONSTRAINED])
        *free, eighth = await burst(f"eight {number}", [{}] * (_FREE_ROWS + 1))
        *beside, bound_beside = await burst(f"mixed {number}", [{}] * _FREE_ROWS + [_CONSTRAINED])
        for title, rate in (
            ("a free row alone", alone),
            ("a constrained row alone", bound),
            (f"each of {_FREE_ROWS} free rows beside a free one", statistics.mean(free)),
            (f"each of {_FREE_ROWS} free rows beside a constrained one", statistics.mean(beside)),
            (f"the free row beside {_FREE_ROWS} free ones", eighth),
            (f"the constrained row beside {_FREE_ROWS} free ones", bound_beside),
        ):
            seen.setdefault(title, []).append(rate)
    return {title: round(statistics.median(rates), 1) for title, rates in seen.items()}


def render(results: dict[str, Any]) -> str:
    """Return the figures as two Markdown tables."""
    lines = ["| first token | ms | prompt | cached |", "|---|---:|---:|---:|"]
    for title, figures in results["first token"].items():
        milliseconds = 1000 * figures["seconds"]
        lines.append(
            f"| {title} | {milliseconds:.0f} | {figures['prompt']} | {figures['cached']} |"
        )
    lines += ["", "| row | tokens/s |", "|---|---:|"]
    lines += [f"| {title} | {rate} |" for title, rate in results["rows"].items()]
    return "\n".join(lines) + "\n"


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run both parts on one server."""
    with tempfile.TemporaryDirectory(prefix="mlx-notebook-agents-") as folder:
        work = Path(folder)
        model = work / "model"
        prepare_model(options.model, model, options.dtype)
        async with running(model, work) as live:
            await send(live, messages=[{"role": "user", "content": "Hello"}], max_tokens=4)
            return {
                "first token": await time_tools(live, options.rounds, options.tools),
                "rows": await time_rows(live, model, options.rounds, options.tokens),
            }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.workloads.agents", description=__doc__
    )
    parser.add_argument("--model", default=str(ROOT / "mlx_notebook" / "demo_models" / "tiny-chat"))
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tools", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    results = asyncio.run(measure(options))
    options.out.mkdir(parents=True, exist_ok=True)
    text = render(results)
    (options.out / "agents.json").write_text(json.dumps(results, indent=1) + "\n")
    (options.out / "agents.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
