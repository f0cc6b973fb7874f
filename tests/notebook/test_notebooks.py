"""The example notebooks run from top to bottom, and are stored so that one can read them."""

import html
import itertools
import re
from pathlib import Path

import nbformat
import pytest
from nbconvert import HTMLExporter

from notebooks.run import execute, normalise

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
EACH = pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
FIGURES = re.compile(r"\d+ tokens · .*first token after")

# What a run must show, whatever the machine.
SHOWN = {
    "quickstart": ["Your name is Ada.", "The number is 42.", 'add({"a": 17, "b": 25}) gave 42'],
    "tool_use": [
        'average_temperature(city="Oslo") → 6.6',
        'total_rain(city="Rome") → 775',
        'warmest_city(month="March") → Lima',
        "The result is Lima.",
        'average_temperature(city="Paris") → 12.8',
        "failed: ValueError: no city Tokyo in the table",
        'plot_column(column="rain", city="Rome") → Done.',
    ],
    "structured_output": [
        "Person(name='Ada', age=36)",
        "Order(item='soup', quantity=3",
        "  rice  ",
    ],
    "tables": [
        "Eve  rice         7  rice",
        "map: 3 rows in 0 s, 3 of them answered before",
        "Ada  soup         3  large   NaN",
        "size        category",
        "1 failed, because: This model's maximum context length",
        "Ben    The result is 2.",
        "(9, 192)",
        "Plot of 9 texts by their likeness",
    ],
    "vision": [
        "A red circle and a blue square on a white background.",
        'save(colour="green", shape="triangle") → Saved.',
        "[('green', 'triangle')]",
        "Nice to meet you, Ada.",
    ],
    "fine_tuning": [
        "160 examples to learn, 40 held out",
        "done, step 3 of 3",
        "FinetunedModel(name='tiny-chat+town'",
        "town-chat",
    ],
    "openai_clients": ["Your name is Ada.", "get_weather {'city': 'Paris'} gives sunny in Paris"],
    "model_management": [
        "tiny-chat is loaded",
        "capabilities:  chat, tools",
        "It is pinned",
        "are free again",
        "[]",
    ],
    "compare_and_evaluate": [
        "tiny-chat, temperature=2, seed=1:",
        "Your name is Gina.",
        "1.00 [0.72, 1.00]",
        "Means with their 95 % confidence intervals.",
        "['tiny-chat, temperature=0', 'tiny-chat, temperature=2'] ['regex', 'f1'] 20",
    ],
    "look_inside": [
        "24 tokens · perplexity",
        "Others:",
        "forced by the schema or grammar",
        "tokens were the model's choice",
        "bits  My name is Ada.",
        "'Ad'  'Ad'",
        "20 tokens",
        "of them from the prefix cache",
    ],
    "inspecting_tool_calls": [
        'get_price(item="tea") → 3',
        "<|im_start|>user",
        "<tool_call>",
        "Inspector of mlx-notebook",
    ],
    "agents_with_approval": [
        "refused: files are never deleted here",
        "[('outbox@example.com', 'Lunch')]",
        "('paused', 'nobody is there to allow send_email')",
        "[('outbox@example.com', 'Lunch'), ('ada@example.com', 'Lunch')]",
        "'The result is 12 apples.'",
    ],
}

# What takes minutes is run in a shorter form here: a text of a cell, and what takes its place.
SHORTER = {"fine_tuning": ("steps = 200", "steps = 3")}


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def shown_by(cell):
    """Data of what a stored cell displays, and the text of what it prints."""
    data = [dict(output.data) for output in cell.outputs if "data" in output]
    return data, "".join(output.get("text", "") for output in cell.outputs)


def is_chat(cell):
    return cell.source.startswith("%%chat") or "show=True" in cell.source


def answers(data):
    """What a model said, of all that cells display: text below which its figures stand."""
    texts = [(output["text/plain"], "text/markdown" in output) for output in data]
    return [
        text
        for (text, markdown), (below, _) in itertools.pairwise(texts)
        if markdown and FIGURES.search(below)
    ]


def calls(data):
    return [
        output["text/plain"]
        for output in data
        if output.get("text/html", "").startswith("<details")
    ]


