"""tiny-chat's tokenizer: lossless, streamed fast by mlx-lm, one spelling for a value everywhere."""

from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest

import mlx_notebook.demo_models

FOLDER = Path(mlx_notebook.demo_models.__file__).parent / "tiny-chat"


@cache
def tokenizer() -> Any:
    from mlx_lm.tokenizer_utils import load

    return load(FOLDER)


def ids(text: str) -> list[int]:
    return list(tokenizer().encode(text, add_special_tokens=False))


def test_every_byte_and_character_comes_back() -> None:
    rng = Random(0)
    texts = [
        "".join(map(chr, range(0x250))),
        "日本語 🙂 a\u0301\r\n\t  \u00a0",
        '"}}}"]}{"a": [1, 2.5e-3]}\n\n\n',
    ]
    texts += ["".join(chr(rng.randrange(1, 0xD800)) for _ in range(200)) for _ in range(50)]
    for text in texts:
        assert tokenizer().decode(ids(text)) == text


def test_streaming_gives_the_same_text_piece_by_piece() -> None:
    text = 'Grüße, 🙂 {"name": "get_weather", "arguments": {"city": "São Paulo"}} `%mlx load NAME`'
    detokenizer = tokenizer().detokenizer
    assert type(detokenizer).__name__ == "BPEStreamingDetokenizer"
    detokenizer.reset()
    for token in ids(text):
        detokenizer.add_token(token)
    detokenizer.finalize()
    assert detokenizer.text == text


@pytest.mark.parametrize(
    "value", ["Paris", "buy some milk", "report_7.csv", "anna@mail.com", "-3.25"]
)
def test_a_value_has_the_same_tokens_in_a_sentence_and_in_a_call(value: str) -> None:
    sentence, call = ids(f"it is {value}."), ids(f'{{"x": "{value}"}}')
    own = ids(value)
    assert own == sentence[-1 - len(own) : -1]
    assert own == call[-1 - len(own) : -1]


def test_mlx_lm_finds_the_tool_calls_and_the_thinking() -> None:
    assert tokenizer().has_tool_calling
    assert tokenizer().has_thinking


def test_pictures_and_later_needs_have_their_tokens() -> None:
    vocabulary = tokenizer().get_vocab()
    names = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>", "<|spare_15|>"]
    assert [name for name in names if name not in vocabulary] == []
