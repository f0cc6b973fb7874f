"""Vision models of other families: read as mlx-vlm reads them, alone, cached and in company."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlx_notebook import protocol
from tests.engine.backends.vision.test_vision import ask, by_mlx_vlm, image_bytes, showing
from tests.engine.process import EngineProcess, running
from tests.tiny_models.vision_models import gemma3, qwen3_5, smolvlm

WORDS = "Only words, and more of them than others have."


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineProcess]:
    with running(prefill_step=64, max_resident=1) as process:
        yield process


@pytest.mark.parametrize("make", [gemma3, smolvlm, qwen3_5])
def test_each_is_fed_as_mlx_vlm_feeds_it(
    engine: EngineProcess, make: Callable[[Path], Path], tmp_path: Path
) -> None:
    path = make(tmp_path / make.__name__)
    prompts: list[protocol.Prompt | str] = [
        showing(image_bytes(1)),
        WORDS,
        showing(image_bytes(2, (60, 90))),
    ]
    alone = [ask(engine, path, prompt, ignore_eos=True) for prompt in prompts]
    theirs = by_mlx_vlm(path, [image_bytes(1)], "What?", 16)
    assert alone[0][0].rstrip("\ufffd") == theirs.rstrip("\ufffd") != ""
    again, usage = ask(engine, path, prompts[0], ignore_eos=True)
    assert again == alone[0][0]
    assert usage.cached > usage.prompt - 16
    options = {"temperature": 0, "max_tokens": 16, "ignore_eos": True}
    fresh: list[protocol.Prompt | str] = [
        showing(image_bytes(1), text="New?"),
        f"{WORDS} New.",
        *prompts,
    ]
    ids = [engine.start(path.name, path, prompt, **options) for prompt in fresh]
    engine.finish(*ids)
    assert [engine.text(row) for row in ids[2:]] == [text for text, _ in alone]
    engine.send(
        protocol.Tokenize(
            id="said",
            model=path.name,
            path=str(path),
            prompt=protocol.ChatPrompt(messages=[{"role": "user", "content": WORDS}]),
        )
    )
    said = engine.wait(lambda e: isinstance(e, protocol.Tokenized | protocol.Failed))
    assert isinstance(said, protocol.Tokenized)
    assert WORDS in said.text
