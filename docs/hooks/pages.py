"""Fit the pages to the site: links to files of the repository, and CONTRIBUTING.md among them."""

import posixpath
import re
import tomllib
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
CONTRIBUTING, PAGE = "CONTRIBUTING.md", "contributing.md"
_FROM_ROOT = re.compile(r"(\]\()(?![a-z]+:|#|/)([^)\s]+\))")
_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]*)\]\((?P<target>\.\./[^)\s]+)\)")


def on_files(files: Any, config: Any) -> Any:
    """Add CONTRIBUTING.md, whose links start at the repository's root."""
    text = (ROOT / CONTRIBUTING).read_text(encoding="utf-8")
    text = _FROM_ROOT.sub(r"\1../\2", text)
    files.append(File.generated(config, PAGE, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point links that leave docs/ to the repository, or keep their text where it has no address.

    Raises
    ------
    FileNotFoundError
        If the repository has no such file.
    """
    folder = posixpath.join("docs", posixpath.dirname(page.file.src_uri))

    def linked(match: re.Match[str]) -> str:
        path, _, anchor = match["target"].partition("#")
        path = posixpath.normpath(posixpath.join(folder, path))
        anchor = f"#{anchor}" if anchor else ""
        if path == CONTRIBUTING:
            path = f"docs/{PAGE}"
        if path.startswith("docs/"):
            return f"[{match['text']}]({posixpath.relpath(path, folder)}{anchor})"
        if not (ROOT / path).exists():
            raise FileNotFoundError(f"{page.file.src_uri}: the repository has no {path}")
        if (repository := _repository()) is None:
            return match["text"]
        return f"[{match['text']}]({repository}/blob/HEAD/{path}{anchor})"

    return _LINK.sub(linked, markdown)


def _repository() -> str | None:
    """Return the address that `[project.urls]` gives, without a slash at its end."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    urls = {name.lower(): url for name, url in project.get("urls", {}).items()}
    address = urls.get("repository") or urls.get("source")
    return address.rstrip("/") if address else None
