"""Every Python and shell block of the documentation runs, and shows what the page says it shows.

Blocks of one page run in order, Python and magics in one kernel, shell blocks in bash, all in one
folder and against one `jupyter mlx-notebook`. A page writes its address as `localhost:1234` (or
`localhost:8888`, for a Jupyter server) and its token as `$MLX_NOTEBOOK_KEY`. A comment directly
above a block says what is special about it:

    <!-- not run: REASON -->   it is left out
    <!-- fails -->             it ends in an error
    <!-- output -->            this is a part of what the block before it shows; `...` stands for
                               any text; JSON may be laid out in other lines than it was
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from traitlets.config import Config

import mlx_notebook
from mlx_notebook.server.standalone import StandaloneServer
from tests.docs.blocks import PYTHON, READ, ROOT, SHELL, Block, blocks, pages
from tests.notebook.jupyter import environment, kernel_alone
from tests.server.running import running

PAGES = [page for page in pages() if any(block.is_run for block in blocks(page.read_text()))]
SECONDS = 240
CONFIGURATION = "jupyter_server_config.py"
_ADDRESS = re.compile(r"\b(?:localhost|127\.0\.0\.1):(?:1234|8888)\b")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
# How %load_ext tells of the server.
_FOUND = re.compile(r"http://127\.0\.0\.1:\d+/ \([^)]*\)")


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


class Reader:
    """A reader who types in what a page says: a kernel, a shell, a server and a folder."""

    def __init__(self, server, home):
        self.port = server.port
        self.env = {
            **environment(home),
            "JUPYTER_RUNTIME_DIR": str(server.folder),
            "MLX_NOTEBOOK_URL": server.url,
            "MLX_NOTEBOOK_TOKEN": server.token,
            "MLX_NOTEBOOK_KEY": server.token,
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        self.folder = home
        self.kernel = kernel_alone(self.env, home)

    def open_page(self, folder):
        """Forget what the page before has left in the kernel."""
        self.folder = folder
        self.kernel.run("%reset -f\n%unload_ext mlx_notebook", check=False)
        self.kernel.run(f"%cd -q {folder}")

    def run(self, block):
        """Run a block; give whether it went well, and what it showed."""
        code = _ADDRESS.sub(f"127.0.0.1:{self.port}", block.code)
        if block.title == CONFIGURATION:
            return configure(code), ""
        went_well, shown = self._shell(code) if block.language in SHELL else self._cell(code)
        shown = _FOUND.sub("http://localhost:8888/ (this Jupyter server)", shown)
        return went_well, shown.replace(f"127.0.0.1:{self.port}", "localhost:1234")

    def _cell(self, code):
        cell = self.kernel.run(code, check=False, timeout=SECONDS)
        displays = [output.get("text/plain", "") for output in cell.outputs]
        shown = "\n".join([cell.stdout, *displays, cell.stderr, *cell.traceback])
        return cell.status == "ok", _COLOURS.sub("", shown)

    def _shell(self, code):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", code],
            env=self.env, cwd=self.folder, capture_output=True, text=True, timeout=SECONDS,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return done.returncode == 0, done.stdout + done.stderr


def configure(code):
    """Whether Jupyter would take a configuration file as it stands."""
    config = Config()
    exec(code, {"c": config, "get_config": lambda: config})
    (extension,) = mlx_notebook._jupyter_server_extension_points()
    classes = {cls.__name__: cls for cls in (extension["app"], *StandaloneServer.mro())}
    for section in config.values():
        assert section, "a section without a setting"
    for title, section in config.items():
        if title not in classes:
            assert title not in ("MlxNotebookApp", "StandaloneServer")
            continue  # of JupyterHub, for example
        cls = classes[title]
        for setting in section:
            assert setting in cls.class_trait_names(config=True), f"{title} has no {setting}"
        cls(config=config)
    return True


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    with running(alone=True, base_url="/", options=("--model=tiny-chat",)) as server:
        reader = Reader(server, tmp_path_factory.mktemp("home"))
        yield reader
        reader.kernel.stop()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_of_a_page_runs_and_shows_what_the_page_says(page, reader, tmp_path):
    reader.open_page(tmp_path)
    shown = ""
    for block in blocks(page.read_text()):
        where = f"{name(page)}:{block.line}\n{block.code}\n"
        if block.is_run:
            went_well, shown = reader.run(block)
            assert went_well is (block.said != "fails"), where + shown
        elif block.said == "output":
            between = "" if block.language == "json" else " "
            fits = matches(block.code, shown, between)
            assert fits, f"{where}----- but it shows -----\n{shown}"


def matches(expected, shown, between=" "):
    """Whether the text is a part of what was shown, whatever the spaces; `...` is any text.

    Spaces count as `between`: those of JSON, which a page shows in several lines, as nothing.
    """
    pieces = [re.escape(between.join(piece.split())) for piece in expected.split("...")]
    return re.search(".*?".join(pieces), between.join(shown.split())) is not None


@pytest.mark.parametrize("page", pages(), ids=name)
def test_every_block_names_its_language_and_every_comment_is_understood(page):
    for block in blocks(page.read_text()):
        where = f"{name(page)}:{block.line}"
        assert block.language in PYTHON + SHELL + READ, f"{where}: {block.language!r}"
        if block.said.startswith("not run"):
            assert block.reason, f"{where}: why is it not run?"
            assert block.language in PYTHON + SHELL, where
        elif block.said in ("output", "fails"):
            assert (block.said == "output") is (block.language in READ), where


def test_a_block_is_found_with_its_comment_and_without_its_indent():
    page = "1. first\n\n    <!-- not run: a reason -->\n    ```bash\n    one\n      two\n    ```\n"
    (block,) = blocks(page)
    assert block == Block("bash", "", "not run: a reason", "one\n  two", 4)
    assert not block.is_run
    assert block.reason == "a reason"


def test_an_output_is_compared_but_for_spaces_and_what_is_left_out():
    assert matches("a ... c", "x a  b\nc y")
    assert not matches("a ... d", "a b c")
    assert not matches("a.c", "abc")
    assert matches('{"a": [1,\n 2], ...}', '{"a":[1,2],"b":3}', between="")
