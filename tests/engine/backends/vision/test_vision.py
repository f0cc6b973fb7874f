"""Images in the batch: the text is the same whatever else runs, is cached or was asked before."""

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mlx_notebook import protocol
from tests.engine.process import EngineProcess, running
from tests.tiny_models.models import qwen3, qwen_vl


@pytest.fixture(scope="module", params=["qwen3_vl", "qwen2_vl"])
def vision(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return qwen_vl(tmp_path_factory.mktemp("vision") / request.param, request.param)


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineProcess]:
    with running(prefill_step=64) as process:
        yield process


def image_bytes(seed: int, size: tuple[int, int] = (96, 64)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, "PNG")
    return held.getvalue()


def showing(*images: bytes, text: str = "What?", detail: Any = "auto") -> protocol.ChatPrompt:
    parts = [{"type": "image"} for _ in images]
    return protocol.ChatPrompt(
        messages=[{"role": "user", "content": [*parts, {"type": "text", "text": text}]}],
        images=[
            protocol.EncodedImage(data=data, where=f"messages[0].content[{i}]", detail=detail)
            for i, data in enumerate(images)
        ],
    )


def ask(
    engine: EngineProcess, path: Path, prompt: protocol.Prompt | str, **options: Any
) -> tuple[str, protocol.Usage]:
    options = {"temperature": 0, "max_tokens": 16, **options}
    request = engine.start(path.name, path, prompt, **options)
    (done,) = engine.finish(request)
    assert isinstance(done, protocol.Done), done
    return engine.text(request), done.usage


def refusal(
    engine: EngineProcess, path: Path, prompt: protocol.ChatPrompt, **options: Any
) -> protocol.Failed:
    (failed,) = engine.finish(engine.start(path.name, path, prompt, **options))
    assert isinstance(failed, protocol.Failed)
    return failed


def by_mlx_vlm(path: Path, data: list[bytes], text: str, count: int) -> str:
    """What mlx-vlm's own loop writes, with its own processing of the whole prompt."""
    import mlx.core as mx
    from mlx_vlm.generate import generate_step
    from mlx_vlm.utils import load, prepare_inputs

    model, processor = load(str(path))
    model.set_dtype(mx.float32)
    content = [{"type": "image"} for _ in data] + [{"type": "text", "text": text}]
    prompt = processor.tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    images = [Image.open(io.BytesIO(one)) for one in data]
    inputs = prepare_inputs(processor, images=images, prompts=prompt)
    rest = {k: v for k, v in inputs.items() if k not in ("input_ids", "pixel_values")}
    mask = rest.pop("attention_mask")
    tokens = []
    for token, _ in generate_step(
        inputs["input_ids"], model, inputs["pixel_values"], mask, temperature=0.0, **rest
    ):
        tokens.append(token)
        if len(tokens) == count:
            break
    return str(processor.tokenizer.decode(tokens))


def test_an_image_is_read_as_mlx_vlm_reads_it(engine: EngineProcess, vision: Path) -> None:
    data = [image_bytes(1), image_bytes(2, (64, 120))]
    text, _ = ask(engine, vision, showing(*data), ignore_eos=True)
    theirs = by_mlx_vlm(vision, data, "What?", 16)
    assert text.rstrip("\ufffd") == theirs.rstrip("\ufffd") != ""


def test_cached_answers_equal_cold_ones_and_images_share_nothing(
    engine: EngineProcess, vision: Path
) -> None:
    one, other = image_bytes(3), image_bytes(4)
    cold, first = ask(engine, vision, showing(one))
    cached, second = ask(engine, vision, showing(one))
    different, third = ask(engine, vision, showing(other))
    assert cold == cached != different
    assert second.cached > first.prompt - 4
    before_the_image = 8
    assert third.cached <= before_the_image
    with running() as fresh:
        assert ask(fresh, vision, showing(other))[0] == different


