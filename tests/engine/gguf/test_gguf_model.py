"""A GGUF file gives the model that a folder of safetensors with the same weights gives."""

import json
import math
import os
import struct
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten
from mlx_lm.models.rope_utils import Llama3RoPE
from mlx_lm.tuner.utils import linear_to_lora_layers
from mlx_lm.utils import load_model, load_tokenizer

from mlx_notebook import protocol
from mlx_notebook.engine.backends.adapters import apply_adapter
from mlx_notebook.engine.backends.weight_sources import open_source
from mlx_notebook.engine.gguf.gguf_model import GgufModelFile, _llama3_factors
from mlx_notebook.engine.gguf.gguf_tokenizer import write_tokenizer
from mlx_notebook.model_files.footprint import read_sizes
from tests.engine.process import EngineProcess
from tests.tiny_models.gguf_models import LLAMA, QWEN2, QWEN3, QWEN3_MOE, gguf_and_folder

TEXT = "Hello, world! 123 \u00e4\u00f6\u00fc <|im_start|>user\n  x<|im_end|>"


def loaded(file: Path) -> tuple[Any, GgufModelFile]:
    """Return the model in a file, computing in 32 bits."""
    opened = GgufModelFile(file)
    model = opened.build()
    model.set_dtype(mx.float32)
    places = {name: name for name, _ in tree_flatten(model.parameters())}
    list(opened.read(model, places))
    return model, opened


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (LLAMA, "Q4_1"),
        ({**LLAMA, "attention_bias": True, "mlp_bias": True}, "F16"),
        ({**LLAMA, "tie_word_embeddings": False}, "Q5_0"),
        (QWEN2, "Q8_0"),
        (QWEN3, "Q4_0"),
        (QWEN3, "BF16"),
        (QWEN3, "F32"),
        (QWEN3_MOE, "Q8_0"),
    ],
    ids=lambda value: value if isinstance(value, str) else value["model_type"],
)
def test_the_logits_are_those_of_the_same_weights_in_safetensors(
    config: dict[str, Any], kind: str, tmp_path: Path
) -> None:
    file, folder = gguf_and_folder(tmp_path, config, kind)
    model, _ = loaded(file)
    reference, _ = load_model(folder)
    tokens = mx.array([[7, 80, 3, 200, 41, 9, 120, 66]])
    expected, found = reference(tokens), model(tokens)
    assert mx.abs(expected).max().item() > 1
    assert np.allclose(np.array(found), np.array(expected), atol=2e-3, rtol=1e-3)


def test_the_predicted_memory_is_what_the_weights_take(tmp_path: Path) -> None:
    file, _ = gguf_and_folder(tmp_path, QWEN3, "Q4_0")
    model, _ = loaded(file)
    weights, kv_cache = read_sizes("m", file)
    taken = sum(array.nbytes for _, array in tree_flatten(model.parameters()))
    assert weights.in_memory(full_precision=True) == taken
    assert kv_cache.context == 2048
    assert kv_cache.numbers == 2 * 2 * 2 * 16


def test_the_tokenizer_is_that_of_the_metadata(tmp_path: Path) -> None:
    file, folder = gguf_and_folder(tmp_path, QWEN3)
    opened = GgufModelFile(file)
    made = tmp_path / "made"
    made.mkdir()
    ends = write_tokenizer(file, opened.header, opened.config, made)
    ours, theirs = load_tokenizer(made, eos_token_ids=ends), load_tokenizer(folder)
    assert ours.encode(TEXT) == theirs.encode(TEXT)
    assert ours.decode(ours.encode(TEXT)) == TEXT
    assert ours.chat_template == theirs.chat_template
    vocabulary = theirs.get_vocab()
    assert set(ends) == {vocabulary["<|im_end|>"], vocabulary["<|endoftext|>"]}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tokenizer__ggml__pre": "one-of-next-year"}, "'one-of-next-year'"),
        ({"tokenizer__ggml__model": "rwkv"}, "'rwkv'"),
    ],
)
def test_a_tokenizer_that_is_not_known_is_refused(
    changes: dict[str, str], words: str, tmp_path: Path
) -> None:
    file, _ = gguf_and_folder(tmp_path, QWEN3, **changes)
    opened = GgufModelFile(file)
    with pytest.raises(ValueError, match=words):
        write_tokenizer(file, opened.header, opened.config, tmp_path)


