"""Sound in chats: read as mlx-vlm reads it, whatever else runs, is cached or was asked before."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlx_notebook import protocol
from tests.engine.backends.vision.test_vision import ask, image_bytes, refusal
from tests.engine.process import EngineProcess, running
from tests.tiny_models.audio_models import tone
from tests.tiny_models.models import qwen3
from tests.tiny_models.vision_models import gemma4


@pytest.fixture(scope="module")
def ears(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gemma4(tmp_path_factory.mktemp("hearing") / "gemma4")


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineProcess]:
    with running(prefill_step=16) as process:
        yield process


def playing(*given: bytes, text: str = "What?") -> protocol.ChatPrompt:
    """A prompt with sounds and images: sounds are WAV files."""
    kinds = ["audio" if data.startswith(b"RIFF") else "image" for data in given]
    where = [f"messages[0].content[{at}]" for at in range(len(given))]
    parts = [*({"type": kind} for kind in kinds), {"type": "text", "text": text}]
    both = list(zip(kinds, given, where, strict=True))
    return protocol.ChatPrompt(
        messages=[{"role": "user", "content": parts}],
        images=[
            protocol.EncodedImage(data=data, where=place)
            for kind, data, place in both
            if kind == "image"
        ],
        sounds=[
            protocol.EncodedSound(data=data, where=place, max_seconds=60)
            for kind, data, place in both
            if kind == "audio"
        ],
    )


def by_mlx_vlm(path: Path, given: list[bytes], count: int) -> tuple[int, str]:
    """The prompt's tokens and what mlx-vlm's own loop writes."""
    import io

    import mlx.core as mx
    import numpy as np
    from mlx_vlm.generate import generate_step
    from mlx_vlm.models.gemma4.processing_gemma4 import Gemma4Processor
    from mlx_vlm.utils import load_model, prepare_inputs
    from PIL import Image

    from mlx_notebook.engine.sandbox.audio_decoding import decode_audio

    model, processor = load_model(path), Gemma4Processor.from_pretrained(path)
    model.set_dtype(mx.float32)
    prompt = processor.tokenizer.apply_chat_template(
        playing(*given).messages, tokenize=False, add_generation_prompt=True
    )
    sounds = [data for data in given if data.startswith(b"RIFF")]
    samples = [np.frombuffer(decode_audio(data, 60), "<i2") / np.float32(2**15) for data in sounds]
    images = [Image.open(io.BytesIO(data)) for data in given if data not in sounds]
    inputs = prepare_inputs(processor, audio=samples, images=images or None, prompts=prompt)
    pixels, mask = inputs.get("pixel_values"), inputs["attention_mask"]
    rest = {
        name: value
        for name, value in inputs.items()
        if name not in ("input_ids", "pixel_values", "attention_mask")
    }
    tokens = []
    for token, _ in generate_step(
        inputs["input_ids"], model, pixels, mask, temperature=0.0, **rest
    ):
        tokens.append(token)
        if len(tokens) == count:
            break
    return inputs["input_ids"].shape[1], str(processor.tokenizer.decode(tokens))


# The processor has more filters than the shortest transform has frequencies.
@pytest.mark.filterwarnings("ignore:At least one mel filter:UserWarning")
def test_a_sound_is_heard_as_mlx_vlm_hears_it(engine: EngineProcess, ears: Path) -> None:
    for given in ([tone(1.5)], [tone(1), image_bytes(1, (32, 32))]):
        text, usage = ask(engine, ears, playing(*given), ignore_eos=True)
        count, theirs = by_mlx_vlm(ears, given, 16)
        assert usage.prompt == count
        assert text.rstrip("\ufffd") == theirs.rstrip("\ufffd") != ""


def test_sounds_are_cached_and_share_nothing(engine: EngineProcess, ears: Path) -> None:
    one, other = playing(tone(2)), playing(tone(1.8, rate=8000, channels=2))
    cold, first = ask(engine, ears, one)
    cached, second = ask(engine, ears, one)
    different, third = ask(engine, ears, other)
    assert cold == cached != different
    # A model with sliding windows keeps what stands before the answer's mark.
    assert first.prompt - 16 < second.cached < first.prompt
    assert third.cached < 12


def test_rows_that_hear_run_beside_rows_that_see_and_read(
    engine: EngineProcess, ears: Path
) -> None:
    prompts: list[Any] = [
        playing(tone(1.2)),
        playing(image_bytes(3, (32, 32))),
        protocol.ChatPrompt(messages=[{"role": "user", "content": "What?"}]),
        playing(tone(0.7), tone(1.2), text="Which?"),
    ]
    options = {"temperature": 0, "max_tokens": 16, "ignore_eos": True}
    requests = [engine.start(ears.name, ears, prompt, **options) for prompt in prompts]
    for request in requests:
        engine.finish(request)
    alone = [ask(engine, ears, prompt, ignore_eos=True)[0] for prompt in prompts]
    assert [engine.text(request) for request in requests] == alone
    assert len(set(alone)) == len(alone)


def test_what_cannot_be_heard_is_refused(engine: EngineProcess, ears: Path, tmp_path: Path) -> None:
    for prompt, code, says in (
        (playing(b"RIFF nothing"), "invalid_audio", "cannot be read"),
        (playing(tone(31)), "invalid_audio", "hears 30 at a time"),
        (playing(tone(61)), "invalid_audio", "longer than 60 seconds"),
        (playing(tone(1), text="<|audio|>?"), "invalid_request", "leave them out"),
    ):
        failed = refusal(engine, ears, prompt)
        assert failed.code == code
        assert says in failed.message
    deaf = refusal(engine, qwen3(tmp_path / "deaf"), playing(tone(1)))
    assert (deaf.code, deaf.param) == ("audio_not_supported", "messages[0].content[0]")
