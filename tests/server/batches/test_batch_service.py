"""Batches from their file to their end, with a stand-in for the handlers that answer the lines."""

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from mlx_notebook.server.batches import batch_runner, batch_store
from mlx_notebook.server.batches.batch_record import BatchKind, BatchRecord, Sender, WaitingLine
from mlx_notebook.server.batches.batch_service import BatchService
from mlx_notebook.server.batches.file_store import NewFile
from mlx_notebook.server.batches.line_answers import LineAnswer
from mlx_notebook.server.errors import InvalidRequest, QueueFull
from mlx_notebook.server.users.user import User
from mlx_notebook.server.wire.ids import new_id

pytestmark = pytest.mark.anyio


class Handlers:
    """Answers lines, and counts how often each one was sent.

    `answers` says for a prompt what to do; others get a 200. While `closed`, no line is answered.
    """

    def __init__(self) -> None:
        self.sent = Counter[str]()
        self.senders: list[Sender] = []
        self.most = self.running = 0
        self.answers: dict[str, Callable[[], LineAnswer]] = {}
        self.open = asyncio.Event()
        self.open.set()
        self.arrived = asyncio.Event()

    def close(self) -> LineAnswer:
        """Answer one more line, and none after that."""
        self.open.clear()
        return LineAnswer(200, b"{}", "")

    async def send(self, sender: Sender, endpoint: str, body: bytes) -> LineAnswer:
        prompt = json.loads(body)["prompt"]
        self.sent[prompt] += 1
        self.senders.append(sender)
        self.running += 1
        self.most = max(self.most, self.running)
        self.arrived.set()
        try:
            await asyncio.sleep(0)
            await self.open.wait()
        finally:
            self.running -= 1
        make = self.answers.get(prompt)
        return make() if make else LineAnswer(200, json.dumps({"said": prompt}).encode(), "r1")


class Tried:
    """A service, what answers its lines, and short cuts."""

    def __init__(self, folder: Path, max_bytes: int = 100_000) -> None:
        self.handlers = Handlers()
        self.log = logging.getLogger("test.batches")
        self.service = BatchService(
            folder, max_bytes=max_bytes, send=self.handlers.send, places=4, log=self.log
        )

    async def made(
        self, prompts: list[str], owner: str = "ann", kind: BatchKind = "openai", **changes: Any
    ) -> BatchRecord:
        """Create a batch with a line for each prompt."""
        bodies = [json.dumps({"prompt": prompt}).encode() for prompt in prompts]
        record = BatchRecord(
            id=new_id("batch_"),
            kind=kind,
            endpoint="v1/completions",
            sender=Sender(owner, owner, User(owner)),
            status="validating" if kind == "openai" else "in_progress",
            expires_at=time.time() + 3600,
            times={"validating": 1.0, "in_progress": 1.0},
        )
        if kind == "anthropic":
            lines = [
                WaitingLine(number, prompt, body)
                for number, (prompt, body) in enumerate(zip(prompts, bodies, strict=True), 1)
            ]
            record.total = len(lines)
        else:
            lines = []
            text = b"\n".join(
                b'{"custom_id": "%s", "method": "POST", "url": "/v1/completions", "body": %s}'
                % (prompt.encode(), body)
                for prompt, body in zip(prompts, bodies, strict=True)
            )
            file = await self.service.files.create(owner, NewFile("in", "batch", text or b"\n"))
            record.input_file_id = file.id
        for name, value in changes.items():
            setattr(record, name, value)
        await self.service.create(record, lines)
        return record

    async def ended(self, record: BatchRecord) -> BatchRecord:
        """Wait until a batch has ended, and return it."""
        while not (found := await self.now(record)).ended or self.service.running:
            await asyncio.sleep(0.005)
        return found

    async def now(self, record: BatchRecord) -> BatchRecord:
        found = await self.service.store.get(record.owner, record.kind, record.id)
        assert found is not None
        return found

    async def lines(self, record: BatchRecord, id: str | None) -> dict[str, Any]:
        """Return the lines of a file by their `custom_id`, each of which is there once."""
        if id is None:
            return {}
        _, content = await self.service.files.content(record.owner, id)
        lines = [json.loads(line) for line in content.splitlines()]
        found = {line["custom_id"]: line for line in lines}
        assert len(found) == len(lines)
        return found


@pytest.fixture
async def tried(tmp_path: Path) -> AsyncIterator[Tried]:
    made = Tried(tmp_path)
    yield made
    await made.service.close()


def names(count: int) -> list[str]:
    return [f"line-{number}" for number in range(count)]