def test_the_next_turn_reuses_the_image(engine: EngineProcess, vision: Path) -> None:
    prompt = showing(image_bytes(5), text="First?")
    answer, first = ask(engine, vision, prompt)
    turn = protocol.ChatPrompt(
        messages=[
            *prompt.messages,
            {"role": "assistant", "content": answer},
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Then?"}]},
        ],
        images=[
            *prompt.images,
            protocol.EncodedImage(data=image_bytes(6), where="messages[2].content[0]"),
        ],
    )
    warm, second = ask(engine, vision, turn)
    assert second.cached > first.prompt - 4
    with running() as fresh:
        assert ask(fresh, vision, turn)[0] == warm


def test_rows_with_and_without_images_do_not_disturb_each_other(
    engine: EngineProcess, vision: Path
) -> None:
    prompts: list[protocol.Prompt | str] = [
        showing(image_bytes(7)),
        "Only words here",
        showing(image_bytes(8, (160, 160)), text="And a much longer question than the others?"),
        showing(image_bytes(9, (40, 200)), image_bytes(7)),
        "Words again",
    ]
    settings = {"temperature": 0, "max_tokens": 24, "ignore_eos": True}
    with running(prefill_step=64, prefix_cache_entries=1) as fresh:
        alone = [ask(fresh, vision, prompt, **settings)[0] for prompt in prompts]
    ids = [engine.start(vision.name, vision, prompt, **settings) for prompt in prompts]
    engine.finish(*ids)
    assert [engine.text(request) for request in ids] == alone


def test_others_go_on_between_two_images(tmp_path: Path) -> None:
    path = qwen_vl(tmp_path / "vision")
    options = {"temperature": 0, "ignore_eos": True, "logit_bias": {65: 100.0}}
    with running() as engine:
        ask(engine, path, "Hello")
        words = engine.start(path.name, path, "Talk", max_tokens=1800, **options)
        engine.wait(lambda e: isinstance(e, protocol.Text) and e.id == words)
        images = showing(*(image_bytes(seed) for seed in range(30, 36)))
        seen = engine.start(path.name, path, images, max_tokens=1, **options)
        engine.finish(seen)
        about = [
            e
            for e in engine.events
            if isinstance(e, protocol.Text | protocol.Prefill | protocol.Done)
        ]
    joined = next(
        i for i, e in enumerate(about) if isinstance(e, protocol.Prefill) and e.id == seen
    )
    spoke = next(i for i, e in enumerate(about) if isinstance(e, protocol.Text) and e.id == seen)
    assert sum(event.id == words for event in about[joined:spoke]) >= 6


def test_several_rows_of_one_image(engine: EngineProcess, vision: Path) -> None:
    prompt = showing(image_bytes(10))
    options = {"temperature": 1.0, "seed": 4, "max_tokens": 12, "ignore_eos": True}
    request = engine.start(vision.name, vision, prompt, n=3, **options)
    engine.finish(request)
    rows = [engine.text(request, row) for row in range(3)]
    assert len(set(rows)) == 3
    assert ask(engine, vision, prompt, **options)[0] == rows[0]


def test_a_prompt_may_end_with_an_image(engine: EngineProcess, vision: Path) -> None:
    data = image_bytes(11)
    prompt = protocol.ChatPrompt(
        messages=[{"role": "user", "content": [{"type": "image"}]}],
        images=[protocol.EncodedImage(data=data, where="messages[0].content[0]")],
        template_kwargs={"bare": True},
    )
    request = engine.start(vision.name, vision, prompt, n=2, temperature=0, max_tokens=8)
    engine.finish(request)
    assert engine.text(request, 0) == engine.text(request, 1) != ""


def test_logprobs_bias_penalties_and_stop(engine: EngineProcess, vision: Path) -> None:
    prompt = showing(image_bytes(12))
    request = engine.start(
        vision.name, vision, prompt, temperature=0, max_tokens=6, logprobs=2, ignore_eos=True,
        repetition_penalty=1.3, presence_penalty=0.5, logit_bias={65: 100.0}, stop=["zz"],
    )  # fmt: skip
    engine.finish(request)
    events = [e for e in engine.events if isinstance(e, protocol.Text) and e.id == request]
    logprobs = [entry for event in events for entry in event.logprobs or []]
    assert len(logprobs) == 6
    assert all(len(entry.top) == 2 for entry in logprobs)


