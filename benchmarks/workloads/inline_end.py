"""`python -m benchmarks.workloads.inline_end`: how soon a key ends a completion in the engine.

It cancels completions of a cell of 30 lines at random times, while their prompt is computed and
while they are written. A command behind the cancellation is answered at the next step: then nothing
of the completion is left in the engine. On a machine that does other work too, the engine's
processor time says more than the clock.
"""

import argparse
import random
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.harness.contenders import ROOT
from benchmarks.models.prepare import prepare_model
from benchmarks.models.shapes import NAMES
from benchmarks.workloads.inline import CELL, quantiles, shown_times
from mlx_notebook.protocol import Cancel, FillPrompt, Generate, Load, Loaded, Pin, Pinned, Sampling
from tests.engine.process import EngineProcess


def ended(engine: EngineProcess, model: Path, at: int, seconds: float) -> tuple[float, float]:
    """End a completion `seconds` after it was asked for.

    Return the seconds until it has ended, and the engine's processor time meanwhile.
    """
    id = f"inline-{at}"
    # Each prompt begins in its own way, so that all of it is computed.
    prompt = FillPrompt(prefix=f"# {at}\n{CELL}", suffix="", language="python")
    sampling = Sampling(temperature=0.0, max_tokens=512)
    command = Generate(
        id=id, model="m", path=str(model), prompt=prompt, sampling=sampling, urgent=True
    )
    engine.send(command)
    time.sleep(seconds)
    used, began = processor_seconds(engine), time.perf_counter()
    engine.send(Cancel(id))
    engine.send(Pin(id=f"pin-{at}", model="m", pinned=True))
    engine.wait(lambda event: isinstance(event, Pinned) and event.id == f"pin-{at}")
    return time.perf_counter() - began, processor_seconds(engine) - used


def processor_seconds(engine: EngineProcess) -> float:
    """Return the processor time of all threads of the engine so far."""
    times = psutil.Process(engine.process.pid).cpu_times()
    return float(times.user + times.system)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.workloads.inline_end", description=__doc__
    )
    tiny = str(ROOT / "mlx_notebook" / "demo_models" / "tiny-chat")
    parser.add_argument("--model", default=tiny, help=f"a folder, or one of {', '.join(NAMES)}")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=1.5, help="the latest key")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mlx-notebook-inline-") as folder:
        model = Path(options.model)
        if options.model in NAMES:
            model = Path(folder) / options.model
            prepare_model(options.model, model, "float32")
        engine = EngineProcess()
        try:
            engine.send(Load(id="load", model="m", path=str(model)))
            engine.wait(lambda event: isinstance(event, Loaded), 600)
            for at in range(3):  # they warm it up, and the speed of prefill is measured
                ended(engine, model, at, options.seconds)
            chance = random.Random(0)
            after = [options.seconds * chance.random() for _ in range(options.rounds)]
            times = [ended(engine, model, at, seconds) for at, seconds in enumerate(after, 3)]
        finally:
            engine.process.kill()
            engine.process.wait()
    for name, at in (("by the clock", 0), ("processor time", 1)):
        figures = quantiles([each[at] for each in times])
        print(f"ended after the key, {name}, p50 / p95, ms: {shown_times(figures)}")


if __name__ == "__main__":
    main()
