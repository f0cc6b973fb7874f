"""Inline completions and filled gaps, on a server with models that fill a gap in three ways.

`coder` has marks for fill-in-the-middle, `chatty` a chat template, `bare` neither.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from mlx_notebook.model_files.fim_forms import FORMS
from tests.models import qwen3
from tests.server.running import RunningServer, running

ROUTE = "mlx/completions/inline"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("models")
    qwen3(folder / "coder", special=FORMS[0].marks, template=None)
    qwen3(folder / "chatty")
    qwen3(folder / "bare", template=None)
    config = {"models_dirs": [str(folder)], "completion_model": "coder", "warm_up": False}
    with running(config={"MlxNotebookApp": config}) as server:
        yield server


def completed(server: RunningServer, **body: Any) -> tuple[str, dict[str, Any]]:
    """Return the text of a completion and its last event."""
    response = server.client.post(ROUTE, json=body)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    events = [
        json.loads(line.removeprefix("data: "))
        for line in response.text.splitlines()
        if line.startswith("data: ")
    ]
    assert [event["type"] for event in events[:-1]] == ["text"] * (len(events) - 1)
    return "".join(event["text"] for event in events[:-1]), events[-1]


def test_an_editor_learns_that_completions_are_available(server: RunningServer) -> None:
    answer = server.client.get(ROUTE).json()
    assert {name: answer[name] for name in ("available", "model", "method", "reason")} == {
        "available": True,
        "model": "coder",
        "method": "fim",
        "reason": None,
    }


@pytest.mark.parametrize(("model", "method"), [("coder", "fim"), ("chatty", "chat")])
def test_a_completion_streams_text_and_ends_with_its_figures(
    server: RunningServer, model: str, method: str
) -> None:
    _, last = completed(server, prefix="def f(x):\n    ", model=model, max_tokens=8)
    assert last["type"] == "done"
    assert (last["model"], last["method"]) == (model, method)
    assert last["finish_reason"] in ("stop", "length")
    assert last["usage"]["prompt_tokens"] > 0