async def test_each_line_is_answered_once_as_its_user_and_a_few_at_a_time(tried: Tried) -> None:
    record = await tried.made(names(50))
    assert (await tried.now(record)).status in ("validating", "in_progress")
    ended = await tried.ended(record)
    assert ended.status == "completed"
    assert list(ended.times) == ["validating", "in_progress", "finalizing", "completed"]
    assert (ended.total, ended.counts.succeeded, ended.error_file_id) == (50, 50, None)
    found = await tried.lines(ended, ended.output_file_id)
    assert list(found) == names(50)
    assert found["line-7"]["response"]["body"] == {"said": "line-7"}
    assert set(tried.handlers.sent.values()) == {1}
    assert set(tried.handlers.senders) == {record.sender}
    assert tried.handlers.most == 4
    # Nothing is kept twice.
    assert await tried.service.store.answers(record.id, 0, 10) == []


async def test_mistakes_in_the_file_fail_the_batch_before_a_line_is_sent(tried: Tried) -> None:
    ended = await tried.ended(await tried.made(["a", "a"]))
    assert ended.status == "failed"
    assert [(e.code, e.line) for e in ended.errors] == [("duplicate_custom_id", 2)]
    gone = await tried.ended(await tried.made(["a"], input_file_id="file-gone"))
    assert [(e.code, e.param) for e in gone.errors] == [("file_not_found", "input_file_id")]
    assert not tried.handlers.sent


async def test_refused_lines_are_in_the_error_file(tried: Tried) -> None:
    tried.handlers.answers["bad"] = lambda: LineAnswer(400, b'{"error": {"code": "x"}}', "")
    ended = await tried.ended(await tried.made(["good", "bad"]))
    assert ended.status == "completed"
    assert (ended.counts.succeeded, ended.counts.errored) == (1, 1)
    found = await tried.lines(ended, ended.error_file_id)
    assert found["bad"]["response"]["status_code"] == 400
    assert list(await tried.lines(ended, ended.output_file_id)) == ["good"]


async def test_a_failure_is_tried_three_times_and_a_full_queue_as_often_as_need_be(
    tried: Tried,
) -> None:
    failures = iter([503, 503])
    full = iter([429] * 5)

    def flaky() -> LineAnswer:
        return LineAnswer(status := next(failures, 200), b"{}", "", 0.0 if status > 200 else None)

    def busy() -> LineAnswer:
        return LineAnswer(status := next(full, 200), b"{}", "", 0.0 if status > 200 else None)

    tried.handlers.answers = {
        "flaky": flaky,
        "busy": busy,
        "broken": lambda: LineAnswer(503, b"{}", "", 0.0),
    }
    ended = await tried.ended(await tried.made(["flaky", "busy", "broken", "fine"]))
    assert tried.handlers.sent == {"flaky": 3, "busy": 6, "broken": 3, "fine": 1}
    assert set(await tried.lines(ended, ended.output_file_id)) == {"flaky", "busy", "fine"}
    assert set(await tried.lines(ended, ended.error_file_id)) == {"broken"}


async def test_an_unexpected_failure_is_an_error_of_its_line_and_in_the_log(
    tried: Tried, caplog: pytest.LogCaptureFixture
) -> None:
    def explode() -> LineAnswer:
        raise RuntimeError("boom")

    tried.handlers.answers["bomb"] = explode
    ended = await tried.ended(await tried.made(["bomb", "fine"]))
    found = await tried.lines(ended, ended.error_file_id)
    assert found["bomb"]["error"]["code"] == "internal_error"
    assert (ended.status, ended.counts.succeeded) == ("completed", 1)
    assert "boom" in caplog.text


