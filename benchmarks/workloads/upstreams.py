"""`python -m benchmarks.workloads.upstreams`: what it costs to reach a model through an upstream.

Two servers on this machine. One runs the model, the other has the first as an upstream. The same
requests go to both in turn, so the ratios within a round tell what the relay adds.
"""

import argparse
import asyncio
import json
import statistics
from pathlib import Path
from typing import Any

from benchmarks.harness.client import Endpoint, Reply, post
from benchmarks.harness.contenders import ROOT
from tests.server.running import RunningServer, running

MODEL = "tiny-chat"
SETTINGS = {"ServerApp": {"allow_root": True}}


async def burst(server: RunningServer, model: str, streams: int, tokens: int) -> list[Reply]:
    """Send so many streamed requests at once, and return their answers.

    Raises
    ------
    RuntimeError
        If one of them fails.
    """
    endpoint = Endpoint(server.port, path="/v1/chat/completions", key=server.token)
    payload = {
        "model": model,
        "messages": [{"role": "user", "content": "Hello!"}],
        "temperature": 0,
        "max_tokens": tokens,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    replies = await asyncio.gather(*(post(endpoint, payload) for _ in range(streams)))
    for reply in replies:
        counted = [event["usage"]["completion_tokens"] for event in reply.events if event["usage"]]
        if reply.status != 200 or counted != [tokens]:
            raise RuntimeError(f"{server.url} answered {reply.status}: {reply.body[-300:]!r}")
    return replies


def figures(replies: list[Reply], tokens: int) -> tuple[float, float]:
    """Return the median seconds to the first token, and all streams' tokens a second."""
    firsts = [reply.first - reply.started for reply in replies if reply.first is not None]
    began, ended = min(r.started for r in replies), max(r.ended for r in replies)
    return statistics.median(firsts), len(replies) * tokens / (ended - began)


def measure(streams: int, tokens: int, rounds: int) -> dict[str, Any]:
    """Return the medians of both ways, and the medians of the ratios within a round."""
    direct, relayed = [], []
    with running(alone=True, base_url="/") as lab:
        upstream = {"url": lab.openai_url, "key_env": "LAB_KEY", "extra": ["ignore_eos"]}
        config = {**SETTINGS, "MlxNotebookApp": {"upstreams": {"lab": upstream}}}
        with running(base_url="/", config=config, env={"LAB_KEY": lab.token}) as near:
            # The first round loads the model and opens connections.
            for number in range(rounds + 1):
                ways = [(lab, MODEL, direct), (near, f"lab:{MODEL}", relayed)]
                for server, model, found in ways if number % 2 else ways[::-1]:
                    replies = asyncio.run(burst(server, model, streams, tokens))
                    if number:
                        found.append(figures(replies, tokens))
    pairs = list(zip(direct, relayed, strict=True))
    return {
        "streams": streams,
        "tokens": tokens,
        "rounds": rounds,
        "first_direct": statistics.median(one for one, _ in direct),
        "first_relayed": statistics.median(one for one, _ in relayed),
        "first_added": statistics.median(b[0] - a[0] for a, b in pairs),
        "rate_direct": statistics.median(rate for _, rate in direct),
        "rate_relayed": statistics.median(rate for _, rate in relayed),
        "rate_ratio": statistics.median(b[1] / a[1] for a, b in pairs),
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.workloads.upstreams", description=__doc__
    )
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    results = [measure(streams, options.tokens, options.rounds) for streams in options.streams]
    lines = [
        "| streams | first token, ms | through an upstream, ms | added, ms | tokens a second "
        "| through an upstream | ratio |",
        "|---:|---:|---:|---:|---:|---:|---:|",
        *(
            f"| {r['streams']} | {1000 * r['first_direct']:.1f} | {1000 * r['first_relayed']:.1f} "
            f"| {1000 * r['first_added']:.1f} | {r['rate_direct']:.0f} | {r['rate_relayed']:.0f} "
            f"| {r['rate_ratio']:.2f} |"
            for r in results
        ),
    ]
    text = "\n".join(lines) + "\n"
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "upstreams.json").write_text(json.dumps(results, indent=1) + "\n")
    (options.out / "upstreams.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
