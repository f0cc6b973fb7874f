"""The tables and the plot: `python -m benchmarks.comparison.report RESULTS.json` rewrites them."""

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from benchmarks.comparison import sections
from benchmarks.harness.contenders import OURS, RAW_BATCH, RAW_STREAM, RAW_WIDE, ROOT
from benchmarks.harness.engine_alone import ENGINE

_BEGIN, _END = "<!-- results -->", "<!-- end of results -->"
_COLOURS = {
    RAW_STREAM: "#9aa0a6",
    RAW_BATCH: "#5f6368",
    RAW_WIDE: "#3c4043",
    OURS: "#d9480f",
    ENGINE: "#f59f00",
    "mlx_lm.server": "#1c7ed6",
    "mlx_vlm.server": "#2b8a3e",
    "vllm-mlx": "#862e9c",
}


def percentiles(seconds: list[float]) -> dict[str, float]:
    """Return the count, and the median, 99th percentile and maximum in milliseconds."""
    ordered = sorted(1000 * s for s in seconds)
    if not ordered:
        return {"count": 0}
    return {
        "count": len(ordered),
        "p50": round(statistics.median(ordered), 2),
        "p99": round(ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], 2),
        "max": round(ordered[-1], 2),
    }


def _names(bursts: list[dict[str, Any]]) -> list[str]:
    order = [*_COLOURS]
    return sorted({b["contender"] for b in bursts}, key=order.index)


def _of(bursts: list[dict[str, Any]], name: str, level: int, key: str) -> list[float]:
    return [
        b[key]
        for b in bursts
        if b["contender"] == name and b["streams"] == level and b.get(key) is not None
    ]


def _raw(bursts: list[dict[str, Any]], level: int) -> str | None:
    """Return the name of raw mlx-lm's fastest loop among the bursts of one round.

    It is `stream_generate` for one stream. For more it is `BatchGenerator`, with its default sizes
    or wide, whichever has the larger total.
    """
    names = [RAW_STREAM] if level == 1 else [RAW_BATCH, RAW_WIDE]
    totals = {n: statistics.median(t) for n in names if (t := _of(bursts, n, level, "total"))}
    return max(totals, key=lambda name: totals[name]) if totals else None


def _ratio(bursts: list[dict[str, Any]], name: str, level: int, key: str) -> float | None:
    """Return the ratio to raw mlx-lm in each round, so that a slow round affects both."""
    ratios = []
    for number in {b["round"] for b in bursts}:
        here = [b for b in bursts if b["round"] == number]
        raw = _raw(here, level)
        mine, base = _of(here, name, level, key), _of(here, raw, level, key) if raw else []
        if mine and base:
            ratios.append(statistics.median(mine) / statistics.median(base))
    return statistics.median(ratios) if ratios else None


def _cell(values: list[float], ratio: float | None, scale: float = 1.0) -> str:
    if not values:
        return "-"
    digits = 1 if scale * statistics.median(values) < 20 else 0
    text = f"{scale * statistics.median(values):.{digits}f}"
    if len(values) > 1:
        text += f" ({scale * min(values):.{digits}f}-{scale * max(values):.{digits}f})"
    return text + (f", **{ratio:.2f}**" if ratio else "")


def _table(bursts: list[dict[str, Any]], levels: list[int], key: str, ratios: bool) -> list[str]:
    scale = 1000.0 if key.startswith("first") else 1.0
    lines = [
        "| | " + " | ".join(f"{n} stream{'s' if n > 1 else ''}" for n in levels) + " |",
        "|---|" + "---:|" * len(levels),
    ]
    for name in _names(bursts):
        cells = []
        for level in levels:
            asked = bool(_of(bursts, name, level, "round"))
            ratio = _ratio(bursts, name, level, key) if ratios else None
            values = _of(bursts, name, level, key)
            cells.append(_cell(values, ratio, scale) if asked else "")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def render_bursts(bursts: list[dict[str, Any]]) -> list[str]:
    """Return the tables of one table's bursts, as lines of Markdown."""
    levels = sorted({b["streams"] for b in bursts})
    lines: list[str] = []
    for title, key, ratios in (
        ("Tokens per second of all streams together, prompts included:", "total", True),
        ("Tokens per second of one stream, from its first token on:", "stream", True),
        ("Milliseconds to the first token, median stream:", "first", True),
        (
            "CPU milliseconds per token, prompts included, all processes of a contender:",
            "cpu",
            False,
        ),
    ):
        lines += ["", title, "", *_table(bursts, levels, key, ratios=ratios)]
    return lines


def render_short(bursts: list[dict[str, Any]]) -> list[str]:
    """Return the list of bursts in which streams failed, as lines of Markdown."""
    short = [b for b in bursts if b["failed"]]
    if not short:
        return []
    return [
        *("", "Streams that failed or fell short:", ""),
        *(
            f"- {b['contender']}, {b['streams']} streams: {b['failed']}"
            + (f" ({b['errors'][0]})" if b["errors"] else "")
            for b in short
        ),
    ]


def render_head(results: dict[str, Any]) -> str:
    """Return the sentences about the machine, the model and the way of counting."""
    settings, machine = results["settings"], results["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    return (
        f"{results['date']}, {machine['cores']} cores, {machine['system']}, "
        f"{machine.get('card') or 'no GPU'}; Python {machine['python']}, {versions}. "
        f"Model `{settings['model']}`, prompts of about {settings['prompt_tokens']} tokens, "
        f"{settings['tokens']} tokens generated per stream. Median of the rounds "
        "(lowest-highest), in bold the ratio to raw mlx-lm in the same round (`stream_generate` "
        "for one stream; for more the faster of `BatchGenerator` with its default sizes and with "
        "room for all streams at once), median of the rounds."
    )