def assert_reads_well(cell):
    """Each chat cell shows its calls, an answer and its figures, as Markdown and as text."""
    assert not [output for output in cell.outputs if output.output_type == "error"], cell.source
    assert not [output for output in cell.outputs if output.get("name") == "stderr"], cell.source
    data, _ = shown_by(cell)
    for output in data:
        assert not any("widget" in kind for kind in output)
        assert output["text/plain"].strip()
    if is_chat(cell):
        assert answers(data) or calls(data)
        assert [output for output in data if FIGURES.search(output["text/plain"])]


def shape(cell, data, printed):
    """Which kinds of output there are; loading shows a bar only where it takes its time."""
    if "%mlx load" in cell.source:
        return None
    kinds = [sorted(kind for kind in output if "widget" not in kind) for output in data]
    return bool(printed), [kind for kind in kinds if kind]


@EACH
def test_it_is_stored_with_its_outputs_and_without_traces_of_a_machine(file):
    text = file.read_text(encoding="utf-8")
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert not re.search(r"127\.0\.0\.1|\b[0-9a-f]{32,}\b|/home/|/root/|/tmp/|/Users/", text)
    for count, cell in enumerate(code_cells(notebook), start=1):
        assert cell.execution_count == count, cell.source
        assert_reads_well(cell)
    everything = "\n".join(cell.source for cell in notebook.cells)
    assert everything.startswith("# ")
    assert "pip install" in notebook.cells[0].source
    assert len(re.findall(r'^model = "', everything, re.MULTILINE)) == 1, "one line to change"


@EACH
def test_every_answer_and_every_call_is_in_its_web_page(file):
    page, _ = HTMLExporter().from_filename(str(file))
    seen = letters(html.unescape(re.sub(r"<[^>]+>", "", page)))
    data = [
        output
        for cell in code_cells(nbformat.read(file, as_version=4))
        for output in shown_by(cell)[0]
    ]
    for text in [*answers(data), *calls(data)]:
        for line in text.splitlines():
            assert letters("" if line.startswith("```") else line) in seen, text
    without = {
        *("structured_output", "openai_clients", "compare_and_evaluate", "tables", "fine_tuning"),
    }
    assert answers(data) or file.stem in without
    assert calls(data) or file.stem not in ("tool_use", "inspecting_tool_calls")


def letters(text):
    """A text without what markup and typography change."""
    return re.sub(r"[\W_]+", "", text)


@EACH
def test_it_runs_below_a_jupyter_server(file, server):
    everything = ""
    for model in server.status()["models"]:  # another notebook's
        server.request("mlx/models/unload", {"model": model["id"]})
    kernel = server.kernel()
    try:
        for cell in code_cells(nbformat.read(file, as_version=4)):
            shortened = SHORTER.get(file.stem, ("", ""))
            ran = kernel.run(cell.source.replace(*shortened))
            assert ran.stderr == ""
            assert server.token not in ran.stdout
            assert shape(cell, ran.outputs, ran.stdout) == shape(cell, *shown_by(cell)), (
                f"stored outputs are old: run `python notebooks/run.py`: {cell.source}"
            )
            everything += ran.stdout + "".join(o.get("text/plain", "") for o in ran.outputs)
    finally:
        kernel.stop()
    for text in SHOWN[file.stem]:
        assert text in everything


ANSWERS = [["y"], ["n"], ["no"], ["a"], ["", "y"], ["what?", "n not now"], [""] * 10]


@pytest.mark.parametrize("answers", ANSWERS, ids=", ".join)
def test_the_agents_go_on_however_a_person_answers(kernel, answers):
    notebook = nbformat.read(FOLDER / "agents_with_approval.ipynb", as_version=4)
    asked = 0
    for cell in code_cells(notebook):
        ran = kernel.run(cell.source, answers=answers)
        asked += len(ran.asked)
    allowed = answers[-1] in ("y", "a")
    assert asked == len(answers)
    paused = answers == [""] * 10
    lunch = [["ada@example.com", "Lunch"]] if allowed or paused else []
    assert kernel.value("sent") == [["outbox@example.com", "Lunch"], *lunch]


@pytest.mark.slow
def test_the_quickstart_runs_where_there_is_no_jupyter_server(env):
    file = FOLDER / "quickstart.ipynb"
    stored = nbformat.read(file, as_version=4)
    notebook = normalise(execute(nbformat.read(file, as_version=4), FOLDER, env))
    for cell, before in zip(code_cells(notebook), code_cells(stored), strict=True):
        assert_reads_well(cell)
        assert shape(cell, *shown_by(cell)) == shape(before, *shown_by(before))