def test_a_grammar_holds_for_an_image_too(engine: EngineProcess, vision: Path) -> None:
    engine.send(
        protocol.Generate(
            id="grammar",
            model=vision.name,
            path=str(vision),
            prompt=showing(image_bytes(13)),
            sampling=protocol.Sampling(temperature=1.0, seed=1, max_tokens=20),
            output_format=protocol.OutputFormat(kind="choice", value=["red", "blue"]),
        )
    )
    engine.finish("grammar")
    assert engine.text("grammar") in ("red", "blue")


def test_cancelled_in_the_middle_of_an_images_prefill(engine: EngineProcess, vision: Path) -> None:
    large = showing(*(image_bytes(seed, (256, 256)) for seed in range(20, 26)))
    request = engine.start(vision.name, vision, large, temperature=0)
    engine.wait(
        lambda e: isinstance(e, protocol.Prefill) and e.id == request and 0 < e.done < e.total
    )
    engine.send(protocol.Cancel(request))
    words = showing(image_bytes(14))
    text, _ = ask(engine, vision, words)
    again, _ = ask(engine, vision, large, max_tokens=4)
    with running() as fresh:
        assert ask(fresh, vision, words)[0] == text
        assert ask(fresh, vision, large, max_tokens=4)[0] == again


def test_the_context_counts_every_pixel_token(engine: EngineProcess, tmp_path: Path) -> None:
    narrow = qwen_vl(tmp_path / "narrow", context=60)
    _, usage = ask(engine, narrow, showing(image_bytes(15)), max_tokens=2)
    failed = refusal(engine, narrow, showing(image_bytes(15), image_bytes(16)))
    assert failed.code == "context_length_exceeded"
    assert usage.prompt == 50
    assert str(usage.prompt + 26) in failed.message


def test_what_is_fed_is_shown(engine: EngineProcess, vision: Path) -> None:
    prompt = showing(image_bytes(17))
    engine.send(
        protocol.Tokenize(
            id="tokens", model=vision.name, path=str(vision), prompt=prompt, pieces=True
        )
    )
    shown = engine.wait(lambda e: isinstance(e, protocol.Tokenized) and e.id == "tokens")
    assert isinstance(shown, protocol.Tokenized)
    pixels = 96 * 64 // 16**2
    assert shown.pieces.count("<|image_pad|>") == pixels
    assert shown.text.count("<|image_pad|>") == pixels
    assert len(shown.tokens) == ask(engine, vision, prompt)[1].prompt