def render_rest(results: dict[str, Any]) -> list[str]:
    """Return the scenarios and what is missing, as lines of Markdown."""
    lines = sections.render(results.get("scenarios", []))
    if results["failures"]:
        lines += ["", "### What did not run", ""]
        lines += [
            f"- {what}: {why.strip().splitlines()[-1]}" for what, why in results["failures"].items()
        ]
    if results.get("notes"):
        lines += ["", "### What is incomplete", "", *(f"- {note}" for note in results["notes"])]
    return lines


def render(results: dict[str, Any]) -> str:
    """Return the whole report as Markdown."""
    lines = [render_head(results)]
    for table in dict.fromkeys(b["table"] for b in results["bursts"]):
        bursts = [b for b in results["bursts"] if b["table"] == table]
        lines += ["", f"### {table[0].upper()}{table[1:]}", *render_bursts(bursts)]
        idle = results.get("idle", {}).get(table, {})
        if idle:
            lines += ["", "Idle after the warm-up:", "", "| | % of a core | memory, MB |"]
            lines += ["|---|---:|---:|"]
            lines += [
                f"| {name} | {use['cpu_percent']:.1f} | {use['memory'] / 1e6:.0f} |"
                for name, use in idle.items()
            ]
        lines += render_short(bursts)
    if loop := results.get("event_loop"):
        lines += [
            "",
            "### The Jupyter server under load",
            "",
            f"`GET api/kernels` on the server that runs {loop['streams']} streams, in ms:",
            "",
            "| | answers | p50 | p99 | worst |",
            "|---|---:|---:|---:|---:|",
        ]
        lines += [
            f"| {title} | {p['count']} | {p.get('p50')} | {p.get('p99')} | {p.get('max')} |"
            for title, p in (("idle", loop["idle"]), ("under load", loop["loaded"]))
        ]
    return "\n".join([*lines, *render_rest(results)]) + "\n"


def plot(results: dict[str, Any], path: Path) -> None:
    """Draw total speed and time to first token by number of streams, with one column per table."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot, ticker

    tables = list(dict.fromkeys(b["table"] for b in results["bursts"]))
    if not tables:
        return
    figure, axes = pyplot.subplots(
        2, len(tables), figsize=(6.4 * len(tables), 7.2), squeeze=False, layout="constrained"
    )
    for column, table in enumerate(tables):
        bursts = [b for b in results["bursts"] if b["table"] == table]
        levels = sorted({b["streams"] for b in bursts})
        names = _names(bursts)
        width = 0.84 / len(names)
        for row, (key, scale) in enumerate([("total", 1.0), ("first", 1000.0)]):
            axis = axes[row][column]
            for place, name in enumerate(names):
                for position, level in enumerate(levels):
                    values = [scale * v for v in _of(bursts, name, level, key)]
                    if not values:
                        continue
                    middle = statistics.median(values)
                    x = position + (place - (len(names) - 1) / 2) * width
                    axis.bar(
                        x, middle, width * 0.92, color=_COLOURS[name],
                        label=name if name not in axis.get_legend_handles_labels()[1] else None,
                    )  # fmt: skip
                    spread = [[middle - min(values)], [max(values) - middle]]
                    axis.errorbar(x, middle, spread, color="black", linewidth=0.8, capsize=1.5)
            axis.set_xticks(range(len(levels)), [str(level) for level in levels])
            axis.set_xlabel("streams")
            axis.spines[["top", "right"]].set_visible(False)
            axis.grid(axis="y", alpha=0.25)
            axis.set_axisbelow(True)
        axes[0][column].set_title(table)
        axes[0][column].set_ylabel("tokens/s, all streams together")
        axes[1][column].set_ylabel("ms to first token (log scale)")
        axes[1][column].set_yscale("log")
        axes[1][column].yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axes[1][column].yaxis.set_major_formatter(ticker.FormatStrFormatter("%d"))
        axes[1][column].yaxis.set_minor_formatter(ticker.NullFormatter())
        axes[0][column].legend(fontsize=8, frameon=False, loc="upper left")
    machine = results["machine"]
    figure.suptitle(
        f"{results['settings']['model']}, {machine['cores']} cores, {machine['system']}, "
        f"{results['date']}: median, lowest and highest round",
        fontsize=10,
    )
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def write(results: dict[str, Any], folder: Path) -> str:
    """Write `serving.md` and `serving.png` into `folder`; return the Markdown."""
    text = render(results)
    (folder / "serving.md").write_text(text)
    plot(results, folder / "serving.png")
    return text


def publish(text: str, readme: Path) -> None:
    """Replace the text between the result marks of the README.

    Raises `ValueError` if the marks are missing.
    """
    before, begin, rest = readme.read_text().partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{readme.name} needs the lines {_BEGIN} and {_END}")
    readme.write_text(f"{before}{begin}\n{text}{end}{after}")


def main() -> None:
    """Write the reports of a JSON file again. `--publish` puts them into the README."""
    source = Path(sys.argv[1])
    text = write(json.loads(source.read_text()), source.parent)
    if "--publish" in sys.argv[2:]:
        publish(text, ROOT / "benchmarks" / "README.md")
    print(text)


if __name__ == "__main__":
    main()
