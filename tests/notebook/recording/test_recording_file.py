"""A recording's file: what it holds, what it does not, and that streams come back as they were."""

import dataclasses
import hashlib
import json
import os

import pytest

from mlx_notebook.notebook.errors import BadRecording
from mlx_notebook.notebook.recording.recording_file import (
    Exchange,
    Recording,
    RecordingFile,
    abbreviated,
    redactor,
    request_key,
)
from mlx_notebook.notebook.server.server import Server


def chunk(text, **extra):
    data = {"id": "c1", "choices": [{"index": 0, "delta": {"content": text}}], **extra}
    return f"data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n"


def an_exchange(**extra):
    told = {"model": "m", "messages": [{"role": "user", "content": "é"}, {"role": "assistant"}]}
    plain = {
        "key": "k", "cell": 3, "method": "POST", "path": "v1/x", "request": told, "status": 200,
        "type": "application/json", "seconds": 0.5, "body": {"text": ["a", "b"]},
    }  # fmt: skip
    return Exchange(**{**plain, **extra})


def test_a_file_is_read_back_and_has_a_line_a_value(tmp_path):
    path = tmp_path / "run.recorded.json"
    file = RecordingFile(path)
    assert not path.exists()
    # As of a question without a body, asked outside of cells.
    bare = an_exchange(cell=None, request=None, method="GET", body={"data": []})
    second, first = an_exchange(cell=4, complete=False), bare
    file.add(2, second)
    file.add(1, first)
    assert Recording.load(path).exchanges == [first, second]
    lines = path.read_text(encoding="utf-8").splitlines()
    assert '{"role": "user", "content": "é"},' in [line.strip() for line in lines]
    assert all(len(line) < 90 for line in lines)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def written(**wrong):
    """The text of a recording with one exchange, some of whose fields are wrong."""
    exchange = {**dataclasses.asdict(an_exchange()), **wrong}
    return json.dumps({"mlx_notebook_recording": 1, "exchanges": [exchange]})


WRONG = [
    {"status": "200"}, {"status": 99}, {"seconds": -1}, {"seconds": "1"}, {"seconds": float("nan")},
    {"type": "text/html\r\nx: y"}, {"type": None}, {"key": 1}, {"cell": "1"}, {"method": []},
    {"events": {}}, {"events": ["x"]}, {"events": [{"t": 0}]}, {"events": [{"t": 0, "data": 1}]},
    {"events": [{"t": 1e300, "data": {}}]}, {"events": [{"t": "0", "data": {}}]},
    {"events": [{"t": 0, "then": []}]}, {"events": [{"t": 0, "data": {}, "text": ""}]},
    {"events": [{"t": 0, "data": {}, "event": 1}]}, {"default_model": 1}, {"complete": "yes"},
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("not JSON", "is not a recording"),
        ("[1]", "is not a recording"),
        ('{"mlx_notebook_recording": 1, "exchanges": [{"key": 1}]}', "is not a recording"),
        ('{"mlx_notebook_recording": 99}', "of version 99"),
        ('{"mlx_notebook_recording": 1, "exchanges": ' + "[" * 100_000, "is not a recording"),
        *((written(**wrong), "is not a recording") for wrong in WRONG),
        (None, "There is no recording"),
    ],
)
def test_a_file_that_is_none_of_ours_is_told_and_never_written_over(tmp_path, text, said):
    path = tmp_path / "data.json"
    if text is None:
        with pytest.raises(BadRecording, match=said):
            Recording.load(path)
        with pytest.raises(BadRecording, match="no folder"):
            RecordingFile(tmp_path / "missing" / "run.json")
        return
    path.write_text(text)
    with pytest.raises(BadRecording, match=said):
        RecordingFile(path)
    assert path.read_text() == text


def test_what_is_no_regular_file_is_told_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    for name, said in (("pipe.json", "is not a regular file"), (".", "is a folder")):
        with pytest.raises(BadRecording, match=said):
            Recording.load(tmp_path / name)


def test_a_full_file_keeps_what_it_has(tmp_path, monkeypatch):
    monkeypatch.setattr("mlx_notebook.notebook.recording.recording_file.MAX_BYTES", 1000)
    file = RecordingFile(tmp_path / "run.json")
    file.add(1, an_exchange())
    file.add(2, an_exchange(body="x" * 1000))
    file.add(3, an_exchange())
    assert file.full
    assert len(Recording.load(file.path).exchanges) == len(file) == 1


def test_long_texts_and_images_are_kept_by_their_hash():
    image = "data:image/png;base64," + "A" * 10_000
    kept = abbreviated({"a": [image, "word " * 2000, "short"]})["a"]
    assert kept[0].startswith("data:image/png;base64,AAA")
    assert "(10022 characters, sha256 " in kept[0]
    assert len(kept[0]) < 150
    assert len(kept[1]) < 4200
    assert kept[2] == "short"


def test_neither_token_nor_address_nor_home_is_kept(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    clean = redactor(Server("https://hub.example:99/user/ada/", "s3cret-token"))
    text = clean("s3cret-token https://hub.example:99/user/ada/v1 hub.example:99 /home/ada/x")
    assert text == "<token> <server>/v1 <server> ~/x"


def test_the_key_is_of_what_is_asked_not_of_how_it_is_written():
    one, two = (
        json.loads('{"a": 1, "b": {"c": 2, "d": 3}}'),
        json.loads('{"b":{"d":3,"c":2},"a":1}'),
    )
    assert request_key("POST", "x", one) == request_key("POST", "x", two)
    assert request_key("POST", "x", one) != request_key("POST", "y", one)
    assert request_key("POST", "x", one) != request_key("POST", "x", {**one, "a": 2})


def user(text):
    return {"role": "user", "content": text}


def test_a_recording_of_the_first_version_is_found_where_a_text_of_requests_has_changed():
    first = {"messages": [{"role": "user", "content": "The picture from the tool calls above:"}]}
    canonical = json.dumps(first, sort_keys=True, separators=(",", ":"))
    key = hashlib.sha256(f"POST v1/chat/completions\n{canonical}".encode()).hexdigest()[:24]
    now = {"messages": [{"role": "user", "content": "The image from the tool calls above:"}]}
    assert request_key("POST", "v1/chat/completions", now) == key
