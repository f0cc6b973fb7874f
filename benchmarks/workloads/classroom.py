"""`python -m benchmarks.workloads.classroom`: fifty users of one server, one of them greedy.

Each user has a token and one conversation at a time. Three phases follow each other: a class that
thinks between its questions, the same class beside a user with many requests at once, and everyone
asking without a pause. Exits with 1 if a request ended in anything but its last token or a 429, if
one user had more than a fair part while all asked, or if memory grew.
"""

import argparse
import asyncio
import datetime
import json
import os
import platform
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.harness.client import Endpoint, Reply, post
from benchmarks.harness.contenders import ROOT
from tests.server.running import RunningServer, running
from tests.server.users.identities import token_of

GREEDY = "greedy"
# The phases, each with its part of the time.
THINKING, BESIDE, CROWDED = "a class", "beside a greedy user", "everyone without a pause"
PARTS = {THINKING: 0.25, BESIDE: 0.5, CROWDED: 0.25}
_GREEDY_REQUESTS = 20
_MOST_TURNS = 4
_LIMIT_SECONDS = 300.0
_SAMPLE_SECONDS = 1.0
# The goal for Jain's index while everyone asks.
LEAST_FAIRNESS = 0.95
# How much memory may grow between the second and the last quarter of the time.
_MOST_GROWTH = {"server": 40e6, "engine": 100e6}
_QUESTIONS = (
    "What is a list in Python?",
    "Explain what the word average means, in two sentences.",
    "Write a short note to a friend about the weather of today.",
    "How do I add two numbers? Show each step.",
)


@dataclass
class Outcome:
    """What became of one request. `first` is the time to the first token in seconds.

    `within` are the tokens that arrived before the end of the phase. What is in flight then is
    answered without others, and would count as the greedy user's.
    """

    user: str
    phase: str
    fate: str
    first: float | None
    tokens: int
    within: float = 0.0


