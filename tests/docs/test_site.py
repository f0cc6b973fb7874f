"""The site builds strictly, none of its links is broken, and it loads nothing from other hosts."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import mlx_notebook
from mlx_notebook.notebook.magics.chat_options import _parser
from mlx_notebook.notebook.magics.subcommands.commands import COMMANDS
from mlx_notebook.server.models.settings.model_settings import ModelSettings
from tests.docs.blocks import ROOT

# Attributes whose address a browser loads by itself; links wait for a click.
LOADED = {
    ("link", "href"),
    *((tag, "src") for tag in ("script", "img", "iframe", "video", "source")),
}
CSS_LOADS = re.compile(r"""(?:url\(\s*|@import\s+)["']?((?:https?:)?//[^"')\s]+)""")
# Said to search engines, not loaded.
RELATIONS = {"canonical", "prev", "next"}


class Page(HTMLParser):
    """What a page links to, loads, and can be linked to."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if values.get("rel") not in RELATIONS:
            self.loaded += [values[name] for name in values if (tag, name) in LOADED]


# Read by Python at its start.
NO_NETWORK = """
import socket

def refuse(*_):
    raise OSError("the documentation is built without a network")

socket.socket.connect = socket.getaddrinfo = refuse
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, start = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("start")
    (start / "sitecustomize.py").write_text(NO_NETWORK)
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(start)}
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {file: Page(file) for file in site.rglob("*.html")}


def test_every_link_leads_somewhere(site: Path, pages: dict[Path, Page]) -> None:
    broken = []
    for file, page in pages.items():
        if file.name == "404.html":
            continue  # its links are meant for the root of a host
        for link in [*page.links, *page.loaded]:
            address = urlsplit(link)
            if address.scheme or address.netloc:
                continue
            target = (file.parent / unquote(address.path)).resolve() if address.path else file
            target = target / "index.html" if target.is_dir() else target
            is_there = target.is_file() and (
                not address.fragment
                or target.suffix != ".html"
                or unquote(address.fragment) in pages[target].anchors
            )
            if not is_there:
                broken.append(f"{file.relative_to(site)}: {link}")
    assert not broken, "\n".join(broken)


def test_nothing_is_loaded_from_other_hosts(site: Path, pages: dict[Path, Page]) -> None:
    foreign = [
        f"{file.relative_to(site)}: {address}"
        for file, page in pages.items()
        for address in page.loaded
        if urlsplit(address).netloc
    ]
    foreign += [
        f"{file.relative_to(site)}: {address}"
        for file in [*site.rglob("*.css"), *pages]
        for address in CSS_LOADS.findall(file.read_text(encoding="utf-8"))
    ]
    assert not foreign, "\n".join(foreign)


def test_every_setting_has_a_place_of_its_own(site: Path, pages: dict[Path, Page]) -> None:
    (extension,) = mlx_notebook._jupyter_server_extension_points()
    own = {
        name
        for name, trait in extension["app"].class_traits(config=True).items()
        if trait.this_class.__module__.startswith("mlx_notebook")
    }
    page = site / "reference/settings/index.html"
    assert own
    assert own <= pages[page].anchors
    for name in ModelSettings.__struct_fields__:
        row = re.search(
            rf"<td><code>{name}</code></td>\s*<td>(.+?)</td>\s*<td>(.+?)</td>", page.read_text()
        )
        assert row is not None, name


def test_every_option_and_subcommand_is_listed(site: Path) -> None:
    text = (site / "reference/magics/index.html").read_text()
    options = {name for action in _parser()._actions for name in action.option_strings}
    for name in options:
        assert f"<code>{name}</code>" in text, name
    for usage in COMMANDS:
        assert f"%mlx {usage.split()[0]}" in text, usage


def test_every_public_name_is_described(site: Path, pages: dict[Path, Page]) -> None:
    names = {f"mlx_notebook.{name}" for name in mlx_notebook.__all__ if name != "__version__"}
    assert names <= pages[site / "reference/api/index.html"].anchors


def test_the_glossary_has_each_word_once_and_in_order() -> None:
    glossary = (ROOT / "docs/glossary.md").read_text()
    words = [word.lower() for word in re.findall(r"^\| \*\*(.+?)\*\* \|", glossary, re.MULTILINE)]
    assert words == sorted(set(words))


@pytest.mark.parametrize("name", ["README.md", "benchmarks/README.md"])
def test_every_file_that_a_readme_links_is_there(name: str) -> None:
    readme = ROOT / name
    targets = re.findall(r"\]\((?![a-z]+:|#)([^)#\s]+)", readme.read_text())
    assert targets
    assert not [target for target in targets if not (readme.parent / target).exists()]
