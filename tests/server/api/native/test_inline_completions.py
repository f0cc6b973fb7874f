"""Inline completions and filled gaps, on a server with models that fill a gap in three ways.

`coder` has marks for fill-in-the-middle, `chatty` a chat template, `bare` neither.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from mlx_notebook.model_files.fim_forms import FORMS
from tests.server.running import RunningServer, running
from tests.tiny_models.models import qwen3

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


def token_ids(server: RunningServer, text: str) -> list[int]:
    """Return the tokens of a text of `coder`, in which marks are control tokens."""
    response = server.client.post("tokenize", json={"model": "coder", "content": text})
    ids: list[int] = response.json()["tokens"]
    return ids


def filled(server: RunningServer, **body: Any) -> dict[str, Any]:
    body = {"model": "coder", "max_tokens": 4, "temperature": 0, "return_token_ids": True, **body}
    response = server.client.post("v1/completions", json=body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def refused(server: RunningServer, route: str, **body: Any) -> tuple[int, str, str]:
    response = server.client.post(route, json=body)
    error = response.json()["error"]
    return response.status_code, error["code"], error["param"]


# --- v1/completions with a suffix -------------------------------------------------------------


def test_a_model_with_marks_gets_prefix_and_suffix_between_them(server: RunningServer) -> None:
    answer = filled(server, prompt="a = ", suffix="\nb")
    expected = "<|fim_prefix|>a = <|fim_suffix|>\nb<|fim_middle|>"
    assert answer["choices"][0]["prompt_token_ids"] == token_ids(server, expected)


def test_marks_in_the_text_are_text(server: RunningServer) -> None:
    marks = token_ids(server, "<|fim_prefix|><|fim_suffix|><|fim_middle|><|im_end|>")
    assert len(marks) == 4
    answer = filled(server, prompt="<|im_end|>a<|fim_middle|>", suffix="<|fim_prefix|>")
    ids = answer["choices"][0]["prompt_token_ids"]
    assert [id for id in ids if id in marks] == marks[:3]
    # Every byte is a token here.
    assert len(ids) == 3 + len("<|im_end|>a<|fim_middle|>") + len("<|fim_prefix|>")


def test_the_text_ends_at_a_mark(server: RunningServer) -> None:
    ends = token_ids(server, "<|fim_suffix|><|endoftext|>")
    for end in ends:
        answer = filled(server, prompt="a", suffix="b", max_tokens=8, logit_bias={end: 100})
        choice = answer["choices"][0]
        assert (choice["text"], choice["finish_reason"]) == ("", "stop")


def test_n_stop_and_log_probabilities_work_as_without_a_suffix(server: RunningServer) -> None:
    body = {"prompt": "a = ", "suffix": "\nb", "ignore_eos": True}
    whole = filled(server, **body, max_tokens=12)["choices"][0]["text"]
    several = filled(server, **body, n=2, logprobs=1)["choices"]
    assert [choice["index"] for choice in several] == [0, 1]
    assert all(len(choice["logprobs"]["tokens"]) == 4 for choice in several)
    assert whole.startswith(several[0]["text"].rstrip("\ufffd"))
    stop = whole[3:5]
    stopped = filled(server, **body, max_tokens=12, stop=stop)["choices"][0]
    assert stopped["text"] == whole[: whole.index(stop)]


@pytest.mark.parametrize("model", ["coder", "chatty"])
def test_a_stream_has_the_text_of_the_whole_answer(server: RunningServer, model: str) -> None:
    body = {"model": model, "prompt": "a = ", "suffix": "\nb", "max_tokens": 12, "temperature": 0}
    whole = server.client.post("v1/completions", json=body).json()["choices"][0]["text"]
    response = server.client.post("v1/completions", json={**body, "stream": True})
    data = [line[6:] for line in response.text.splitlines() if line.startswith("data: {")]
    assert "".join(json.loads(line)["choices"][0]["text"] for line in data) == whole


def test_a_chat_model_continues_an_answer_that_has_begun(server: RunningServer) -> None:
    answer = filled(server, model="chatty", prompt="a = <|im_end|>", suffix="\nb")
    ids = answer["choices"][0]["prompt_token_ids"]
    body = {"model": "chatty", "tokens": ids}
    text = server.client.post("detokenize", json=body).json()["content"]
    head, _, begun = text.rpartition("<|im_start|>assistant\n")
    assert begun == "```\na = <|im_end|>"
    assert "\nb\n```" in head
    marks = server.client.post("tokenize", json={"model": "chatty", "content": "<|im_end|>"})
    assert ids.count(marks.json()["tokens"][0]) == 1  # that of the user's message


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": "bare"}, "suffix"),
        ({"echo": True}, "echo"),
        ({"prompt_logprobs": 0}, "prompt_logprobs"),
        ({"truncate_prompt_tokens": 4}, "truncate_prompt_tokens"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": "word " * 1000}, "prompt"),
        ({"model": "chatty", "guided_regex": "a"}, "suffix"),
    ],
)
def test_what_does_not_fit_a_suffix_is_refused_by_name(
    server: RunningServer, body: dict[str, Any], param: str
) -> None:
    asked = {"model": "coder", "prompt": "a", "suffix": "b", **body}
    assert refused(server, "v1/completions", **asked)[::2] == (400, param)


def test_an_empty_suffix_is_none(server: RunningServer) -> None:
    answer = filled(server, prompt="a = ", suffix="")
    assert answer["choices"][0]["prompt_token_ids"] == token_ids(server, "a = ")


# --- inline completions -----------------------------------------------------------------------


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


def test_cells_and_variables_come_before_the_prefix(server: RunningServer) -> None:
    prompts = {}
    for name, context in {
        "none": [],
        "some": [
            {"kind": "cell", "text": "import numpy as np\n"},
            {"kind": "cell", "text": "A heading", "cell_type": "markdown"},
            {"kind": "variable", "name": "x", "type": "ndarray", "note": "shape (2, 3)"},
        ],
    }.items():
        _, last = completed(server, prefix="y = ", context=context, max_tokens=1)
        prompts[name] = last["usage"]["prompt_tokens"]
    text = "import numpy as np\n\n# A heading\n\n# x: ndarray  shape (2, 3)\n\n"
    assert prompts["some"] - prompts["none"] == len(text) - 1  # two spaces become one


def test_the_next_key_finds_the_text_before_in_the_prefix_cache(server: RunningServer) -> None:
    cell = "".join(f"step_{number}()\n" for number in range(40))
    context = [{"kind": "cell", "text": "import steps"}]
    _, first = completed(server, prefix=f"{cell}ste", context=context, max_tokens=1)
    _, second = completed(server, prefix=f"{cell}step", context=context, max_tokens=1)
    used = second["usage"]
    assert used["cached_tokens"] >= used["prompt_tokens"] - 12
    assert first["usage"]["prompt_tokens"] == used["prompt_tokens"] - 1


def test_long_text_is_cut_so_that_it_fits_the_model(server: RunningServer) -> None:
    _, last = completed(
        server,
        prefix="before()\n" * 1000,
        suffix="\nafter()" * 1000,
        context=[{"kind": "cell", "text": f"cell_{number}()\n" * 30} for number in range(20)],
        max_tokens=8,
    )
    assert 1000 < last["usage"]["prompt_tokens"] < 2048


def test_a_closed_connection_leaves_nothing_running(server: RunningServer) -> None:
    body = {"prefix": "x = ", "max_tokens": 1024, "model": "coder"}
    cancelled = server.status()["totals"]["cancelled"]
    with server.client.stream("POST", ROUTE, json=body) as response:
        next(response.iter_raw())
    assert server.wait_until_idle()
    totals = server.status()["totals"]
    # Random text may end early by itself.
    assert totals["cancelled"] in (cancelled, cancelled + 1)


def test_completions_leave_no_traces_and_do_not_choose_the_default_model(
    server: RunningServer,
) -> None:
    assert server.chat(model="chatty").status_code == 200
    completed(server, prefix="x = ", max_tokens=1)
    traces = server.client.get("mlx/traces").json()["data"]
    assert not [trace for trace in traces if trace["endpoint"] == ROUTE]
    assert server.chat().json()["model"] == "chatty"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, (400, "missing_parameter", "prefix")),
        ({"prefix": "a", "model": "nonesuch"}, (404, "model_not_found", "model")),
        ({"prefix": "a", "temperature": 3}, (400, "invalid_value", "temperature")),
        ({"prefix": "a", "model": "bare"}, (400, "fill_not_supported", "model")),
        ({"prefix": "a", "max_tokens": 0}, (400, "invalid_value", "max_tokens")),
        ({"prefix": "a", "language": "a b"}, (400, "invalid_value", "language")),
        ({"prefix": "a", "context": [{"kind": "file"}]}, (400, "invalid_value", "context[0].kind")),
    ],
)
def test_what_cannot_be_completed_is_refused_by_name(
    server: RunningServer, body: dict[str, Any], expected: tuple[int, str, str]
) -> None:
    assert refused(server, ROUTE, **body) == expected
