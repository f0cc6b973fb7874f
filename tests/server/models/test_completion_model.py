"""Which model completes code, and why there is none."""

import json
import logging
from pathlib import Path

import msgspec
import pytest

from mlx_notebook.model_files.fim_forms import FORMS
from mlx_notebook.protocol import FillPrompt
from mlx_notebook.server.errors import Conflict
from mlx_notebook.server.models.catalog import Catalog
from mlx_notebook.server.models.completion_model import completion_method, completion_model
from mlx_notebook.server.models.settings.model_settings import check_settings
from tests.tiny_models.models import qwen3

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    qwen3(folder / "coder", special=FORMS[0].marks, template=None)
    qwen3(folder / "chatty")
    qwen3(folder / "bare", template=None)
    return folder


def catalog(folder: Path, default: str = "") -> Catalog:
    return Catalog(folders=[str(folder)], default=default, log=logging.getLogger())


async def why_not(folder: Path, configured: str = "", default: str = "") -> str:
    with pytest.raises(Conflict) as caught:
        await completion_model(catalog(folder, default), configured, "")
    assert caught.value.code == "completions_not_available"
    return caught.value.message


async def test_a_default_model_with_marks_is_used_whatever_its_size(folder: Path) -> None:
    entry = await completion_model(catalog(folder, "coder"), "", "")
    assert (entry.name, completion_method(entry)) == ("coder", "fim")


async def test_a_setting_turns_the_marks_off(folder: Path) -> None:
    entry = await catalog(folder).find("coder")
    off = check_settings({"fill_in_the_middle": False})
    able = msgspec.structs.replace(entry.facts, capabilities=["chat", "fim"])
    both = msgspec.structs.replace(entry, facts=able)
    assert (completion_method(both), completion_method(both, off)) == ("fim", "chat")
    only = msgspec.structs.replace(entry, facts=msgspec.structs.replace(able, capabilities=["fim"]))
    assert completion_method(only, off) == "fim"
    prompt = FillPrompt(prefix="a", suffix="b")
    assert (off.apply_to_fill(prompt).marks, prompt.marks) == (False, True)


async def test_a_small_chat_model_is_used_only_if_a_setting_names_it(folder: Path) -> None:
    assert "'chatty' is too small" in await why_not(folder, default="chatty")
    assert "'tiny-chat' is too small" in await why_not(folder)
    entry = await completion_model(catalog(folder), "chatty", "")
    assert completion_method(entry) == "chat"


async def test_the_reason_says_what_is_wrong_with_the_model(folder: Path) -> None:
    assert "'nonesuch' cannot be used" in await why_not(folder, "nonesuch")
    assert "'bare' has neither marks" in await why_not(folder, "bare")


async def test_the_size_of_a_model_is_estimated_from_its_weights(folder: Path) -> None:
    facts = (await catalog(folder).find("bare")).facts
    config = json.loads((folder / "bare" / "config.json").read_text())
    width = config["hidden_size"]
    assert facts.weights.total / 4 == facts.parameters > config["vocab_size"] * width
