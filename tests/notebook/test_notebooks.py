"""The example notebooks run from top to bottom, and are stored so that one can read them."""

import re
from pathlib import Path

import nbformat
import pytest

from notebooks.run import execute, normalise

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
EACH = pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def assert_reads_well(cell):
    """Each chat cell shows an answer and its figures, as Markdown and as text; nothing failed."""
    outputs = cell.get("outputs", [])
    assert not [output for output in outputs if output.output_type == "error"], cell.source
    assert not [output for output in outputs if output.get("name") == "stderr"], cell.source
    if cell.source.startswith("%%chat"):
        answer, figures = (output.data for output in outputs)
        for data in (answer, figures):
            assert set(data) == {"text/markdown", "text/plain"}
            assert data["text/plain"].strip()
        assert re.search(r"\d+ tokens · .*first token after", figures["text/plain"])


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
    assert "\n".join(cell.source for cell in notebook.cells).startswith("# ")


@EACH
def test_it_runs_where_there_is_no_jupyter_server(file, env):
    stored = nbformat.read(file, as_version=4)
    notebook = normalise(execute(nbformat.read(file, as_version=4), FOLDER, env))
    for cell, before in zip(code_cells(notebook), code_cells(stored), strict=True):
        assert_reads_well(cell)
        shapes = [[o.output_type for o in c.outputs] for c in (cell, before)]
        assert shapes[0] == shapes[1], "stored outputs are old: run `python notebooks/run.py`"


@EACH
def test_it_runs_below_a_jupyter_server(file, server):
    kernel = server.kernel()
    try:
        for cell in code_cells(nbformat.read(file, as_version=4)):
            shown = kernel.run(cell.source)
            assert shown.stderr == ""
            assert server.token not in shown.stdout
            if cell.source.startswith("%%chat"):
                assert len(shown.outputs) == 2
                assert shown.outputs[0]["text/plain"].strip()
    finally:
        kernel.stop()
