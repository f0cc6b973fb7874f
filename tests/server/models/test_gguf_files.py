"""GGUF files in the catalog: those of configured folders, of the cache and of other programs."""

import json
import logging
import os
import shutil
from pathlib import Path

import pytest

from mlx_notebook.server.errors import Unavailable
from mlx_notebook.server.models.catalog import Catalog
from mlx_notebook.server.models.other_programs import PROGRAMS
from tests.tiny_models.gguf_models import QWEN3, gguf_and_folder

pytestmark = pytest.mark.anyio
LOG = logging.getLogger("test")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "OLLAMA_MODELS", "LLAMA_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gguf_and_folder(tmp_path_factory.mktemp("gguf"), QWEN3, "Q4_0")[0]


def put(file: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(file, target))


async def found(catalog: Catalog) -> dict[str, Path]:
    """Return the usable models besides the embedded ones, with their paths."""
    entries = await catalog.entries()
    return {entry.name: entry.path for entry in entries if entry.source != "embedded"}


async def test_files_of_configured_folders_are_models(home: Path, file: Path) -> None:
    models = home / "models"
    expected = {
        "loose": put(file, models / "loose.gguf"),
        "alone": put(file, models / "alone" / "any-name.Q4_0.gguf"),
        "org/alone": put(file, models / "org" / "alone" / "any-name.gguf"),
        "org/both/a-Q4_0": put(file, models / "org" / "both" / "a-Q4_0.gguf"),
        "org/both/a-Q8_0": put(file, models / "org" / "both" / "a-Q8_0.gguf"),
    }
    put(file, models / "alone" / "mmproj-model.gguf")
    put(file, models / ".hidden.gguf")
    # A repository of GGUF files may have a config.json, but no weights beside it.
    (models / "alone" / "config.json").write_text('{"model_type": "qwen3"}')
    catalog = Catalog(folders=[str(models)], log=LOG)
    assert await found(catalog) == expected
    entry = await catalog.find("alone")
    assert entry.context_window == 2048
    assert entry.footprint(full_precision=True).total > entry.facts.bytes_on_disk
    # The catalog knows its facts until it changes, and then that it is gone.
    os.remove(expected["alone"])
    assert "alone" not in await found(Catalog(folders=[str(models)], log=LOG))


async def test_files_of_other_programs_are_models(home: Path, file: Path) -> None:
    digest = "sha256:" + "ab" * 32
    store = home / ".ollama" / "models"
    blob = put(file, store / "blobs" / digest.replace(":", "-"))
    model = {"mediaType": "application/vnd.ollama.image.model", "digest": digest, "size": 1}
    other = {"mediaType": "application/vnd.ollama.image.params", "digest": "sha256:" + "cd" * 32}
    outside = {**model, "digest": "sha256:../../../secret"}
    for place, layers in {
        "registry.ollama.ai/library/small/1b": [other, model],
        "registry.ollama.ai/someone/small/latest": [model],
        "hf.co/org/repo-GGUF/Q4_0": [model],
        "registry.ollama.ai/library/outside/latest": [outside],
        "registry.ollama.ai/library/absent/latest": [{**model, "digest": "sha256:" + "0" * 64}],
        "registry.ollama.ai/too/deep/for/latest": [model],
    }.items():
        manifest = store / "manifests" / place
        manifest.parent.mkdir(parents=True, exist_ok=True)
        manifest.write_text(json.dumps({"schemaVersion": 2, "layers": layers}))
    (store / "manifests/registry.ollama.ai/library/small/broken").write_text("{")
    expected = {
        "small:1b": blob,
        "someone/small:latest": blob,
        "hf.co/org/repo-GGUF:Q4_0": blob,
        "org/studio": put(file, home / ".lmstudio/models/org/studio/studio-Q4_0.gguf"),
        "cached-Q4_0": put(file, home / ".cache/llama.cpp/cached-Q4_0.gguf"),
    }
    assert await found(Catalog(programs=PROGRAMS, log=LOG)) == expected
    assert not await found(Catalog(log=LOG))
    assert list(await found(Catalog(programs=["lmstudio"], log=LOG))) == ["org/studio"]


async def test_a_model_that_is_in_ollama_with_an_adapter_is_told(home: Path, file: Path) -> None:
    digest = "sha256:" + "ab" * 32
    store = home / ".ollama" / "models"
    put(file, store / "blobs" / digest.replace(":", "-"))
    kinds = ("model", "adapter")
    layers = [
        {"mediaType": f"application/vnd.ollama.image.{kind}", "digest": digest} for kind in kinds
    ]
    manifest = store / "manifests/registry.ollama.ai/library/tuned/latest"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"layers": layers}))
    with pytest.raises(Unavailable, match="it has an adapter of its own"):
        await Catalog(programs=PROGRAMS, log=LOG).find("tuned:latest")


async def test_files_in_the_hugging_face_cache_are_models(home: Path, file: Path) -> None:
    repository = home / "hf" / "hub" / "models--org--name-GGUF"
    blob = put(file, repository / "blobs" / "0123")
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "name-Q4_0.gguf").symlink_to(blob)
    assert await found(Catalog(log=LOG)) == {"org/name-GGUF": snapshot / "name-Q4_0.gguf"}


async def test_a_file_in_parts_is_named_once_and_told(home: Path, file: Path) -> None:
    for part in (1, 2):
        put(file, home / "models" / "big" / f"big-Q8_0-0000{part}-of-00002.gguf")
    content = file.read_bytes()
    first = home / "models" / "big" / "big-Q8_0-00001-of-00002.gguf"
    first.write_bytes(content[:-100])
    catalog = Catalog(folders=[str(home / "models")], log=LOG)
    (entry,) = [e for e in await catalog.all_entries() if e.source == "folder"]
    assert entry.name == "big"
    with pytest.raises(Unavailable, match="is cut off"):
        await catalog.find("big")
    # It is looked at again once it is whole.
    first.write_bytes(content)
    assert (await catalog.find("big")).facts.error is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make files of other users")
async def test_a_link_of_another_user_out_of_the_folder_is_not_followed(
    home: Path, file: Path
) -> None:
    secret = put(file, home / "elsewhere" / "secret.gguf")
    models = home / "models"
    models.mkdir()
    link = models / "linked.gguf"
    link.symlink_to(secret)
    os.lchown(link, 12345, 12345)
    with pytest.raises(Unavailable, match="leads out of"):
        await Catalog(folders=[str(models)], log=LOG).find("linked")
