"""`mlx/settings`: what an admin changes counts at once."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.server.running import RunningServer, wait_for


@pytest.fixture(autouse=True)
def _as_before(server: RunningServer) -> Iterator[None]:
    yield
    names = ("default_model", "completion_model", "idle_unload_minutes")
    server.client.patch("mlx/settings", json=dict.fromkeys(names)).raise_for_status()


def shown(server: RunningServer) -> dict[str, dict[str, Any]]:
    answer = server.client.get("mlx/settings").raise_for_status().json()
    return {setting["name"]: setting for setting in answer["settings"]}


def resident(server: RunningServer) -> list[str]:
    models = server.client.get("mlx/status").raise_for_status().json()["models"]
    return [model["id"] for model in models]


def refused(server: RunningServer, **changes: Any) -> tuple[int, str | None, str]:
    answer = server.client.patch("mlx/settings", json=changes)
    error = answer.json()["error"]
    return answer.status_code, error["param"], error["message"]


def test_an_idle_time_holds_for_the_engine_that_runs(server: RunningServer) -> None:
    server.client.post("mlx/models/load", json={"model": "long"}).raise_for_status()
    changed = {"idle_unload_minutes": 0.001}
    answer = server.client.patch("mlx/settings", json=changed).raise_for_status().json()
    assert {"name": "idle_unload_minutes", "value": 0.001}.items() <= answer["settings"][3].items()
    wait_for(lambda: "long" not in resident(server), timeout=120)


def test_a_default_model_answers_requests_that_name_none(server: RunningServer) -> None:
    changed = {"default_model": "alias", "completion_model": "long"}
    server.client.patch("mlx/settings", json=changed).raise_for_status()
    assert shown(server)["default_model"]["value"] == "alias"
    assert server.client.get("mlx/status").json()["default_model"] == "org/other"
    inline = server.client.get("mlx/completions/inline").json()
    assert (inline["available"], inline["model"]) == (True, "long")


def test_what_cannot_be_is_refused_with_the_name_of_the_setting(server: RunningServer) -> None:
    folders = shown(server)["models_dirs"]
    assert folders["changeable"] is False
    assert "MlxNotebookApp.models_dirs" in folders["obstacle"]
    assert refused(server, models_dirs=["/tmp"])[:2] == (403, "models_dirs")
    assert refused(server, default_model="none")[:2] == (404, "default_model")
    assert refused(server, completion_model="words")[:2] == (409, "completion_model")
    status, name, said = refused(server, idle_unload_minutes=-1)
    assert (status, name) == (400, "idle_unload_minutes")
    assert "0" in said
    assert refused(server, max_batch=1)[0] == 400
    assert shown(server)["default_model"]["value"] == ""
