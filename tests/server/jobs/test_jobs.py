"""Jobs on a real server: fine-tuning of tiny-chat by a few steps, stopped, killed and queued."""

import json
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from tests.server.running import RunningServer, running, wait_for

QUESTION = {"role": "user", "content": "Who built the harbour?"}
EXAMPLE = {"messages": [QUESTION, {"role": "assistant", "content": "Ada Veldkamp built it."}]}
LONG = {"messages": [QUESTION, {"role": "assistant", "content": "Ada " * 200}]}
ENDLESS = 1_000_000


@pytest.fixture(scope="module")
def trainer() -> Iterator[RunningServer]:
    with running(config={"MlxNotebookApp": {"memory_budget_bytes": 2 * 10**9}}) as server:
        yield server


def request(name: str, /, **changes: Any) -> dict[str, Any]:
    body = {"kind": "finetune", "model": "tiny-chat", "name": name, "train": [EXAMPLE] * 4}
    return {**body, "held_out": [EXAMPLE], "steps": 6, "batch_size": 2, "rank": 2, **changes}


def start(server: RunningServer, **body: Any) -> str:
    response = server.client.post("mlx/jobs", json=body)
    assert response.status_code == 200, response.text
    return str(response.json()["id"])


def events(server: RunningServer, id: str) -> Iterator[dict[str, Any]]:
    with server.client.stream("GET", f"mlx/jobs/{id}/events", timeout=120) as stream:
        for line in stream.iter_lines():
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))


def end_of(server: RunningServer, id: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Follow a job to its end; return its last state and all its records."""
    last, records = {}, []
    for event in events(server, id):
        last = event["job"]
        records += event["records"]
    return last, records


def steps(records: list[dict[str, Any]]) -> list[int]:
    return [record["values"]["step"] for record in records if record["name"] == "train"]


def until_it_trains(server: RunningServer, id: str) -> dict[str, Any]:
    """Wait for the first step of a job, and return its state."""
    return next(event["job"] for event in events(server, id) if steps(event["records"]))


def processes(server: RunningServer) -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process(server.process.pid).children()
        if "mlx_notebook.engine.job_process" in child.cmdline()
    ]


def error_of(server: RunningServer, **body: Any) -> tuple[int, str]:
    response = server.client.post("mlx/jobs", json=body)
    return response.status_code, response.json()["error"]["code"]


def said(server: RunningServer, model: str) -> str:
    response = server.chat(model=model, messages=[QUESTION], max_tokens=24, temperature=0)
    assert response.status_code == 200, response.text
    return str(response.json()["choices"][0]["message"]["content"])


def test_an_adapter_answers_all_clients_once_it_is_trained_and_can_be_merged(
    trainer: RunningServer,
) -> None:
    body = request("harbour", steps=12, rank=8, learning_rate=0.001, prompts=[EXAMPLE])
    end, records = end_of(trainer, start(trainer, **body))
    assert end["state"] == "finished", end
    assert end["result"]["model"] == "tiny-chat+harbour"
    assert steps(records) == list(range(1, 13))
    samples = [one["values"] for one in records if one["name"] == "sample"]
    assert samples[-1]["expected"] == "Ada Veldkamp built it."
    assert said(trainer, "tiny-chat+harbour") == samples[-1]["text"] != said(trainer, "tiny-chat")
    again = trainer.client.post("mlx/jobs", json=body).json()
    assert (again["state"], again["result"]) == ("finished", end["result"])
    assert error_of(trainer, **{**body, "steps": 13}) == (409, "name_taken")
    merged, _ = end_of(trainer, start(trainer, kind="merge", model="tiny-chat+harbour", name="own"))
    assert merged["state"] == "finished", merged
    assert said(trainer, "own") == samples[-1]["text"]


def test_one_job_runs_at_a_time_and_the_death_of_its_process_is_told(
    trainer: RunningServer,
) -> None:
    body = request("endless", steps=ENDLESS, train=[*[EXAMPLE] * 4, LONG], max_tokens=64)
    id = start(trainer, **body)
    running_job = until_it_trains(trainer, id)
    assert running_job["memory"] > 0
    (note,) = running_job["notes"]
    assert note.startswith("1 of 5 examples of 'train' have more than 64 tokens (the longest ")
    assert note.endswith("are left out: 4. Raise max_tokens, or shorten them.")
    assert start(trainer, **body) == id
    assert error_of(trainer, **{**body, "rank": 3}) == (409, "job_running")
    second = start(trainer, **request("second"))
    listed = trainer.client.get("mlx/jobs").json()["jobs"]
    assert [(job["id"], job["state"]) for job in listed[:2]] == [
        (id, "running"),
        (second, "waiting"),
    ]
    shown = trainer.status()["jobs"]
    assert [(job["id"], job["kind"], job["state"]) for job in shown] == [
        (id, "finetune", "running"),
        (second, "finetune", "waiting"),
    ]
    assert shown[0]["done"] > 0
    assert shown[0]["total"] == ENDLESS
    assert shown[1]["phase"] == "waiting for another job"
    trainer.client.post(f"mlx/jobs/{second}/cancel", json={})
    assert end_of(trainer, second)[0]["state"] == "stopped"
    (process,) = processes(trainer)
    process.kill()
    end, _ = end_of(trainer, id)
    assert (end["state"], end["code"]) == ("failed", "job_failed")
    assert "killed by signal 9" in end["message"]
    assert trainer.works()


def test_a_job_without_enough_memory_fails_and_says_what_is_missing(
    trainer: RunningServer,
) -> None:
    id = start(trainer, **request("large", train=[LONG] * 256, batch_size=256))
    end, _ = end_of(trainer, id)
    assert (end["state"], end["code"]) == ("failed", "insufficient_memory")
    assert "are missing" in end["message"]


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"model": "none"}, 404, "model_not_found"),
        ({"name": "../up"}, 400, "invalid_value"),
        ({"train": [{"messages": [QUESTION]}]}, 400, "invalid_value"),
        ({"model": "tiny-vision"}, 400, "invalid_request"),
        ({"kind": "nothing"}, 400, "invalid_value"),
    ],
)
def test_a_request_that_cannot_be_done_is_refused(
    trainer: RunningServer, changes: dict[str, Any], status: int, code: str
) -> None:
    assert error_of(trainer, **request("refused", **changes)) == (status, code)


def test_what_has_no_adapter_cannot_be_merged(trainer: RunningServer) -> None:
    body = {"kind": "merge", "model": "tiny-chat", "name": "refused"}
    assert error_of(trainer, **body) == (404, "adapter_not_found")


def test_what_cannot_be_converted_is_refused_before_a_job_begins(trainer: RunningServer) -> None:
    body = {"kind": "convert", "model": "tiny-chat", "name": "small"}
    for wrong, status in (
        ({"name": "tiny-vision"}, 409),
        ({"bits": None, "method": "awq"}, 400),
        ({"recipe": "mixed_4_6", "method": "awq"}, 400),
        ({"bits": 7}, 400),
        ({"name": "../small"}, 400),
        ({"model": "tiny-vision"}, 400),
        ({"model": "nothing"}, 404),
    ):
        assert error_of(trainer, **{**body, **wrong})[0] == status, wrong


def test_a_job_ends_when_its_server_is_killed(trainer: RunningServer) -> None:
    until_it_trains(trainer, start(trainer, **request("orphan", steps=ENDLESS)))
    (process,) = processes(trainer)
    trainer.process.kill()
    trainer.process.wait(20)
    wait_for(lambda: not process.is_running(), 30)
