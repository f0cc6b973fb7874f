"""`python -m benchmarks.engine.profile_engine`: profile the engine and the server under load.

Needs py-spy (in the `bench` extra) and the right to trace other processes: root, or
`kernel.yama.ptrace_scope=0`. Writes folded stacks for flame graphs to the results folder.
"""

import argparse
import asyncio
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.harness.contenders import ROOT, Contender, Setting
from benchmarks.harness.engine_alone import EngineAlone
from benchmarks.harness.load import make_prompts
from benchmarks.harness.processes import find_blas
from benchmarks.harness.running import running
from benchmarks.models.prepare import prepare_model

_LINE = re.compile(r":\d+\)$")


def summarise(folded: str, rows: int = 25) -> str:
    """Return the functions of each busy thread, with their inclusive and own share of its samples.

    `folded` is in py-spy's raw format: lines of `frame;frame;frame count`, outermost frame first.
    """
    threads: dict[str, Counter[str]] = {}
    own: dict[str, Counter[str]] = {}
    sizes: Counter[str] = Counter()
    for line in folded.splitlines():
        stack, _, number = line.rpartition(" ")
        frames = [_LINE.sub(")", frame) for frame in stack.split(";")]
        named = frames[0].startswith("thread")
        thread = re.sub(r"\(0x[0-9A-Fa-f]+\)", "", frames[0]) if named else "all threads"
        frames = frames[1:] if named else frames
        if not frames:
            continue
        sizes[thread] += int(number)
        threads.setdefault(thread, Counter()).update(dict.fromkeys(frames, int(number)))
        own.setdefault(thread, Counter())[frames[-1]] += int(number)
    lines = []
    for thread, size in sizes.most_common(4):
        lines += [
            f"#### {thread} ({size} samples)",
            "",
            "| with callees | own | |",
            "|---:|---:|---|",
        ]
        for frame, count in threads[thread].most_common(rows):
            share = own[thread][frame] / size
            lines.append(f"| {count / size:.0%} | {share:.0%} | `{frame}` |")
        lines.append("")
    return "\n".join(lines)


def record(pid: int, target: Path, seconds: int, native: bool) -> str:
    """Run py-spy on a process and return the folded stacks. Raise `SystemExit` if it fails."""
    command = [
        str(Path(sys.executable).with_name("py-spy")), "record", "--pid", str(pid),
        "--duration", str(seconds), "--rate", "200", "--format", "raw", "--threads", "--idle",
        "--output", str(target), *(["--native"] if native else []),
    ]  # fmt: skip
    try:
        spy = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise SystemExit("py-spy is not installed: pip install py-spy") from None
    if spy.returncode or not target.exists():
        raise SystemExit(f"py-spy failed: {spy.stderr.strip()}")
    return target.read_text()


async def profile(
    contender: Contender, pids: dict[str, int], model: Path, options: argparse.Namespace
) -> str:
    """Keep `contender` under load while py-spy samples each process of `pids` in turn."""
    stop = asyncio.Event()

    async def keep_busy() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            prompts = make_prompts(model, options.streams, 200, f"profile {number}")
            await contender.run(prompts, options.tokens)

    load = asyncio.create_task(keep_busy())
    await asyncio.sleep(2)
    parts = []
    for title, pid in pids.items():
        target = options.out / f"profile-{title}.folded"
        folded = await asyncio.to_thread(record, pid, target, options.seconds, options.native)
        parts.append(f"### {title}, {options.streams} streams\n\n{summarise(folded)}")
    stop.set()
    await load
    return "\n".join(parts)


async def measure(options: argparse.Namespace) -> str:
    """Start our server, or the engine alone, and profile it."""
    with tempfile.TemporaryDirectory(prefix="mlx-notebook-profile-") as folder:
        work = Path(folder)
        model = work / "model"
        prepare_model(options.model, model, "float32")
        if options.alone:
            engine = EngineAlone(Setting(model, find_blas(), work, work))
            await engine.start()
            try:
                return await profile(engine, {"engine": engine.service.pid}, model, options)
            finally:
                engine.stop()
        async with running(model, work) as live:
            pid = (await live.status())["engine"]["pid"]
            pids = {"engine": pid, "server": live.server.service.pid}
            return await profile(live.server, pids, model, options)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.engine.profile_engine", description=__doc__
    )
    parser.add_argument("--model", default=str(ROOT / "mlx_notebook" / "demo_models" / "tiny-chat"))
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--alone", action="store_true", help="the engine without the server")
    parser.add_argument("--seconds", type=int, default=10, help="seconds to sample each process")
    parser.add_argument("--native", action="store_true", help="C++ frames too (slower)")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "benchmarks")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    text = asyncio.run(measure(options))
    (options.out / "profile.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
