"""Files, through the official client."""

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.server.running import RunningServer


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.openai_url, api_key=server.token, max_retries=0) as client:
        yield client


def test_a_file_is_uploaded_listed_read_and_deleted(client: openai.OpenAI) -> None:
    made = client.files.create(
        file=("täg\r\n.jsonl", b'{"a": 1}\n--x\r\n'),
        purpose="batch",
        expires_after={"anchor": "created_at", "seconds": 7200},
    )
    other = client.files.create(file=("b.txt", b"Hello"), purpose="user_data")
    assert (made.object, made.status, made.purpose, made.bytes) == (
        "file",
        "processed",
        "batch",
        14,
    )
    assert made.expires_at == made.created_at + 7200
    assert other.expires_at is None
    assert client.files.retrieve(made.id) == made
    listed = client.files.list(purpose="batch")
    assert made in listed.data
    assert other not in listed.data
    # The client asks for one page after another.
    assert [file.id for file in client.files.list(limit=1)][:2] == [other.id, made.id]
    assert client.files.list(order="asc", after=made.id).data == [other]
    answer = client.files.content(made.id)
    assert answer.read() == b'{"a": 1}\n--x\r\n'
    assert answer.response.headers["content-type"] == "application/octet-stream"
    assert answer.response.headers["content-disposition"].startswith("attachment;")
    for file in (made, other):
        assert client.files.delete(file.id).deleted
        for gone in (client.files.retrieve, client.files.content, client.files.delete):
            with pytest.raises(openai.NotFoundError) as caught:
                gone(file.id)
            assert caught.value.code == "file_not_found"


@pytest.mark.parametrize(
    ("changes", "param", "said"),
    [
        ({"purpose": "fine-tune"}, "purpose", "'fine-tune'"),
        ({"purpose": "batch_output"}, "purpose", "Only the server"),
        ({"purpose": None}, "purpose", "needs 'purpose'"),
        ({"file": ("a.txt", b"")}, "file", "empty"),
        ({"file": None}, "file", "needs a file"),
        ({"expires_after[seconds]": "7200"}, "expires_after[anchor]", "created_at"),
        (
            {"expires_after[anchor]": "created_at", "expires_after[seconds]": "1"},
            "expires_after[seconds]",
            "3,600",
        ),
    ],
)
def test_a_form_that_is_wrong_is_told_by_the_name_of_its_field(
    server: RunningServer, changes: dict[str, Any], param: str, said: str
) -> None:
    form = {"file": ("a.txt", b"Hello"), "purpose": (None, "user_data")}
    given = {
        name: (None, value) if isinstance(value, str) else value for name, value in changes.items()
    }
    fields = {name: value for name, value in {**form, **given}.items() if value is not None}
    answer = server.client.post("v1/files", files=fields)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] == param
    assert said in error["message"]


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=x", b"--x\r\nnonsense"),
        (
            "multipart/form-data; boundary=x",
            b"--x\r\nContent-Disposition: form-data\r\n\r\n\r\n--x--",
        ),
    ],
)
def test_a_body_that_is_no_form_is_refused(
    server: RunningServer, kind: str, content: bytes
) -> None:
    answer = server.client.post("v1/files", content=content, headers={"Content-Type": kind})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["code"] == "invalid_form"


def test_a_file_that_is_too_large_is_refused_also_if_its_length_is_not_told(
    server: RunningServer,
) -> None:
    form = {"file": ("a.txt", b"x" * (1024 * 1024 + 1)), "purpose": (None, "user_data")}
    just_too_large = server.client.post("v1/files", files=form)
    assert just_too_large.status_code == 413
    assert "max_file_bytes" in just_too_large.json()["error"]["message"]
    request = httpx.Request("POST", server.url + "v1/files", files=form)
    chunks = [request.read()] * 3
    headers = {"Content-Type": request.headers["content-type"]}
    answer = server.client.post("v1/files", content=iter(chunks), headers=headers)
    assert answer.status_code == 413
    assert "max_file_bytes" in answer.json()["error"]["message"]


def test_fields_that_nobody_knows_are_named(server: RunningServer) -> None:
    form = {"file": ("a.txt", b"x"), "purpose": (None, "user_data"), "colour": (None, "red")}
    answer = server.client.post("v1/files", files=form).raise_for_status()
    assert answer.headers["x-mlx-ignored-parameters"] == "colour"
    server.client.delete(f"v1/files/{answer.json()['id']}").raise_for_status()
