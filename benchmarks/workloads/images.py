"""`python -m benchmarks.workloads.images`: the cost of an image that the model has seen before.

Measures the seconds to the first token on a real server: with a new image, in the next turn of that
conversation, and with the same image after another text. In the last case the prompt is computed
again, but the image is neither decoded nor encoded. The model is a Qwen3-VL of random weights, so
large that the image takes most of the time.
"""

import argparse
import asyncio
import base64
import io
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.harness.contenders import ROOT
from benchmarks.harness.running import Running, running
from benchmarks.workloads.agents import first_token

FIRST, NEXT, ELSEWHERE = "a new image", "the next turn", "the image after another text"

# Sizes for `tests.tiny_models.models.tiny_vision`: 41 million parameters.
_SHAPE = {
    "hidden": 512, "layers": 8, "heads": 8, "kv_heads": 4, "feed_forward": 1536,
    "eye": 384, "eye_layers": 6, "eye_heads": 6, "eye_feed_forward": 1536, "patch": 16,
}  # fmt: skip
_MAX_PIXELS = 1024**2


def build(folder: Path) -> None:
    """Write the model."""
    from tests.tiny_models.models import tiny_vision

    tiny_vision(folder, **_SHAPE)
    for name in ("preprocessor_config.json", "video_preprocessor_config.json"):
        file = folder / name
        size = {"shortest_edge": 64**2, "longest_edge": _MAX_PIXELS}
        settings = {**json.loads(file.read_text()), "patch_size": _SHAPE["patch"], "size": size}
        file.write_text(json.dumps(settings))


def prepare(folder: Path) -> None:
    """Write the model in a separate process, so that this one does not load MLX."""
    command = [sys.executable, "-m", "benchmarks.workloads.images", "--build", str(folder)]
    subprocess.run(command, check=True, cwd=ROOT)


def draw(width: int, height: int) -> dict[str, Any]:
    """Return a new random image as a part of a message: soft colours, in JPEG."""
    from PIL import Image

    coarse = (width // 16, height // 16)
    channels = [Image.effect_noise(coarse, 90).resize((width, height)) for _ in "RGB"]
    held = io.BytesIO()
    Image.merge("RGB", channels).save(held, "JPEG", quality=90)
    url = "data:image/jpeg;base64," + base64.b64encode(held.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": url}}


def user_message(*parts: Any) -> dict[str, Any]:
    """Return a user message of texts and images."""
    content = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
    return {"role": "user", "content": content}


async def time_turns(
    live: Running, rounds: int, size: tuple[int, int]
) -> dict[str, list[tuple[float, dict[str, int]]]]:
    """Return the seconds to the first token and the token counts of each round, one image each."""
    seen: dict[str, list[tuple[float, dict[str, int]]]] = {FIRST: [], NEXT: [], ELSEWHERE: []}
    for number in range(-1, rounds):
        image = draw(*size)
        opening = user_message(image, "What does it show?")
        answer = {"role": "assistant", "content": "Colours."}
        first = await first_token(live, messages=[opening])
        following = await first_token(live, messages=[opening, answer, user_message("Which?")])
        third = user_message(f"Number {number}:", image, "And now?")
        other = await first_token(live, messages=[third])
        if number >= 0:  # round -1 compiles
            for title, figures in zip(seen, (first, following, other), strict=True):
                seen[title].append(figures)
    return seen


def summarize(seen: dict[str, list[tuple[float, dict[str, int]]]]) -> dict[str, Any]:
    """Return medians, and the range of the ratios to the new image of the same round."""
    found: dict[str, Any] = {}
    for title, runs in seen.items():
        ratios = [run[0] / new[0] for run, new in zip(runs, seen[FIRST], strict=True)]
        found[title] = {
            "seconds": round(statistics.median(seconds for seconds, _ in runs), 4),
            "ratio": round(statistics.median(ratios), 3),
            "lowest": round(min(ratios), 3),
            "highest": round(max(ratios), 3),
            **runs[-1][1],
        }
    return found


def render(results: dict[str, Any]) -> str:
    """Return the figures as a Markdown table."""
    lines = [
        "| first token | ms | to a new image | prompt | cached |",
        "|---|---:|---:|---:|---:|",
    ]
    for title, one in results.items():
        milliseconds = 1000 * one["seconds"]
        ratio = f"{one['ratio']:.2f} ({one['lowest']:.2f}-{one['highest']:.2f})"
        tokens = f"{one['prompt']} | {one['cached']}"
        lines.append(f"| {title} | {milliseconds:.0f} | {ratio} | {tokens} |")
    return "\n".join(lines) + "\n"


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run all rounds on one server."""
    with tempfile.TemporaryDirectory(prefix="mlx-notebook-images-") as folder:
        work = Path(folder)
        model = work / "model"
        prepare(model)
        async with running(model, work) as live:
            return summarize(await time_turns(live, options.rounds, tuple(options.size)))


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.workloads.images", description=__doc__
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, nargs=2, default=[768, 512], metavar=("W", "H"))
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--build", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.build:
        build(options.build)
        return
    results = asyncio.run(measure(options))
    options.out.mkdir(parents=True, exist_ok=True)
    text = render(results)
    (options.out / "images.json").write_text(json.dumps(results, indent=1) + "\n")
    (options.out / "images.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