async def test_a_failure_of_the_batch_itself_is_in_its_errors_and_in_the_log(
    tried: Tried, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(content: bytes, endpoint: str) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(batch_runner, "read_lines", read)
    ended = await tried.ended(await tried.made(["a"]))
    assert (ended.status, [error.code for error in ended.errors]) == ("failed", ["internal_error"])
    assert "boom" in caplog.text


async def test_a_cancelled_batch_keeps_what_is_answered_and_stops_what_runs(tried: Tried) -> None:
    tried.handlers.answers["line-1"] = tried.handlers.close
    record = await tried.made(names(50))
    while not (await tried.now(record)).counts.succeeded or tried.handlers.open.is_set():
        await asyncio.sleep(0.005)
    cancelled = await tried.service.cancel(await tried.now(record))
    assert cancelled.status in ("cancelling", "cancelled")
    ended = await tried.ended(record)
    assert ended.status == "cancelled"
    assert tried.handlers.running == 0
    done = await tried.lines(ended, ended.output_file_id)
    left = await tried.lines(ended, ended.error_file_id)
    assert set(done) | set(left) == set(names(50))
    assert not set(done) & set(left)
    assert done
    assert {line["error"]["code"] for line in left.values()} == {"batch_cancelled"}
    with pytest.raises(InvalidRequest, match="is cancelled"):
        await tried.service.cancel(ended)


async def test_a_batch_whose_time_is_over_expires_with_what_is_answered(tried: Tried) -> None:
    tried.handlers.open.clear()
    ended = await tried.ended(await tried.made(["a", "b"], expires_at=time.time() + 0.1))
    assert (ended.status, ended.counts.expired) == ("expired", 2)
    left = await tried.lines(ended, ended.error_file_id)
    assert {line["error"]["code"] for line in left.values()} == {"batch_expired"}


async def test_users_take_turns(tried: Tried) -> None:
    tried.handlers.open.clear()
    first = await tried.made(names(40), owner="ann")
    while tried.handlers.running < 4:
        await asyncio.sleep(0.005)
    second = await tried.made(["bobs"], owner="bob")
    while (await tried.now(second)).status == "validating":
        await asyncio.sleep(0.005)
    await asyncio.sleep(0)
    tried.handlers.open.set()
    await tried.ended(first)
    order = [sender.owner for sender in tried.handlers.senders]
    assert order.index("bob") < 12


async def test_another_server_goes_on_where_one_was_stopped(tmp_path: Path) -> None:
    first = Tried(tmp_path)
    first.handlers.answers["line-9"] = first.handlers.close
    messages = await first.made(["m1", "m2"], kind="anthropic")
    record = await first.made(names(40))
    while first.handlers.open.is_set():
        await asyncio.sleep(0.005)
    # A second server, while the first one runs, takes nothing from it.
    second = Tried(tmp_path)
    assert await second.service.store.adopt(second.service._holder.is_gone) == []
    await second.service.close()
    await first.service.close()

    third = Tried(tmp_path)
    done = (await third.now(record)).counts.succeeded
    assert 0 < done < 40
    third.service.resume()
    while not (await third.now(record)).ended:
        await asyncio.sleep(0.005)
    ended = await third.ended(record)
    assert ended.status == "completed"
    assert set(await third.lines(ended, ended.output_file_id)) == set(names(40))
    again = [prompt for prompt in third.handlers.sent if prompt.startswith("line")]
    assert len(again) == third.handlers.sent.total() - len({"m1", "m2"} & set(third.handlers.sent))
    assert len(again) == 40 - done
    assert set(third.handlers.senders) == {record.sender}
    assert (await third.ended(messages)).counts.succeeded == 2
    await third.service.close()
    assert not list(tmp_path.glob("batches-*.lock"))


async def test_a_batch_is_cancelled_through_another_server_of_the_folder(tmp_path: Path) -> None:
    first, second = Tried(tmp_path), Tried(tmp_path)
    first.handlers.answers["line-9"] = first.handlers.close
    record = await first.made(names(40))
    while first.handlers.open.is_set():
        await asyncio.sleep(0.005)
    assert (await second.service.cancel(await second.now(record))).status == "cancelling"
    first.handlers.open.set()
    ended = await first.ended(record)
    assert ended.status == "cancelled"
    assert ended.counts.cancelled > 20
    for tried in (first, second):
        await tried.service.close()


async def test_an_answer_without_room_is_an_error_of_its_line(tmp_path: Path) -> None:
    tried = Tried(tmp_path, max_bytes=3000)
    tried.handlers.answers["long"] = lambda: LineAnswer(200, b'"%s"' % (b"x" * 5000), "")
    ended = await tried.ended(await tried.made(["long", "short"]))
    found = await tried.lines(ended, ended.error_file_id)
    assert found["long"]["error"]["code"] == "too_many_files"
    assert list(await tried.lines(ended, ended.output_file_id)) == ["short"]
    await tried.service.close()


async def test_a_user_has_few_batches_that_have_not_ended(
    tried: Tried, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_store, "_MAX_ACTIVE", 1)
    tried.handlers.open.clear()
    record = await tried.made(["a"])
    with pytest.raises(QueueFull):
        await tried.made(["b"])
    await tried.made(["c"], owner="bob")
    await tried.service.cancel(record)
    tried.handlers.open.set()
    await tried.ended(record)
    await tried.made(["d"])


async def test_messages_have_results_in_place_of_files_and_pages_go_both_ways(
    tried: Tried,
) -> None:
    tried.handlers.answers["bad"] = lambda: LineAnswer(400, b'{"type": "error"}', "")
    made = [await tried.made(["good", "bad"], kind="anthropic") for _ in range(3)]
    for record in made:
        await tried.ended(record)
    ended = await tried.now(made[0])
    answers = await tried.service.store.answers(ended.id, 0, 10)
    results = [json.loads(answer)["result"] for _, answer in answers]
    assert [result["type"] for result in results] == ["succeeded", "errored"]
    first, second, third = (record.id for record in made)
    store = tried.service.store

    async def page(**where: Any) -> list[str]:
        found = await store.page("ann", "anthropic", **{"limit": 1, **where})
        assert found is not None
        return [record.id for record in found]

    assert await page(limit=2) == [third, second, first]
    assert await page(after=third) == [second, first]
    assert await page(before=first) == [second, third]
    assert await store.page("bob", "anthropic", limit=1, after=first) is None
    assert await store.get("ann", "openai", first) is None
    await store.delete(first)
    assert await store.answers(first, 0, 10) == []
