"""Every code that the server can answer stands in the tree at the top of `errors.py`."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from mlx_notebook.protocol import ErrorCode
from mlx_notebook.server import errors
from mlx_notebook.server.models.downloads import downloads

_SERVER = Path(errors.__file__).parent
_CODE = re.compile(r"\b[a-z]+(?:_[a-z]+)+\b|\boffline\b")


def listed() -> dict[str, tuple[int, set[str]]]:
    """Read the tree: the status and the codes of each class."""
    tree: dict[str, tuple[int, set[str]]] = {}
    assert errors.__doc__ is not None
    for line in errors.__doc__.split("\n\n")[1].splitlines():
        head = re.match(r"(?:[├└]── )?([A-Z]\w+) +(\d{3}) ", line)
        if head is not None:
            name = head[1]
            tree[name] = int(head[2]), set()
            line = line[head.end() :]
        tree[name][1].update(_CODE.findall(line))
    return tree


def classes() -> Iterator[type[errors.ApiError]]:
    yield errors.ApiError
    yield from errors.ApiError.__subclasses__()


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Yield each call in the server's source, and the last part of what it calls."""
    for file in sorted(_SERVER.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                function = node.func
                yield getattr(function, "attr", getattr(function, "id", "")), node


def used() -> dict[str, set[str]]:
    """Collect the codes that the source gives to each class."""
    codes = {kind.__name__: {kind.default_code} for kind in classes()}
    for table in (errors._FROM_ENGINE, downloads._ERRORS):
        for code, kind in table.items():
            codes[kind.__name__].add(code)  # type: ignore[union-attr]
    for name, call in calls():
        if name in codes:
            given = [word.value for word in call.keywords if word.arg == "code"]
            codes[name].update(code.value for code in given if isinstance(code, ast.Constant))
    return codes


def second_arguments(*names: str) -> set[str]:
    """Collect the texts that stand second in calls of some names."""
    return {
        call.args[1].value
        for name, call in calls()
        if name in names and len(call.args) > 1 and isinstance(call.args[1], ast.Constant)
    }


def test_the_tree_lists_every_class_with_its_status_and_its_codes() -> None:
    expected = {kind.__name__: kind.status for kind in classes()}
    assert {name: status for name, (status, _) in listed().items()} == expected
    codes = used()
    # Whoever reads an image names the code alone; `ImageLoader` makes it an InvalidRequest.
    codes["InvalidRequest"] |= {"image_too_large", "image_url_not_allowed", "image_not_fetched"}
    # `AttachmentLoader` names documents and videos in place of images.
    codes["InvalidRequest"] |= {"too_many_pages", "too_many_frames"}
    codes["InvalidRequest"] |= {"audio_too_large"}
    for kind in ("document", "video"):
        codes["InvalidRequest"] |= {f"invalid_{kind}", f"{kind}_too_large", f"{kind}_not_fetched"}
    assert {name: told for name, (_, told) in listed().items()} == codes


def test_the_codes_of_the_engine_of_downloads_and_of_images_are_among_them() -> None:
    assert set(errors._FROM_ENGINE) == set(get_args(ErrorCode))
    refused = {
        call.args[0].value
        for name, call in calls()
        if name == "DownloadError" and isinstance(call.args[0], ast.Constant)
    }
    assert len(refused) > 8
    assert refused <= set(downloads._ERRORS)
    images = {code for code in second_arguments("ImageError", "__init__") if "_" in str(code)}
    assert len(images) == 4
    assert images <= listed()["InvalidRequest"][1]