def test_low_detail_costs_fewer_tokens(engine: EngineProcess, tmp_path: Path) -> None:
    path = qwen_vl(tmp_path / "fine")
    file = path / "preprocessor_config.json"
    limits = {"max_pixels": 1024**2, "size": {"shortest_edge": 1024, "longest_edge": 1024**2}}
    file.write_text(json.dumps({**json.loads(file.read_text()), **limits}))
    large = image_bytes(18, (800, 800))
    counts = []
    for detail in ("low", "high"):
        prompt = showing(large, detail=detail)
        engine.send(
            protocol.Tokenize(id=detail, model="fine", path=str(path), prompt=prompt, pieces=True)
        )
        shown = engine.wait(lambda e: isinstance(e, protocol.Tokenized | protocol.Failed))
        assert isinstance(shown, protocol.Tokenized), shown
        counts.append(shown.pieces.count("<|image_pad|>"))
    assert counts == [512**2 // 256, 800**2 // 256]


def test_the_mark_of_an_image_in_a_text_is_no_image(engine: EngineProcess, vision: Path) -> None:
    failed = refusal(engine, vision, showing(image_bytes(19), text="<|image_pad|>"))
    assert failed.code == "invalid_request"
    assert "<|image_pad|>" in failed.message
    assert ask(engine, vision, "<|image_pad|> alone")[1].prompt > 0


def test_a_bad_image_is_named(engine: EngineProcess, vision: Path) -> None:
    failed = refusal(engine, vision, showing(image_bytes(1), image_bytes(2)[:300]))
    assert (failed.code, failed.param) == ("invalid_image", "messages[0].content[1]")
    assert "messages[0].content[1]" in failed.message


def test_an_image_that_the_processor_cannot_cut(engine: EngineProcess, vision: Path) -> None:
    failed = refusal(engine, vision, showing(image_bytes(1, (4000, 4))))
    assert (failed.code, failed.param) == ("invalid_image", "messages[0].content[0]")


def test_a_text_model_sees_nothing(engine: EngineProcess, model: Path) -> None:
    failed = refusal(engine, model, showing(image_bytes(1)))
    assert (failed.code, failed.param) == ("vision_not_supported", "messages[0].content[0]")


def test_a_vision_model_embeds_texts(engine: EngineProcess, vision: Path) -> None:
    engine.send(
        protocol.Embed(id="embed", model=vision.name, path=str(vision), inputs=["one", "two"])
    )
    answer = engine.wait(
        lambda e: isinstance(e, protocol.Embedded | protocol.Failed) and e.id == "embed"
    )
    assert isinstance(answer, protocol.Embedded), answer
    assert answer.vectors[0] != answer.vectors[1]


@pytest.mark.parametrize(
    ("setting", "value"),
    [("adapter", None), ("draft", None), ("kv_bits", 8), ("prompt_lookup", 3)],
)
def test_what_is_for_text_models_is_refused_by_name(
    engine: EngineProcess, vision: Path, model: Path, setting: str, value: int | None
) -> None:
    options = protocol.ModelOptions(**{setting: value or str(model)})
    engine.send(protocol.Load(id=setting, model="set", path=str(vision), options=options))
    failed = engine.wait(
        lambda e: isinstance(e, protocol.Loaded | protocol.Failed) and e.id == setting
    )
    assert isinstance(failed, protocol.Failed)
    assert failed.code == "model_load_failed"
    assert f"it is a vision model, and {setting} is for text models" in failed.message


def test_mlx_vlm_is_imported_only_for_a_vision_model(tmp_path: Path) -> None:
    folders = [qwen3(tmp_path / "words"), qwen_vl(tmp_path / "images")]
    # MLX's threads are left behind, as the engine leaves them: they may trip an orderly exit.
    code = f"""
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from mlx_notebook.engine.scheduling.scheduler import Scheduler
from mlx_notebook.engine.backends.selection import load
from mlx_notebook.engine.kv_cache.prefix_cache import PrefixCache
from mlx_notebook.protocol import EngineConfig, ModelOptions
for folder in {[str(folder) for folder in folders]}:
    settings = EngineConfig(warm_up=False)
    prefixes = PrefixCache(1, 1)
    with ThreadPoolExecutor() as workers:
        for _ in load("it", Path(folder), ModelOptions(), settings, prefixes, workers):
            pass
    print("mlx_vlm" in sys.modules, flush=True)
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


@pytest.mark.parametrize("allowed", [False, True])
@pytest.mark.parametrize(
    ("file", "entry"),
    [
        ("config.json", {"model_file": "custom.py"}),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["custom.Custom", None]}}),
        ("preprocessor_config.json", {"auto_map": {"AutoImageProcessor": "custom.Custom"}}),
    ],
)
def test_code_of_a_models_folder_runs_only_where_it_is_trusted(
    engine: EngineProcess, tmp_path: Path, file: str, entry: dict[str, Any], allowed: bool
) -> None:
    path = (qwen_vl if file.startswith("pre") else qwen3)(tmp_path / f"{file}-{allowed}")
    config = path / file
    config.write_text(json.dumps({**json.loads(config.read_text()), **entry}))
    marker = tmp_path / "ran"
    (path / "custom.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    engine.send(
        protocol.Load(
            id=path.name,
            model=path.name,
            path=str(path),
            options=protocol.ModelOptions(trust_remote_code=allowed),
        )
    )
    end = engine.wait(
        lambda e: isinstance(e, protocol.Loaded | protocol.Failed) and e.id == path.name
    )
    if not allowed:
        assert isinstance(end, protocol.Failed)
        assert end.code == "model_load_failed"
        assert file in end.message
        assert "trust_remote_code" in end.message
        assert not marker.exists()
    elif "model_file" in entry:
        assert marker.exists()