@dataclass
class Classroom:
    """The users of one server, and what became of their requests."""

    server: RunningServer
    students: int
    think: float
    seed: int
    outcomes: list[Outcome] = field(default_factory=list)
    memory: list[dict[str, float]] = field(default_factory=list)

    async def run(self, seconds: float) -> None:
        """Run the phases for so many seconds together."""
        sampling = asyncio.create_task(self._sample())
        names = [f"student-{number:02}" for number in range(self.students)]
        for phase, part in PARTS.items():
            ends = time.perf_counter() + part * seconds
            think = 0.0 if phase == CROWDED else self.think
            async with asyncio.TaskGroup() as group:
                for name in names:
                    group.create_task(self._user(name, phase, ends, think))
                for number in range(_GREEDY_REQUESTS if phase != THINKING else 0):
                    group.create_task(self._user(GREEDY, phase, ends, 0.0, number))
        sampling.cancel()

    async def _user(
        self, name: str, phase: str, ends: float, think: float, number: int = 0
    ) -> None:
        """Ask one question after the other, in conversations of a few turns."""
        choose = random.Random(f"{self.seed} {name} {phase} {number}")
        endpoint = Endpoint(self.server.port, "/nb/v1/chat/completions", token_of(name))
        messages: list[dict[str, str]] = []
        await asyncio.sleep(choose.uniform(0, think))
        while time.perf_counter() < ends:
            if len(messages) >= 2 * choose.randint(1, _MOST_TURNS):
                messages = []
            question = f"{choose.choice(_QUESTIONS)} ({name}, {choose.randrange(1000)})"
            messages.append({"role": "user", "content": question})
            body = {
                "model": "tiny-chat",
                "messages": messages,
                "max_tokens": choose.randint(16, 48),
                "ignore_eos": True,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
            try:
                reply = await post(endpoint, body, timeout=_LIMIT_SECONDS)
            except (OSError, TimeoutError) as error:
                self.outcomes.append(Outcome(name, phase, f"lost: {error!r}", None, 0))
                return
            outcome = _outcome(name, phase, reply, ends)
            self.outcomes.append(outcome)
            if outcome.fate == "finished":
                messages.append({"role": "assistant", "content": reply.text})
                pause = choose.expovariate(1 / think) if think else 0.0
            else:
                messages.pop()
                pause = 1.0
            # Nobody thinks beyond the end of the phase.
            await asyncio.sleep(max(0.0, min(pause, ends - time.perf_counter())))

    async def _sample(self) -> None:
        """Record the memory of both processes, and what MLX and the prefix cache take of it.

        `active` is what MLX's arrays take, `kept` what MLX keeps for later ones.
        """
        server = psutil.Process(self.server.process.pid)
        began = time.monotonic()
        while True:
            status = await asyncio.to_thread(self.server.status)
            engine = psutil.Process(status["engine"]["pid"])
            self.memory.append(
                {
                    "seconds": round(time.monotonic() - began, 1),
                    "server": server.memory_info().rss,
                    "engine": engine.memory_info().rss,
                    "active": status["memory"]["active"],
                    "kept": status["memory"]["cache"],
                    "prefixes": status["memory"]["prefixes"],
                }
            )
            await asyncio.sleep(_SAMPLE_SECONDS)


def _outcome(user: str, phase: str, reply: Reply, ends: float) -> Outcome:
    first = None if reply.first is None else reply.first - reply.started
    if reply.status == 200 and reply.error is None:
        tokens = reply.usage.get("completion_tokens", 0)
        reasons = [c["finish_reason"] for e in reply.events for c in e.get("choices") or []]
        whole = reply.complete and tokens and "length" in reasons
        share = sum(at <= ends for at in reply.times) / max(1, len(reply.times))
        fate = "finished" if whole else "cut off"
        return Outcome(user, phase, fate, first, tokens, tokens * share)
    codes = [event["error"]["code"] for event in reply.events if event.get("error")]
    return Outcome(user, phase, f"{reply.status} {' '.join(codes)}".strip(), None, 0)


def is_clear(fate: str) -> bool:
    """Whether a request ended as it should: with its last token, or with a 429 that says why."""
    return fate in ("finished", "429 queue_full", "429 rate_limit_exceeded")


def jain(values: Sequence[float]) -> float:
    """Return Jain's fairness index: 1 if all values are equal, 1/n if one has everything.

    R. Jain, D. Chiu, W. Hawe: A quantitative measure of fairness (1984).
    """
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 0.0


def growth(memory: Sequence[dict[str, float]], of: str) -> float:
    """Return the growth in bytes from the second quarter to the last, by their medians."""
    quarter = len(memory) // 4
    if not quarter:
        return 0.0
    early, late = memory[quarter : 2 * quarter], memory[-quarter:]
    grown = [statistics.median(sample[of] for sample in part) for part in (early, late)]
    return grown[1] - grown[0]


def _figures(outcomes: list[Outcome]) -> dict[str, Any]:
    """Return the figures of one phase."""
    students = [each for each in outcomes if each.user != GREEDY]
    first = sorted(each.first for each in students if each.first is not None)
    tokens: dict[str, float] = {}
    for each in outcomes:
        tokens[each.user] = tokens.get(each.user, 0.0) + each.within
    own = {user: count for user, count in tokens.items() if user != GREEDY}
    typical = statistics.median(own.values()) if own else 0
    return {
        "requests": len(outcomes),
        "fates": dict(Counter(each.fate for each in outcomes).most_common()),
        "first_token": {
            f"p{part}": round(first[min(len(first) - 1, int(part / 100 * len(first)))], 3)
            for part in (50, 95, 99)
        }
        if first
        else {},
        "tokens": sum(each.tokens for each in outcomes),
        "fairness": round(jain(list(tokens.values())), 4),
        "fairness_of_students": round(jain(list(own.values())), 4),
        "greedy_to_median": round(tokens[GREEDY] / max(1.0, typical), 2)
        if GREEDY in tokens
        else None,
    }


async def measure(minutes: float, users: int, think: float, seed: int) -> dict[str, Any]:
    """Run a class on one server. Return the figures, and what went wrong."""
    config = {
        "ServerApp": {"identity_provider_class": "tests.server.users.identities.UserTokens"},
        # A hundred traces of each user would take the whole time to reach their limit.
        "MlxNotebookApp": {"traces_limit": 5, "metrics_users": users},
    }
    with running(config=config, env={"PYTHONPATH": str(ROOT)}) as server:
        server.engine_pid_after_a_request()
        classroom = Classroom(server, users - 1, think, seed)
        began = time.monotonic()
        await classroom.run(60 * minutes)
        took = time.monotonic() - began
        status = server.wait_until_idle()
        usage = {row["user"]: row for row in server.client.get("mlx/usage").json()["users"]}
        log = server.log
    outcomes, memory = classroom.outcomes, classroom.memory
    phases = {
        phase: _figures([each for each in outcomes if each.phase == phase]) for phase in PARTS
    }
    # What MLX keeps for later arrays has a limit of its own, which the first full batch reaches.
    own = [{**sample, "engine": sample["engine"] - sample["kept"]} for sample in memory]
    grown = {name: growth(own, name) for name in ("server", "engine", "prefixes")}
    problems = [f"{each.user}: {each.fate}" for each in outcomes if not is_clear(each.fate)]
    problems += _differences(outcomes, usage)
    if status["engine"]["restarts"]:
        problems.append(f"the engine was restarted {status['engine']['restarts']} times")
    if "Traceback" in log:
        problems.append(f"the log has a traceback: {log[log.index('Traceback') :][:3000]}")
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "machine": {
            "cores": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
            "load": round(os.getloadavg()[2], 1),
        },
        "settings": {"users": users, "think": think, "seconds": round(took), "seed": seed},
        "phases": phases,
        "growth": grown,
        "problems": problems,
        "memory": memory,
    }


