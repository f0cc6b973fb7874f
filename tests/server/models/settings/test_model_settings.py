"""Settings of single models: from the configuration, through the API, and what they do."""

import asyncio
import errno
import json
import logging
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from traitlets import TraitError

from mlx_notebook.protocol import ChatPrompt, Sampling
from mlx_notebook.server.app import MlxNotebookApp
from mlx_notebook.server.errors import InsufficientStorage
from mlx_notebook.server.models.catalog import Catalog
from mlx_notebook.server.models.settings.model_settings import (
    NO_SETTINGS,
    ModelSettings,
    ModelSettingsStore,
    check_settings,
)
from mlx_notebook.server.storage.file_lock import locked
from tests.engine.backends.test_adapters import write_adapter
from tests.server.running import HELLO, RunningServer, running, wait_for
from tests.tiny_models.models import qwen3

LOG = logging.getLogger("test")
CONFIGURED = {
    "max_tokens": 3,
    "temperature": 0.0,
    "system": "Be brief.",
    "thinking": False,
    "context_limit": 512,
    "adapters": ["lora/listed"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    qwen3(folder / "base")
    part = qwen3(folder / "part")
    (part / "model.safetensors.index.json").write_text(
        '{"weight_map": {"a": "model-2.safetensors"}}'
    )
    for name, base in (("listed", "somewhere/else"), ("trained", "base"), ("foreign", "other")):
        adapter = folder / "lora" / name
        adapter.mkdir(parents=True)
        (adapter / "adapters.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
        settings = {"model": base, "fine_tune_type": "lora", "num_layers": 2,
                    "lora_parameters": {"rank": 2, "scale": 1.0, "dropout": 0.0}}  # fmt: skip
        (adapter / "adapter_config.json").write_text(json.dumps(settings))
    shutil.rmtree(folder / "lora" / "trained")
    real = write_adapter(folder / "lora" / "trained", seed=1, model=folder / "base")
    settings = json.loads((real / "adapter_config.json").read_text())
    (real / "adapter_config.json").write_text(json.dumps({**settings, "model": "base"}))
    return folder


@pytest.fixture(scope="module")
def configured(folder: Path) -> dict[str, Any]:
    return {
        "models_dirs": [str(folder)],
        "model_aliases": {"short-name": "base"},
        "model_settings": {"short-name": CONFIGURED},
    }


@pytest.fixture(scope="module")
def server(configured: dict[str, Any]) -> Iterator[RunningServer]:
    with running(config={"MlxNotebookApp": configured}) as server:
        yield server


@pytest.fixture(autouse=True)
def _as_configured(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "server" in request.fixturenames:
        request.getfixturevalue("server").client.put("mlx/models/base/settings", json={})


def shown(server: RunningServer, name: str = "base") -> dict[str, Any]:
    answer: dict[str, Any] = server.client.get(f"mlx/models/{name}/settings").json()
    return answer


def prompt_of(server: RunningServer, **request: Any) -> str:
    body = {"model": "base", "messages": HELLO, **request}
    text: str = server.client.post("apply-template", json=body).raise_for_status().json()["prompt"]
    return text


def test_they_are_shown_by_any_name_of_the_model(server: RunningServer) -> None:
    assert shown(server) == {
        "model": "base", "settings": CONFIGURED, "saved": {}, "reloads": False,
    }  # fmt: skip
    assert shown(server, "short-name") == shown(server)
    assert shown(server, "tiny-chat")["settings"] == {}
    response = server.client.get("mlx/models/nonesuch/settings")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")


def test_a_request_gets_them_and_what_it_says_itself_wins(server: RunningServer) -> None:
    body = {"model": "base", "messages": HELLO, "ignore_eos": True}
    answers = [server.client.post("v1/chat/completions", json=body).json() for _ in range(2)]
    assert answers[0]["usage"]["completion_tokens"] == 3
    assert answers[0]["choices"][0]["message"] == answers[1]["choices"][0]["message"]
    own = server.client.post("v1/chat/completions", json={**body, "max_tokens": 5}).json()
    assert own["usage"]["completion_tokens"] == 5
    assert "system\nBe brief." in prompt_of(server)
    told = prompt_of(server, messages=[{"role": "system", "content": "Be long."}, *HELLO])
    assert "Be brief." not in told


def test_the_context_limit_is_the_models_context(server: RunningServer) -> None:
    models = {m["id"]: m for m in server.client.get("mlx/models").json()["models"]}
    assert models["base"]["context_length"] == 512
    long = [{"role": "user", "content": "x" * 600}]
    response = server.chat(model="base", messages=long)
    assert response.json()["error"]["code"] == "context_length_exceeded"


def test_they_are_saved_over_the_configuration_and_only_for_their_user(
    server: RunningServer,
) -> None:
    saved = {"max_tokens": 2, "system": "Be kind."}
    answer = server.client.put("mlx/models/base/settings", json=saved).raise_for_status().json()
    assert answer["saved"] == saved
    assert answer["settings"] == {**CONFIGURED, **saved}
    body = {"model": "base", "messages": HELLO, "ignore_eos": True}
    used = server.client.post("v1/chat/completions", json=body).json()["usage"]
    assert used["completion_tokens"] == 2
    assert "Be kind." in prompt_of(server)
    file = server.folder / "mlx_notebook" / "model_settings.json"
    assert json.loads(file.read_text()) == {"base": saved}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_what_cannot_be_saved_is_told_and_nothing_changes(server: RunningServer) -> None:
    file = server.folder / "mlx_notebook" / "model_settings.json"
    server.client.put("mlx/models/base/settings", json={"top_k": 5}).raise_for_status()
    kept = file.rename(file.with_name("kept"))
    (file / "in the way").mkdir(parents=True)
    response = server.client.put("mlx/models/base/settings", json={"top_k": 6})
    assert response.status_code == 503
    error = response.json()["error"]
    assert error["code"] == "settings_not_writable"
    assert "right to write" in error["message"]
    assert "Traceback" not in server.log
    shutil.rmtree(file)
    kept.rename(file)
    wait_for(lambda: shown(server)["saved"] == {"top_k": 5}, 30)


def test_settings_about_loading_say_that_the_next_request_loads_the_model_anew(
    server: RunningServer,
) -> None:
    def reloads() -> list[bool]:
        models = server.client.get("mlx/models").json()["models"]
        (model,) = [model for model in models if model["id"] == "base"]
        return [shown(server)["reloads"], model["reloads"]]

    def context_lengths() -> list[int]:
        models = server.status()["models"]
        return [model["context_length"] for model in models if model["id"] == "base"]

    assert server.chat(model="base").status_code == 200
    wait_for(context_lengths, 30)
    saved = server.client.put("mlx/models/base/settings", json={"context_limit": 300})
    assert saved.json()["reloads"] is True
    assert reloads() == [True, True]
    assert server.chat(model="base").status_code == 200
    # While the model is reloaded the engine reports it for a moment not at all.
    wait_for(lambda: context_lengths() == [300], 30)
    assert reloads() == [False, False]
    other = {"context_limit": 300, "top_k": 3}
    assert not server.client.put("mlx/models/base/settings", json=other).json()["reloads"]


@pytest.mark.parametrize(
    ("settings", "param", "said"),
    [
        ({"temprature": 1}, None, "temprature"),
        ({"temperature": 9}, "temperature", "between 0 and 2; you gave 9"),
        ({"kv_bits": 5}, "kv_bits", "5"),
        ({"trust_remote_code": True}, "trust_remote_code", "configuration"),
        ({"draft": "nonesuch"}, None, "draft model 'nonesuch' is not on this machine"),
        (
            {"draft": "part"},
            None,
            "its draft model is not usable. The model 'part' is incomplete",
        ),
        ({"adapter": "../../etc"}, None, "no configured folder has an adapter"),
        ({"adapter": "lora/listed"}, None, "adapters.safetensors is empty"),
    ],
)
def test_what_is_not_right_is_refused_and_changes_nothing(
    server: RunningServer, settings: dict[str, Any], param: str | None, said: str
) -> None:
    response = server.client.put("mlx/models/base/settings", json=settings)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["param"] == param or param is None
    assert said in error["message"]
    assert shown(server)["saved"] == {}


@pytest.mark.parametrize(
    "settings",
    [{"kv_bits": 8}, {"prompt_lookup": 3}, {"draft": "base"}, {"adapter": "lora/trained"}],
)
def test_what_is_for_text_models_is_refused_for_one_that_sees(
    server: RunningServer, settings: dict[str, Any]
) -> None:
    response = server.client.put("mlx/models/tiny-vision/settings", json=settings)
    assert response.status_code == 400
    said = f"it is a vision model, and {next(iter(settings))} is for text models"
    assert said in response.json()["error"]["message"]
    assert "tiny-vision" in [m["id"] for m in server.client.get("v1/models").json()["data"]]


def test_adapters_are_models_of_their_own(server: RunningServer) -> None:
    models = {m["id"]: m for m in server.client.get("mlx/models").json()["models"]}
    assert {name for name in models if "+" in name} == {"base+lora/listed", "base+lora/trained"}
    listed = [model["id"] for model in server.client.get("v1/models").json()["data"]]
    assert "base+lora/trained" in listed
    for name in ("base+lora/foreign", "base+../base", "short-name+/etc"):
        error = server.chat(model=name).json()["error"]
        assert error["code"] == "adapter_not_found"
        assert "lora/listed, lora/trained" in error["message"]


def test_an_adapter_answers_under_its_own_name_beside_its_base(server: RunningServer) -> None:
    body = {"messages": HELLO, "max_tokens": 20, "ignore_eos": True}

    def text(name: str) -> str:
        answer = server.client.post("v1/chat/completions", json={**body, "model": name}).json()
        assert answer["model"] == name
        return str(answer["choices"][0]["message"])

    assert text("base+lora/trained") != text("base")
    both = {"base", "base+lora/trained"}
    # The status follows the engine four times a second.
    wait_for(lambda: both <= {model["id"] for model in server.status()["models"]}, 5)


def test_an_order_may_name_the_adapter_apart(server: RunningServer) -> None:
    order = {"model": "short-name", "adapter": "lora/trained"}
    loaded = server.client.post("mlx/models/load", json=order).raise_for_status().json()
    assert loaded["model"] == "base+lora/trained"
    order = {"model": "short-name", "adapter": "lora/nonesuch"}
    error = server.client.post("mlx/models/load", json=order).json()["error"]
    assert error["code"] == "adapter_not_found"


def test_a_draft_is_another_model_by_its_name(server: RunningServer) -> None:
    saved = server.client.put("mlx/models/base/settings", json={"draft": "tiny-chat"})
    assert saved.status_code == 200


def test_the_last_model_is_remembered_over_a_restart(
    configured: dict[str, Any], tmp_path: Path
) -> None:
    env = {"JUPYTER_DATA_DIR": str(tmp_path)}
    file = tmp_path / "mlx_notebook" / "last_model"
    with running(config={"MlxNotebookApp": configured}, env=env) as server:
        assert server.status()["default_model"] == "tiny-chat"
        assert server.chat(model="short-name").status_code == 200
        wait_for(lambda: file.exists() and file.read_text() == "base", 5)
        assert server.status()["default_model"] == "base"
    with running(config={"MlxNotebookApp": configured}, env=env) as server:
        assert server.status()["default_model"] == "base"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_wrong_setting_in_the_configuration_is_told_in_a_sentence() -> None:
    with pytest.raises(TraitError, match=r"\['qwen'\]: there is no setting 'temprature', only"):
        MlxNotebookApp(model_settings={"qwen": {"temprature": 1}})
    with pytest.raises(TraitError, match=r"\['qwen'\]: expected `float` >= 0.0"):
        MlxNotebookApp(model_settings={"qwen": {"temperature": -1}})


def test_server_and_engine_foresee_the_same_memory(folder: Path) -> None:
    import mlx.core as mx

    from mlx_notebook.engine.residency.memory_need import footprint

    settings = ModelSettingsStore(
        {"base": check_settings({"draft": "tiny-chat", "kv_bits": 8})}, None, LOG
    )
    catalog = Catalog(folders=[str(folder)], settings=settings, log=LOG)
    entries = asyncio.run(catalog.entries())
    assert {"base", "base+lora/trained"} <= {entry.name for entry in entries}
    for entry in entries:
        theirs = footprint(entry.name, entry.path, entry.options)
        assert entry.footprint(full_precision=mx.default_device() == mx.cpu) == theirs


class TestTheValues:
    def test_a_request_keeps_what_it_says(self) -> None:
        settings = check_settings({"temperature": 0.5, "top_k": 7})
        sampling = settings.apply_to_sampling(Sampling(temperature=0.0, seed=1))
        assert sampling == Sampling(temperature=0.0, top_k=7, seed=1)
        assert NO_SETTINGS.apply_to_sampling(sampling) is sampling

    def test_thinking_is_the_templates_unless_the_request_says(self) -> None:
        settings = check_settings({"thinking": True})
        prompt = ChatPrompt(messages=[])
        assert settings.apply_to_prompt(prompt).template_kwargs == {"enable_thinking": True}  # type: ignore[union-attr]
        own = ChatPrompt(messages=[], template_kwargs={"enable_thinking": False})
        assert settings.apply_to_prompt(own).template_kwargs == {"enable_thinking": False}  # type: ignore[union-attr]

    def test_two_servers_lose_none_of_what_is_saved(self, tmp_path: Path) -> None:
        file = tmp_path / "settings.json"
        servers = [ModelSettingsStore({}, file, LOG) for _ in range(2)]

        async def save(server: ModelSettingsStore, name: str) -> None:
            for number in range(30):
                await server.save(f"{name}{number}", ModelSettings(top_k=number))

        async def story() -> None:
            await asyncio.gather(*(save(server, f"s{at}-") for at, server in enumerate(servers)))

        asyncio.run(story())
        assert len(json.loads(file.read_text())) == 60
        for server in servers:
            server.refresh()
            assert server.of("s0-29").top_k == server.of("s1-29").top_k == 29

    def test_a_full_disk_is_told_and_changes_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = tmp_path / "settings.json"
        settings = ModelSettingsStore({}, file, LOG)
        asyncio.run(settings.save("a", ModelSettings(top_k=1)))

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("mlx_notebook.server.models.settings.model_settings.os.replace", full)
        with pytest.raises(InsufficientStorage, match=r"disk .* is full"):
            asyncio.run(settings.save("a", ModelSettings(top_k=2)))
        assert settings.of("a").top_k == 1
        assert not list(tmp_path.glob(".settings.json.*"))

    def test_a_server_that_keeps_the_lock_is_not_waited_for_without_end(
        self, tmp_path: Path
    ) -> None:
        with (
            locked(tmp_path / "lock"),
            pytest.raises(TimeoutError, match="another server"),
            locked(tmp_path / "lock", seconds=0.05),
        ):
            pass

    def test_a_file_that_is_damaged_is_left_alone_until_something_is_saved(
        self, tmp_path: Path
    ) -> None:
        file = tmp_path / "settings.json"
        file.write_text("{")
        settings = ModelSettingsStore({"a": ModelSettings(top_k=1)}, file, LOG)
        assert settings.of("a").top_k == 1
        assert file.read_text() == "{"
        shutil.rmtree(tmp_path)


def test_a_model_that_another_server_used_last_is_not_the_default_of_one_that_lacks_it(
    configured: dict[str, Any], tmp_path: Path
) -> None:
    env = {"JUPYTER_DATA_DIR": str(tmp_path)}
    file = tmp_path / "mlx_notebook" / "last_model"
    file.parent.mkdir()
    file.write_text("org/elsewhere")
    with running(config={"MlxNotebookApp": configured}, env=env) as server:
        assert server.status()["default_model"] == "tiny-chat"
        assert server.chat(model=None).json()["model"] == "tiny-chat"
