"""Run the example notebooks in real kernels and store their outputs.

    python notebooks/run.py                 every notebook of this folder
    python notebooks/run.py quickstart.ipynb
    python notebooks/run.py --check         run them without storing the outputs

Outputs that depend on the machine are normalised, so that a stored notebook contains neither an
address of the machine that ran it nor a token.
"""

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

HERE = Path(__file__).parent
_ADDRESS = re.compile(r"https?://(?:127\.0\.0\.1|localhost)(?::\d+)?/\S*? \([^)]*\)")
# A panel's table, and the style that hides it while the live panel is in the output below.
_STAND_IN = re.compile(r'<style>.*?</style>\s*<div data-mlx-saved="\w+">(.*)</div>', re.DOTALL)
_WIDGET = "application/vnd.jupyter.widget-view+json"
_SHOWN_ADDRESS = "http://localhost:8888/ (this Jupyter server)"


def execute(
    notebook: NotebookNode, folder: Path = HERE, env: dict[str, str] | None = None
) -> NotebookNode:
    """Run all cells in a new kernel with the environment `env`, or with that of this process.

    Raises `nbclient.exceptions.CellExecutionError` if a cell fails.
    """
    NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        store_widget_state=False,
        record_timing=False,
        coalesce_streams=True,
    ).execute(**({} if env is None else {"env": env}))
    return notebook


def normalise(notebook: NotebookNode) -> NotebookNode:
    """Normalise the outputs that depend on the machine and the time."""
    notebook.metadata = {
        "kernelspec": {
            "display_name": "Python 3 (ipykernel)",
            "language": "python",
            "name": "python3",
        },
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata = {}
        for output in cell.get("outputs", []):
            output.pop("metadata", None)
            if output.output_type in ("display_data", "execute_result"):
                output.metadata = {}
                # Its kernel has ended: the other formats are shown instead.
                output.data.pop(_WIDGET, None)
            for holder, name in _texts(output):
                text = _STAND_IN.sub(r"\1", holder[name])
                holder[name] = _ADDRESS.sub(_SHOWN_ADDRESS, text)
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if output.get("data") != {}]
    return notebook


def _texts(output: NotebookNode) -> list[tuple[Any, str]]:
    """Yield each text of an output, as its container and its key."""
    if output.output_type == "stream":
        return [(output, "text")]
    data = output.get("data", {})
    return [(data, kind) for kind in data if isinstance(data[kind], str)]


def main(arguments: list[str] | None = None) -> int:
    """Run the named notebooks, or all of them, and store their outputs unless `--check` is set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("notebooks", nargs="*", type=Path, default=sorted(HERE.glob("*.ipynb")))
    parser.add_argument("--check", action="store_true", help="do not store outputs")
    told = parser.parse_args(arguments)
    for file in told.notebooks:
        path = file if file.exists() else HERE / file
        notebook = normalise(execute(nbformat.read(path, as_version=4), path.parent))
        if not told.check:
            nbformat.write(notebook, path)
        print(f"{path.name}: {len(notebook.cells)} cells")
    return 0


if __name__ == "__main__":
    sys.exit(main())
