"""`python -m benchmarks.engine.speculative`: the gain of speculative decoding for a single request.

One engine has the same model several times: plain, with prompt lookup, and with a draft model.
Requests are greedy and interleaved. Ratios to the plain model are taken within a round, and every
text is compared with that of the plain model.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.harness.contenders import ROOT
from benchmarks.harness.load import make_prompts
from benchmarks.models.prepare import prepare_model
from mlx_notebook.protocol import ChatPrompt, Done, Generate, ModelOptions, Sampling, Text
from tests.engine.process import EngineProcess, running


class Timed:
    """One way to load the model."""

    def __init__(self, name: str, options: ModelOptions):
        self.name, self.options = name, options


def run(
    engine: EngineProcess, way: Timed, model: Path, number: str, text: str, tokens: int
) -> tuple[float, str]:
    """Return tokens per second from the first token on, and the text."""
    request = f"{way.name} {number}"
    engine.send(
        Generate(
            id=request,
            model=way.name,
            path=str(model),
            options=way.options,
            prompt=ChatPrompt(messages=[{"role": "user", "content": text}]),
            sampling=Sampling(max_tokens=tokens, temperature=0.0, ignore_eos=True),
        )
    )
    engine.wait(lambda event: isinstance(event, Text) and event.id == request)
    began = time.perf_counter()
    (end,) = engine.finish(request)
    if not isinstance(end, Done):
        raise RuntimeError(end.message)
    return (tokens - 1) / (time.perf_counter() - began), engine.text(request)


def measure(model: Path, draft: Path, rounds: int, tokens: int) -> list[dict[str, Any]]:
    """Return one row of figures for each text and way."""
    ways = [
        Timed("plain", ModelOptions(prompt_lookup=0)),
        Timed("prompt lookup", ModelOptions(prompt_lookup=8)),
        Timed("draft: the model itself", ModelOptions(draft=str(model))),
        Timed("draft: its first layer alone", ModelOptions(draft=str(draft))),
    ]
    results = []
    with running(max_resident=len(ways), idle_unload_minutes=0) as engine:
        for kind in ("repetitive", "other"):
            seen: dict[str, list[float]] = {way.name: [] for way in ways}
            same: dict[str, int] = {way.name: 0 for way in ways}
            for number in range(rounds + 1):
                (text,) = make_prompts(model, 1, 60, f"{kind} {number}")
                if kind == "repetitive":
                    text = f"{text} " * 4
                turn = number % len(ways)
                texts = {}
                for way in ways[turn:] + ways[:turn]:
                    label = f"{kind} {number}"
                    rate, texts[way.name] = run(engine, way, model, label, text, tokens)
                    if number:  # the first round loads and compiles
                        seen[way.name].append(rate)
                for name in texts:
                    same[name] += texts[name] == texts["plain"]
            for way in ways:
                pairs = zip(seen[way.name], seen["plain"], strict=True)
                results.append(
                    {
                        "text": kind,
                        "way": way.name,
                        "rate": statistics.median(seen[way.name]),
                        "ratio": statistics.median(mine / plain for mine, plain in pairs),
                        "same": same[way.name],
                        "rounds": rounds + 1,
                    }
                )
    return results


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.engine.speculative", description=__doc__
    )
    parser.add_argument("--model", default=str(ROOT / "mlx_notebook" / "demo_models" / "tiny-chat"))
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=150)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mlx-notebook-speculative-") as folder:
        model, draft = Path(folder) / "model", Path(folder) / "draft"
        prepare_model(options.model, model, "bfloat16")
        shrink(model, draft)
        results = measure(model, draft, options.rounds, options.tokens)
    lines = [
        "| prompt | way | tokens/s | to plain | same text |",
        "|---|---|---:|---:|---:|",
        *(
            f"| {r['text']} | {r['way']} | {r['rate']:.0f} | {r['ratio']:.2f} "
            f"| {r['same']} of {r['rounds']} |"
            for r in results
        ),
    ]
    text = "\n".join(lines) + "\n"
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "speculative.json").write_text(json.dumps(results, indent=1) + "\n")
    (options.out / "speculative.md").write_text(text)
    print(text)


def shrink(model: Path, target: Path) -> None:
    """Write only the model's first layer: a draft model that is fast and often wrong."""
    import shutil

    import mlx.core as mx

    shutil.copytree(model, target)
    (weights,) = target.glob("*.safetensors")
    first = {
        name: array
        for name, array in mx.load(str(weights)).items()
        if ".layers." not in name or ".layers.0." in name
    }
    mx.eval(first)
    weights.unlink()
    mx.save_safetensors(str(weights), first, {"format": "mlx"})
    config = json.loads((target / "config.json").read_text()) | {"num_hidden_layers": 1}
    config.pop("layer_types", None)
    (target / "config.json").write_text(json.dumps(config))


if __name__ == "__main__":
    main()