def test_a_sentencepiece_vocabulary_merges_by_its_scores(tmp_path: Path) -> None:
    from gguf import GGUFWriter

    from mlx_notebook.model_files.gguf.gguf_header import read_header

    file = tmp_path / "spm.gguf"
    writer = GGUFWriter(file, "llama")
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokens += ["\u2581", "a", "b", "c", "ab", "bc", "\u2581a", "abc"]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * 259 + [-9.0, -9.0, -9.0, -9.0, -3.0, -1.0, -4.0, -5.0])
    writer.add_token_types([2, 3, 3] + [6] * 256 + [1] * 8)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    for step in ("header", "kv_data"):
        getattr(writer, f"write_{step}_to_file")()
    writer.close()
    config = {"eos_token_id": [2], "max_position_embeddings": 64, "model_type": "llama"}
    write_tokenizer(file, read_header(file), config, tmp_path)
    tokenizer = load_tokenizer(tmp_path)._tokenizer
    ids = tokenizer.encode("abc \u00e9")
    # The better score goes first: "bc" before "ab". What no token spells is written as bytes.
    split = tokenizer.convert_ids_to_tokens(ids)
    assert split == ["<s>", "\u2581a", "bc", "\u2581", "<0xC3>", "<0xA9>"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "abc \u00e9"


def test_the_rotary_factors_are_those_of_llama_3() -> None:
    scaling = {
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    rope = Llama3RoPE(128, base=500000.0, scaling_config=scaling)
    plain = 500000.0 ** (np.arange(0, 128, 2) / 128)
    factors = _llama3_factors(128, 500000.0, scaling)
    assert np.allclose(np.array(rope._freqs) / plain, factors, rtol=1e-3)
    assert factors[0] == 1
    assert math.isclose(factors[-1], 32)


def test_the_weights_find_their_places_below_an_adapter(tmp_path: Path) -> None:
    file, folder = gguf_and_folder(tmp_path, QWEN3, "Q8_0")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    plain, _ = load_model(folder)
    keys = ["self_attn.q_proj", "mlp.up_proj"]
    linear_to_lora_layers(plain, 1, {"rank": 2, "scale": 4.0, "dropout": 0.0, "keys": keys})
    mx.random.seed(1)
    trained = {
        name: mx.random.normal(array.shape)
        for name, array in tree_flatten(plain.trainable_parameters())
        if "lora" in name
    }
    mx.save_safetensors(str(adapter / "adapters.safetensors"), trained)
    parameters = {"rank": 2, "scale": 4.0, "dropout": 0.0, "keys": keys}
    settings = {"fine_tune_type": "lora", "num_layers": 1, "lora_parameters": parameters}
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    found = []
    for path in (file, folder):
        source = open_source(path, trusted=False)
        model = source.build()
        apply_adapter(model, adapter)
        model.set_dtype(mx.float32)
        list(source.read(model))
        found.append(np.array(model(mx.array([[5, 6, 7, 8]]))))
    unchanged = np.array(load_model(folder)[0](mx.array([[5, 6, 7, 8]])))
    assert np.abs(found[1] - unchanged).max() > 0.1
    assert np.allclose(found[0], found[1], atol=2e-3, rtol=1e-3)


def test_the_engine_answers_as_from_safetensors(engine: EngineProcess, tmp_path: Path) -> None:
    file, folder = gguf_and_folder(tmp_path, LLAMA, "Q4_1")
    ids = [
        engine.start(name, path, "Tell me more.", temperature=0.0, max_tokens=24)
        for name, path in (("file", file), ("folder", folder))
    ]
    drafting = protocol.ModelOptions(draft=str(file))
    prompt = protocol.ChatPrompt(messages=[{"role": "user", "content": "Tell me more."}])
    engine.send(
        protocol.Generate(
            id="drafted",
            model="drafted",
            path=str(file),
            prompt=prompt,
            sampling=protocol.Sampling(temperature=0.0, max_tokens=24),
            options=drafting,
        )
    )
    ids.append("drafted")
    assert [type(end) for end in engine.finish(*ids)] == [protocol.Done] * 3
    answers = [engine.text(request) for request in ids]
    assert answers[0] == answers[1] == answers[2]
    assert len(answers[0]) > 5


def test_the_engine_refuses_a_bad_file_and_goes_on(
    engine: EngineProcess, model: Path, tmp_path: Path
) -> None:
    file, _ = gguf_and_folder(tmp_path, QWEN3)
    content = file.read_bytes()
    cut, wrong = tmp_path / "cut.gguf", tmp_path / "wrong.gguf"
    cut.write_bytes(content[:-1000])
    key = b"qwen3.feed_forward_length" + struct.pack("<I", 4)
    wrong.write_bytes(content.replace(key + struct.pack("<I", 128), key + struct.pack("<I", 96)))
    ids = [engine.start(path.stem, path, "Hi", max_tokens=2) for path in (cut, wrong)]
    first, second = engine.finish(*ids)
    assert isinstance(first, protocol.Failed)
    assert "cut.gguf is cut off" in first.message
    assert isinstance(second, protocol.Failed)
    assert "has the shape (128, 16), and its architecture needs (96, 16)" in second.message
    assert isinstance(
        engine.finish(engine.start("random", model, "Hi", max_tokens=2))[0], protocol.Done
    )


def test_settings_of_quantised_weights_are_as_mlx_lm_writes_them(tmp_path: Path) -> None:
    file, _ = gguf_and_folder(tmp_path, QWEN3, "Q5_1")
    model, opened = loaded(file)
    assert opened.config["quantization"] == {"group_size": 32, "bits": 5, "mode": "affine"}
    # The weights with these settings are a folder that mlx-lm loads.
    folder = tmp_path / "written"
    os.mkdir(folder)
    mx.save_safetensors(
        str(folder / "model.safetensors"), dict(tree_flatten(model.parameters())), {"format": "mlx"}
    )
    (folder / "config.json").write_text(json.dumps(opened.config))
    again, _ = load_model(folder)
    tokens = mx.array([[1, 2, 3]])
    assert np.array_equal(np.array(again(tokens)), np.array(model(tokens)))
