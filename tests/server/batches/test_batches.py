"""Batches on a real server, through the official clients, beside a chat and over a restart."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from openai.types import Batch

from tests.server.running import HELLO, RunningServer, running, wait_for

SHORT: dict[str, Any] = {"model": "tiny-chat", "messages": HELLO, "max_tokens": 4}
LONG: dict[str, Any] = {"max_tokens": 100, "ignore_eos": True}


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.openai_url, api_key=server.token, max_retries=0) as client:
        yield client


def made(client: openai.OpenAI, endpoint: Any, bodies: list[dict[str, Any]]) -> Batch:
    """Upload a line for each body, and create a batch of them."""
    lines = [
        {"custom_id": f"line-{number}", "method": "POST", "url": endpoint, "body": body}
        for number, body in enumerate(bodies)
    ]
    content = "\n".join(json.dumps(line) for line in lines).encode()
    file = client.files.create(file=("lines.jsonl", content), purpose="batch")
    return client.batches.create(
        input_file_id=file.id,
        endpoint=endpoint,
        completion_window="24h",
        metadata={"night": "first"},
        output_expires_after={"anchor": "created_at", "seconds": 3600},
    )


def ended(client: openai.OpenAI, batch: Batch) -> Batch:
    def found() -> Batch | None:
        now = client.batches.retrieve(batch.id)
        return now if now.status in ("completed", "failed", "expired", "cancelled") else None

    result: Batch = wait_for(found, 120)
    return result


def lines_of(client: openai.OpenAI, id: str | None) -> dict[str, Any]:
    """Return the lines of a file by their id, each of which is there once."""
    assert id is not None
    lines = [json.loads(line) for line in client.files.content(id).text.splitlines()]
    found = {line["custom_id"]: line for line in lines}
    assert len(found) == len(lines)
    return found


@pytest.mark.parametrize(
    ("endpoint", "good", "has"),
    [
        ("/v1/chat/completions", SHORT, "choices"),
        ("/v1/completions", {"prompt": "Hi", "max_tokens": 2}, "choices"),
        ("/v1/embeddings", {"model": "words", "input": "Hi"}, "data"),
        ("/v1/responses", {"input": "Hi", "max_output_tokens": 2}, "output"),
    ],
)
def test_a_batch_for_each_endpoint_ends_with_answers_and_errors(
    client: openai.OpenAI, endpoint: str, good: dict[str, Any], has: str
) -> None:
    wrong = [{**good, "model": "nonesuch"}, {**good, "stream": True}]
    if endpoint == "/v1/embeddings":
        wrong[1] = {**good, "input": []}
    batch = made(client, endpoint, [good, *wrong])
    assert (batch.object, batch.status, batch.endpoint) == ("batch", "validating", endpoint)
    assert batch.expires_at == batch.created_at + 24 * 3600
    done = ended(client, batch)
    assert done.status == "completed"
    assert done.request_counts is not None
    counts = done.request_counts
    assert (counts.total, counts.completed, counts.failed) == (3, 1, 2)
    assert done.metadata == {"night": "first"}
    answers = lines_of(client, done.output_file_id)
    assert answers["line-0"]["response"]["status_code"] == 200
    assert answers["line-0"]["response"]["body"][has]
    assert answers["line-0"]["response"]["request_id"]
    errors = lines_of(client, done.error_file_id)
    statuses = {id: line["response"]["status_code"] for id, line in errors.items()}
    assert statuses == {"line-1": 404, "line-2": 400}
    assert done.output_file_id is not None
    kept = client.files.retrieve(done.output_file_id)
    assert (kept.purpose, kept.expires_at) == ("batch_output", kept.created_at + 3600)
    assert done in list(client.batches.list(limit=1))
    with pytest.raises(openai.BadRequestError, match="cannot be cancelled"):
        client.batches.cancel(batch.id)


def test_a_chat_is_answered_before_a_batch_of_200_lines_which_can_be_cancelled(
    client: openai.OpenAI, server: RunningServer
) -> None:
    batch = made(client, "/v1/chat/completions", [{**SHORT, **LONG}] * 200)

    def begun() -> bool:
        now = client.batches.retrieve(batch.id)
        return now.request_counts is not None and now.request_counts.completed > 0

    wait_for(begun, 120)
    for _ in range(3):
        assert client.chat.completions.create(**SHORT).choices
    now = client.batches.retrieve(batch.id)
    assert now.status == "in_progress"
    assert now.request_counts is not None
    assert now.request_counts.completed < 100
    (job,) = server.status()["jobs"]
    assert (job["id"], job["kind"], job["state"]) == (batch.id, "batch", "running")
    assert 0 < job["done"] < job["total"] == 200
    assert client.batches.cancel(batch.id).status == "cancelling"
    done = ended(client, batch)
    assert done.status == "cancelled"
    answers = lines_of(client, done.output_file_id)
    left = lines_of(client, done.error_file_id)
    assert len(answers) + len(left) == 200
    assert {line["error"]["code"] for line in left.values()} == {"batch_cancelled"}


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"endpoint": "/v1/moderations"}, "endpoint"),
        ({"completion_window": "500h"}, "completion_window"),
        ({"input_file_id": "file-nonesuch"}, "input_file_id"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, None),
    ],
)
def test_a_batch_that_cannot_be_is_refused_by_the_name_of_the_parameter(
    server: RunningServer, client: openai.OpenAI, changes: dict[str, Any], param: str | None
) -> None:
    file = client.files.create(file=("a.jsonl", b"{"), purpose="batch")
    body = {"input_file_id": file.id, "endpoint": "/v1/responses", "completion_window": "24h"}
    answer = server.client.post("v1/batches", json={**body, **changes})
    assert answer.status_code in (400, 404)
    assert answer.json()["error"]["param"] == (param or "output_expires_after.seconds")


def test_mistakes_in_the_file_are_told_by_their_lines(client: openai.OpenAI) -> None:
    file = client.files.create(file=("a.jsonl", b"\n{"), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/responses", completion_window="24h"
    )
    done = ended(client, batch)
    assert done.status == "failed"
    assert done.errors is not None
    assert done.errors.data is not None
    assert [(e.code, e.line) for e in done.errors.data] == [("invalid_json_line", 2)]


def test_anthropics_client_makes_a_batch_and_reads_its_results(server: RunningServer) -> None:
    with anthropic.Anthropic(
        base_url=server.url.rstrip("/"), api_key=server.token, max_retries=0
    ) as client:
        batches = client.messages.batches
        requests: Any = [
            {"custom_id": "good", "params": SHORT},
            {"custom_id": "bad", "params": {**SHORT, "max_tokens": 0}},
        ]
        batch = batches.create(requests=requests)
        assert (batch.type, batch.processing_status) == ("message_batch", "in_progress")
        assert batch.request_counts.processing == 2
        wait_for(lambda: batches.retrieve(batch.id).processing_status == "ended", 120)
        done = batches.retrieve(batch.id)
        assert done.ended_at is not None
        assert (done.request_counts.succeeded, done.request_counts.errored) == (1, 1)
        answers: Any = list(batches.results(batch.id))
        results = {each.custom_id: each.result for each in answers}
        assert results["good"].message.content[0].text
        assert results["bad"].error.error.type == "invalid_request_error"
        assert [one.id for one in batches.list(limit=1)] == [batch.id]
        assert batches.delete(batch.id).id == batch.id
        with pytest.raises(anthropic.NotFoundError):
            batches.retrieve(batch.id)
        slow: Any = [{"custom_id": f"m{n}", "params": {**SHORT, **LONG}} for n in range(40)]
        batch = batches.create(requests=slow)
        with pytest.raises(anthropic.BadRequestError, match="has not ended"):
            batches.delete(batch.id)
        assert batches.cancel(batch.id).cancel_initiated_at is not None
        wait_for(lambda: batches.retrieve(batch.id).processing_status == "ended", 120)
        kinds = [each.result.type for each in batches.results(batch.id)]
        assert len(kinds) == 40
        assert "canceled" in kinds
        with pytest.raises(anthropic.BadRequestError, match="another request"):
            batches.create(requests=[requests[0], requests[0]])


def completed(client: openai.OpenAI, batch: Batch) -> int:
    counts = client.batches.retrieve(batch.id).request_counts
    assert counts is not None
    return counts.completed


def test_a_batch_goes_on_after_the_engine_has_ended(
    server: RunningServer, client: openai.OpenAI
) -> None:
    batch = made(client, "/v1/chat/completions", [{**SHORT, **LONG}] * 24)
    wait_for(lambda: completed(client, batch), 120)
    os.kill(server.engine_pid(), signal.SIGKILL)
    done = ended(client, batch)
    assert done.status == "completed"
    assert set(lines_of(client, done.output_file_id)) == {f"line-{n}" for n in range(24)}
    assert done.error_file_id is None


def test_a_batch_goes_on_after_the_server_has_ended(tmp_path: Path) -> None:
    data = {"JUPYTER_DATA_DIR": str(tmp_path)}
    config = {"MlxNotebookApp": {"max_batch": 4}}
    with running(env=data, config=config) as first:
        with openai.OpenAI(base_url=first.openai_url, api_key=first.token) as client:
            batch = made(client, "/v1/chat/completions", [{**SHORT, **LONG}] * 24)
            wait_for(lambda: completed(client, batch), 120)
            assert client.batches.retrieve(batch.id).status == "in_progress"
        first.process.send_signal(signal.SIGKILL)
        first.process.wait(20)
    with (
        running(env=data, config=config) as second,
        openai.OpenAI(base_url=second.openai_url, api_key=second.token) as client,
    ):
        done = ended(client, batch)
        assert done.status == "completed"
        assert set(lines_of(client, done.output_file_id)) == {f"line-{n}" for n in range(24)}
        assert done.error_file_id is None
