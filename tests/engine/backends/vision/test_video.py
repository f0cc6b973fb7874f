"""Videos in the batch: frames as mlx-vlm's own processing of the whole prompt shows them."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mlx_notebook import protocol
from tests.engine.backends.vision.test_vision import ask, image_bytes, refusal, showing
from tests.engine.process import EngineProcess, running
from tests.tiny_models.models import qwen_vl
from tests.tiny_models.vision_models import qwen3_5


@pytest.fixture(scope="module", params=["qwen3_vl", "qwen2_vl", "qwen3_5"])
def vision(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("video") / request.param
    return qwen3_5(folder) if request.param == "qwen3_5" else qwen_vl(folder, request.param)


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineProcess]:
    with running(prefill_step=64) as process:
        yield process


def playing(seeds: range, *images: bytes, text: str = "What?") -> protocol.ChatPrompt:
    """A prompt with a video of random frames, one each half second, then images."""
    first, *others = [image_bytes(seed) for seed in seeds]
    prompt = showing(first, *images, text=text)
    times = [number / 2 for number in range(len(seeds))]
    video = protocol.EncodedImage(data=first, where="messages[0]", frames=others, times=times)
    return protocol.ChatPrompt(messages=prompt.messages, images=[video, *prompt.images[1:]])


def by_mlx_vlm(path: Path, frames: list[bytes], images: list[bytes], count: int) -> tuple[str, int]:
    """What mlx-vlm's own loop writes about a video and images, and the length of its prompt."""
    import mlx.core as mx
    from mlx_vlm.generate import generate_step
    from mlx_vlm.utils import load, process_inputs

    model, processor = load(str(path))
    model.set_dtype(mx.float32)
    content = [*({"type": "image"} for _ in (0, *images)), {"type": "text", "text": "What?"}]
    prompt = processor.tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    ).replace("<|image_pad|>", "<|video_pad|>", 1)
    inputs = process_inputs(
        processor,
        [prompt],
        padding=False,
        images=[Image.open(io.BytesIO(image)) for image in images] or None,
        videos=[[Image.open(io.BytesIO(frame)) for frame in frames]],
        video_metadata=[{"frames_indices": [*range(len(frames))], "fps": 2.0}],
    )
    given = {name: mx.array(value) for name, value in inputs.items()}
    ids, mask = given.pop("input_ids"), given.pop("attention_mask")
    pixels = given.pop("pixel_values", None)
    tokens: list[int] = []
    for token, _ in generate_step(ids, model, pixels, mask, temperature=0.0, **given):
        tokens.append(token)
        if len(tokens) == count:
            break
    return str(processor.tokenizer.decode(tokens)), ids.size


def test_a_video_is_read_as_mlx_vlm_reads_it(engine: EngineProcess, vision: Path) -> None:
    # mlx-vlm itself shows images beside videos to Qwen3-VL only.
    images = [image_bytes(9)] if vision.name == "qwen3_vl" else []
    frames = range(5)
    text, usage = ask(engine, vision, playing(frames, *images), ignore_eos=True)
    theirs, tokens = by_mlx_vlm(vision, [image_bytes(seed) for seed in frames], images, 16)
    assert usage.prompt == tokens
    assert text.rstrip("\ufffd") == theirs.rstrip("\ufffd") != ""


def test_a_video_is_counted_and_reused(engine: EngineProcess, vision: Path) -> None:
    prompt = playing(range(20, 24))
    cold, first = ask(engine, vision, prompt)
    engine.send(protocol.Tokenize(id="count", model=vision.name, path=str(vision), prompt=prompt))
    counted: Any = engine.wait(lambda event: getattr(event, "id", None) == "count")
    assert len(counted.tokens) == first.prompt
    warm, second = ask(engine, vision, prompt)
    other, third = ask(engine, vision, playing(range(20, 23)))
    assert cold == warm
    # Recurrent layers are kept at the end of a message.
    assert second.cached > first.prompt - 16
    assert third.cached < second.cached
    assert other != cold


def test_frames_of_several_sizes_are_refused(engine: EngineProcess, vision: Path) -> None:
    prompt = playing(range(2))
    odd = protocol.EncodedImage(
        data=image_bytes(1), where="messages[0]", frames=[image_bytes(2, (40, 40))], times=[0, 1]
    )
    failed = refusal(engine, vision, protocol.ChatPrompt(messages=prompt.messages, images=[odd]))
    assert failed.code == "invalid_image"
    assert "video" in failed.message