def _differences(outcomes: list[Outcome], usage: dict[str, Any]) -> list[str]:
    """Return where the server's own count of a user's requests or tokens is another."""
    asked, tokens = Counter[str](), Counter[str]()
    for each in outcomes:
        asked[each.user] += not each.fate.startswith("429")
        tokens[each.user] += each.tokens
    counted = {name: (row["requests"], row["generated_tokens"]) for name, row in usage.items()}
    return [
        f"{name}: {asked[name]} requests and {tokens[name]} tokens, but the server counted "
        f"{counted.get(name)}"
        for name in asked
        if counted.get(name) != (asked[name], tokens[name])
    ]


def failures(found: dict[str, Any]) -> list[str]:
    """Return all that is not as it should be."""
    failed = list(found["problems"])
    fairness = found["phases"][CROWDED]["fairness"]
    if fairness < LEAST_FAIRNESS:
        failed.append(f"Jain's index is {fairness} while everyone asks")
    cached = max(0.0, found["growth"]["prefixes"])
    for name, most in _MOST_GROWTH.items():
        grown = found["growth"][name] - (cached if name == "engine" else 0.0)
        if grown > most:
            failed.append(f"the {name} grew by {grown / 1e6:.0f} MB")
    return failed


def render(found: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    lines = [
        "| phase | requests | of them 429 | first token p50 | p95 | p99 | Jain's index, students "
        "| with the greedy user | greedy user's tokens to a student's |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for phase, of in found["phases"].items():
        refused = sum(n for fate, n in of["fates"].items() if fate.startswith("429"))
        times = " | ".join(f"{of['first_token'].get(p, 0):.2f} s" for p in ("p50", "p95", "p99"))
        greedy = of["greedy_to_median"]
        # With time left over, the greedy user takes it, as it should.
        fairness = f"{of['fairness']:.3f}" if phase == CROWDED else ""
        lines.append(
            f"| {phase} | {of['requests']:,} | {refused:,} | {times} "
            f"| {of['fairness_of_students']:.3f} | {fairness} | "
            f"{'' if greedy is None else f'{greedy:.1f}'} |"
        )
    settings, machine, grown = found["settings"], found["machine"], found["growth"]
    lost = len(found["problems"])
    lines += [
        "",
        f"{found['date']}, {machine['cores']} cores ({machine['system']}), load {machine['load']} "
        f"of all work on the machine; {settings['users']} users, {settings['think']:g} s between "
        f"an answer and the next question, {settings['seconds']} s, seed {settings['seed']}. The "
        f"greedy user keeps {_GREEDY_REQUESTS} requests in flight. Requests that were lost or cut "
        f"off, or that the server counted otherwise: {lost}. From the second to the last quarter "
        f"of the time the memory of the server changed by {grown['server'] / 1e6:.1f} MB and "
        f"that of the engine by {grown['engine'] / 1e6:.1f} MB, without what MLX keeps for later "
        f"arrays; the prefix cache took {grown['prefixes'] / 1e6:.1f} MB of it.",
        "",
        "![Memory of the server and the engine over time](classroom.png)",
        "",
    ]
    return "\n".join(lines)


def plot(found: dict[str, Any], path: Path) -> None:
    """Draw the memory over time."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(7.2, 3.2), layout="constrained")
    times = [sample["seconds"] for sample in found["memory"]]
    for name, colour in (("engine", "#d9480f"), ("kept", "#f59f00"), ("server", "#1c7ed6")):
        label = "of it: kept by MLX for later arrays" if name == "kept" else name
        values = [sample[name] / 1e6 for sample in found["memory"]]
        axis.plot(times, values, color=colour, label=label)
    axis.set_xlabel("seconds")
    axis.set_ylabel("MB in memory")
    axis.set_ylim(bottom=0)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.workloads.classroom", description=__doc__
    )
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--think", type=float, default=15.0, help="mean seconds between questions")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    found = asyncio.run(measure(options.minutes, options.users, options.think, options.seed))
    options.out.mkdir(parents=True, exist_ok=True)
    # One sample in ten is enough to draw it again.
    stored = {**found, "memory": found["memory"][::10]}
    (options.out / "classroom.json").write_text(json.dumps(stored, indent=1) + "\n")
    (options.out / "classroom.md").write_text(render(found))
    plot(found, options.out / "classroom.png")
    print(render(found))
    if failed := failures(found):
        sys.exit("failed:\n" + "\n".join(failed[:50]))


if __name__ == "__main__":
    main()
