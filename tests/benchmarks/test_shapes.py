"""Models of real size: the conversion from GGUF to mlx-lm."""

from pathlib import Path

import mlx.core as mx
import pytest
from mlx_lm import load, stream_generate
from mlx_lm.utils import _get_classes

from benchmarks.models.shapes import PERIOD, SHAPES, _renamed, _unpermuted, make
from mlx_notebook.server.models.catalog import EMBEDDED_DEFAULT

TINY = Path(__file__).parents[2] / "mlx_notebook" / "demo_models" / EMBEDDED_DEFAULT


@pytest.mark.parametrize("name", SHAPES)
def test_mlx_lm_makes_a_model_of_each_shape(name):
    config = {**SHAPES[name], "vocab_size": 64}
    if "text_config" in config:
        config["text_config"] = {**config["text_config"], "vocab_size": 64}
    model_class, arguments_class = _get_classes(config)
    shape = config.get("text_config", config)
    assert len(model_class(arguments_class.from_dict(config)).layers) == shape["num_hidden_layers"]


def test_halves_that_gguf_interleaves_are_separated():
    heads, half, columns = 2, 3, 4
    apart = mx.arange(heads * 2 * half * columns).reshape(-1, columns)
    interleaved = apart.reshape(heads, 2, half, columns).swapaxes(1, 2).reshape(-1, columns)
    assert mx.array_equal(_unpermuted(interleaved, heads), apart)
    assert not mx.array_equal(interleaved, apart)


@pytest.mark.parametrize(
    ("gguf", "ours"),
    [
        ("token_embd", "model.embed_tokens.weight"),
        ("output_norm", "model.norm.weight"),
        ("blk.12.attn_q", "model.layers.12.self_attn.q_proj.weight"),
        ("blk.0.ffn_norm", "model.layers.0.post_attention_layernorm.weight"),
    ],
)
def test_names_are_those_of_mlx_lm(gguf, ours):
    assert _renamed(gguf) == ours


@pytest.mark.parametrize(("answers", "period"), [("varied", None), ("repeating", PERIOD)])
def test_answers_vary_or_repeat_themselves(tmp_path, answers, period):
    make("tiny", tmp_path, "float32", tokenizer=TINY, answers=answers)
    model, tokenizer = load(str(tmp_path))[:2]
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hello"}], add_generation_prompt=True
    )
    chosen = [r.token for r in stream_generate(model, tokenizer, prompt, max_tokens=3 * PERIOD)]
    assert len(chosen) == 3 * PERIOD
    assert not set(chosen) & set(tokenizer.eos_token_ids)
    # Every token is text by itself: nothing holds a stream back.
    assert all(tokenizer.decode([token]).strip() for token in chosen)
    if period is None:
        assert len(set(chosen)) == len(chosen)
    else:
        assert chosen[period:] == chosen[:-period]
        assert len(set(chosen)) == period
