"""Requests that are costly to prepare: each ends by itself, and others go on beside them."""

import io
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from PIL import Image

from mlx_notebook import protocol
from tests.engine.process import EngineProcess, running
from tests.tiny_models.models import TEMPLATE, qwen3, qwen_vl

ENDLESS = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
SOMETIMES = "{% if messages[0].content == 'loop' %}" + ENDLESS + "{% endif %}" + TEMPLATE


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineProcess]:
    with running(max_resident=3) as process:
        yield process


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose template loops for certain messages."""
    return qwen3(tmp_path_factory.mktemp("models") / "slow", template=SOMETIMES)


def says(text: str) -> protocol.ChatPrompt:
    return protocol.ChatPrompt(messages=[{"role": "user", "content": text}])


def failure(engine: EngineProcess, request: str) -> protocol.Failed:
    (end,) = engine.finish(request)
    assert isinstance(end, protocol.Failed)
    return end


@pytest.mark.parametrize("kind", ["chat", "text", "tokens"])
def test_a_prompt_that_cannot_fit_is_refused_by_its_length(
    engine: EngineProcess, model: Path, kind: str
) -> None:
    engine.finish(engine.start("random", model, "Hello", max_tokens=1))
    before = psutil.Process(engine.process.pid).memory_info().rss
    text = "lorem ipsum " * 2_500_000
    prompts = {"chat": says(text), "text": protocol.TextPrompt(text=text)}
    prompt = prompts.get(kind, protocol.TextPrompt(text=[5] * 5_000_000))
    told = failure(engine, engine.start("random", model, prompt))
    assert told.code == "context_length_exceeded"
    assert told.param == "messages"
    assert "maximum context length is 2048 tokens" in told.message
    # Thirty megabytes and their copies, where tokens would take gigabytes.
    assert psutil.Process(engine.process.pid).memory_info().rss - before < 400 * 2**20


def test_long_prompts_that_nobody_waits_for_hold_up_no_one(
    engine: EngineProcess, model: Path
) -> None:
    dropped = [engine.start("random", model, says("lorem ipsum " * 500_000)) for _ in range(4)]
    for request in dropped:
        engine.send(protocol.Cancel(request))
    request = engine.start("random", model, "Hello", max_tokens=4, ignore_eos=True)
    assert isinstance(engine.finish(request)[0], protocol.Done)
    assert engine.stats().requests == []


def test_a_model_whose_template_loops_does_not_load_and_others_go_on(
    model: Path, tmp_path: Path
) -> None:
    endless = qwen3(tmp_path / "endless", template=ENDLESS)
    with running(sandbox_seconds=1) as engine:
        engine.finish(engine.start("random", model, "Hello", max_tokens=1))
        request = engine.start("endless", endless, "Hello")
        other = engine.start("random", model, "Hello", max_tokens=4, ignore_eos=True)
        assert isinstance(engine.finish(other)[0], protocol.Done)
        told = failure(engine, request)
        assert told.code == "model_load_failed"
        assert "chat template took more than 1 s of processor time" in told.message


def test_a_model_whose_template_is_enormous_does_not_load(
    engine: EngineProcess, tmp_path: Path
) -> None:
    large = qwen3(tmp_path / "large", template="{# " + "x" * 2**18 + " #}")
    told = failure(engine, engine.start("large", large, "Hello"))
    assert told.code == "model_load_failed"
    assert "more than 262144 characters" in told.message


def test_a_slow_template_holds_up_its_own_request_only(
    engine: EngineProcess, model: Path, slow: Path
) -> None:
    engine.finish(engine.start("slow", slow, "Hello", max_tokens=1))
    looping = [engine.start("slow", slow, "loop") for _ in range(6)]
    # What takes long goes on at the lowest priority.
    while not any(child.nice() == 19 for child in psutil.Process(engine.process.pid).children()):
        engine.stats()
    request = engine.start("random", model, "Hello", max_tokens=4, ignore_eos=True)
    assert isinstance(engine.finish(request)[0], protocol.Done)
    assert not any(
        isinstance(e, protocol.Done | protocol.Failed) and e.id in looping for e in engine.events
    )
    for id in looping:
        engine.send(protocol.Cancel(id))
    # Those that wait are dropped, those that run are stopped: the same model answers again.
    request = engine.start("slow", slow, "Hello", max_tokens=4, ignore_eos=True)
    assert isinstance(engine.finish(request)[0], protocol.Done)
    assert not any(
        isinstance(e, protocol.Done | protocol.Failed) and e.id in looping for e in engine.events
    )
    assert engine.stats().requests == []


def test_texts_are_shown_as_tokens_up_to_a_stated_length(
    engine: EngineProcess, model: Path
) -> None:
    def shown(id: str, text: str | list[int]) -> protocol.Tokenized | protocol.Failed:
        prompt = protocol.TextPrompt(text=text)
        engine.send(protocol.Tokenize(id=id, model="random", path=str(model), prompt=prompt))
        event = engine.wait(
            lambda e: isinstance(e, protocol.Tokenized | protocol.Failed) and e.id == id
        )
        assert isinstance(event, protocol.Tokenized | protocol.Failed)
        return event

    whole = shown("whole", "ab" * 50_000)
    assert isinstance(whole, protocol.Tokenized)
    assert len(whole.tokens) == 100_000
    assert whole.pieces == []
    back = shown("back", whole.tokens)
    assert isinstance(back, protocol.Tokenized)
    assert back.text == "ab" * 50_000
    for id, text in (("text", "ab" * 2**20), ("ids", [5] * 5_000_000)):
        told = shown(id, text)
        assert isinstance(told, protocol.Failed)
        assert told.code == "context_length_exceeded"
        assert "at most 1048576 characters are read" in told.message


def test_an_image_of_many_scans_is_refused(engine: EngineProcess, tmp_path: Path) -> None:
    vision = qwen_vl(tmp_path / "vision")
    held = io.BytesIO()
    Image.new("L", (512, 512)).save(held, "JPEG", progressive=True)
    data = held.getvalue()
    last = data[data.rindex(b"\xff\xda") : -2]
    bomb = data[:-2] + last * 5000 + data[-2:]
    prompt = protocol.ChatPrompt(
        messages=[{"role": "user", "content": [{"type": "image"}]}],
        images=[protocol.EncodedImage(data=bomb, where="messages[0].content[0]")],
    )
    told = failure(engine, engine.start("vision", vision, prompt))
    assert (told.code, told.param) == ("invalid_image", "messages[0].content[0]")
    assert "more than 100 scans" in told.message


def test_the_sandboxes_leave_with_the_engine_however_that_dies(model: Path) -> None:
    with running() as engine:
        engine.finish(engine.start("random", model, "Hello", max_tokens=1))
        sandboxes = psutil.Process(engine.process.pid).children()
        assert sandboxes
        engine.process.kill()
        _, left = psutil.wait_procs(sandboxes, timeout=60)
        assert not left
