"""What `%mlx connect --print` shows is what each program needs: its own client gets an answer."""

import json
import shlex
from typing import Any

import anthropic
import litellm
import openai
import pytest
import yaml

from mlx_notebook.notebook.connection.client_configurations import CLIENT_CONFIGURATIONS
from mlx_notebook.notebook.connection.configured_model import NO_TOKEN, ConfiguredModel
from mlx_notebook.notebook.server.server import Server
from tests.server.running import HELLO, RunningServer

SHORT: Any = {"messages": HELLO, "max_tokens": 5}


@pytest.fixture(scope="module")
def model(server: RunningServer) -> ConfiguredModel:
    used = Server(server.url, server.token)
    return ConfiguredModel.of(used, "tiny-chat", 4096, with_token=True)


def variables(written: str) -> dict[str, str]:
    """Return what a shell would take from the text."""
    words = [shlex.split(line) for line in written.splitlines()]
    assert all(word[0] == "export" and len(word) == 2 for word in words)
    return dict(word[1].split("=", 1) for word in words)


def ask_openai(base_url: str, api_key: str, model: str) -> str | None:
    with openai.OpenAI(base_url=base_url, api_key=api_key) as client:
        return client.chat.completions.create(model=model, **SHORT).choices[0].message.content


def test_jupyter_ai_gets_an_answer_by_litellm(model: ConfiguredModel) -> None:
    settings = json.loads(CLIENT_CONFIGURATIONS["jupyter-ai"].write(model))
    name = settings["model_provider_id"]
    [custom] = settings["custom_models"]
    assert (custom["model_id"], custom["params"]) == (name, settings["fields"][name])
    answer: Any = litellm.completion(model=name, **custom["params"], **SHORT)
    assert answer.choices[0].message.content


def test_notebook_intelligence_gets_an_answer(model: ConfiguredModel) -> None:
    settings = json.loads(CLIENT_CONFIGURATIONS["notebook-intelligence"].write(model))
    assert set(settings) == {"chat_model", "inline_completion_model"}
    for chosen in settings.values():
        assert chosen["provider"] == "openai-compatible"
        given = {each["id"]: each["value"] for each in chosen["properties"]}
        assert given["context_window"] == "4096"
        assert ask_openai(given["base_url"], given["api_key"], given["model_id"])


def test_continue_gets_an_answer(model: ConfiguredModel) -> None:
    settings = yaml.safe_load(CLIENT_CONFIGURATIONS["continue"].write(model))
    assert settings["schema"] == "v1"
    [given] = settings["models"]
    assert ask_openai(given["apiBase"], given["apiKey"], given["model"])


def test_programs_that_read_the_environment_get_an_answer(
    model: ConfiguredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("openai", "anthropic"):
        for variable, value in variables(CLIENT_CONFIGURATIONS[name].write(model)).items():
            monkeypatch.setenv(variable, value)
    with openai.OpenAI() as client:
        assert client.chat.completions.create(model=model.model, **SHORT).choices
    with anthropic.Anthropic() as other:
        assert other.messages.create(model=model.model, **SHORT).content


@pytest.mark.parametrize("name", CLIENT_CONFIGURATIONS)
def test_a_token_is_written_only_if_it_is_asked_for(name: str) -> None:
    server = Server("https://models.example/base/", "a-secret")
    hidden = ConfiguredModel.of(server, "org/model", None, with_token=False)
    written = CLIENT_CONFIGURATIONS[name].write(hidden)
    assert NO_TOKEN in written
    assert "a-secret" not in written
    assert "https://models.example/base" in written
