"""A model's folder that nobody should open spoils nothing but itself, and says so."""

import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from mlx_notebook.engine.errors import LoadFailed
from mlx_notebook.engine.residency.memory_need import footprint
from mlx_notebook.model_files.model_folder import check, read_json
from mlx_notebook.protocol import ModelOptions
from mlx_notebook.server.models.catalog import Catalog
from tests.server.running import RunningServer, running
from tests.tiny_models.models import qwen3

DEEP = b"[" * 100_000
LOG = logging.getLogger("test")


def nested_header(folder: Path) -> None:
    header = b'{"w": ' + DEEP
    content = len(header).to_bytes(8, "little") + header
    (folder / "model.safetensors").write_bytes(content)


def endless_offsets(folder: Path) -> None:
    header = b'{"w": {"dtype": "F16", "data_offsets": [-1%b, 8]}}' % (b"0" * 30)
    content = len(header).to_bytes(8, "little") + header
    (folder / "model.safetensors").write_bytes(content)


def configured(**changes: object) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **changes}))

    return spoil


def pipe(name: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).parent.mkdir(exist_ok=True)
        os.mkfifo(folder / name)

    return spoil


SPOILS: dict[str, tuple[Callable[[Path], object], str]] = {
    "deep-config": (lambda f: (f / "config.json").write_bytes(b'{"a": ' + DEEP), "too deeply"),
    "no-config": (
        lambda f: (f / "config.json").write_bytes(b"\xff"),
        "config.json is not readable",
    ),
    "huge-numbers": (configured(max_position_embeddings=10**30), "implausibly large"),
    "large-product": (configured(num_hidden_layers=10**9, head_dim=10**9), "implausibly large"),
    "deep-header": (nested_header, "header of model.safetensors is nested too deeply"),
    "endless-offsets": (endless_offsets, "header of model.safetensors"),
    "deep-choices": (lambda f: (f / "generation_config.json").write_bytes(DEEP), "too deeply"),
    "large-template": (lambda f: (f / "x.jinja").write_bytes(b" " * 5_000_000), "too large"),
    "pipe-config": (pipe("config.json"), "config.json is no regular file"),
    "pipe-template": (pipe("x.jinja"), "x.jinja is no regular file"),
    "pipe-index": (pipe("model.safetensors.index.json"), "is no regular file"),
    "pipe-tokenizer": (pipe("tokenizer.json"), "tokenizer.json is no regular file"),
    "pipe-weights": (pipe("model.safetensors"), "model.safetensors is no regular file"),
    "pipe-below": (pipe("1_Pooling/config.json"), "config.json is no regular file"),
}
DEEP_TOKENIZERS = ("tokenizer", "tokenizer_config")
NOT_TEXT = os.fsdecode(b"caf\xe9")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every kind of bad folder, and a good one."""
    root = tmp_path_factory.mktemp("folders")
    qwen3(root / "good", context=64)
    for name, (spoil, _) in SPOILS.items():
        spoil(qwen3(root / name, context=64))
    latin = qwen3(root / "latin", context=64)
    with suppress(OSError):  # macOS takes no such name
        latin.rename(root / NOT_TEXT)
    for name in DEEP_TOKENIZERS:
        (qwen3(root / name, context=64) / f"{name}.json").write_bytes(DEEP)
    return root


@pytest.fixture(scope="module")
def server(folders: Path) -> Iterator[RunningServer]:
    with running(config={"MlxNotebookApp": {"models_dirs": [str(folders)]}}) as server:
        yield server


def test_each_says_what_is_wrong_with_it(server: RunningServer, folders: Path) -> None:
    listed = server.client.get("mlx/models").raise_for_status().json()["models"]
    models = {model["id"]: model for model in listed}
    assert models["good"]["state"] == "available"
    for name, (_, said) in SPOILS.items():
        assert models[name]["state"] == "broken", name
        assert said in models[name]["error"], name
    if (folders / NOT_TEXT).exists():
        assert "not UTF-8" in models["caf\\xe9"]["error"]


def test_none_is_offered_and_the_others_answer(server: RunningServer) -> None:
    ids = {model["id"] for model in server.client.get("v1/models").json()["data"]}
    assert "good" in ids
    assert not ids & set(SPOILS)
    assert server.works()
    assert server.chat(model="good", max_tokens=2).status_code == 200


@pytest.mark.parametrize("name", SPOILS)
def test_a_request_for_one_is_told_so(server: RunningServer, name: str) -> None:
    response = server.chat(model=name)
    assert response.status_code == 503
    assert SPOILS[name][1] in response.json()["error"]["message"]


@pytest.mark.parametrize("name", DEEP_TOKENIZERS)
def test_what_only_the_engine_reads_fails_its_own_model_alone(
    server: RunningServer, name: str
) -> None:
    pid = server.engine_pid_after_a_request()
    response = server.chat(model=name)
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "model_load_failed"
    assert server.engine_pid_after_a_request() == pid


@pytest.mark.parametrize("name", [name for name in SPOILS if name.startswith("pipe")])
def test_the_engine_opens_none_of_its_pipes(folders: Path, name: str) -> None:
    with pytest.raises(LoadFailed, match="is no regular file"):
        footprint(name, folders / name, ModelOptions())


def test_the_engine_looks_at_adapters_too(folders: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "adapters.safetensors")
    with pytest.raises(LoadFailed, match=r"adapters\.safetensors is no regular file"):
        footprint("good", folders / "good", ModelOptions(adapter=str(tmp_path)))


def test_links_of_the_hubs_cache_are_files_like_others(tmp_path: Path) -> None:
    (tmp_path / "blob").write_text("{}")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "config.json").symlink_to(tmp_path / "blob")
    (tmp_path / "folder" / "to-come").symlink_to(tmp_path / "nothing")
    check(tmp_path / "folder")
    assert read_json(tmp_path / "folder" / "config.json") == {}


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_folder_that_may_not_be_read_hides_no_other(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def closed(path: str | Path) -> object:
        if Path(path).name == "good":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    catalog = Catalog(folders=[str(folders)], log=LOG)
    problems = {entry.name: catalog.problem(entry) for entry in await catalog.all_entries()}
    assert problems["tiny-chat"] is None
    assert "good cannot be read (Permission denied)" in (problems["good"] or "")
