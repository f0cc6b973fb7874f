"""Tokenizers that make long texts of short ones are refused before they are loaded."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, decoders, normalizers

from mlx_notebook import protocol
from mlx_notebook.engine.prompts.tokenizer_file import check_growth
from tests.engine.process import EngineProcess
from tests.tiny_models.models import byte_tokenizer, qwen3

TEN_TIMES = normalizers.Replace("a", "a" * 10)


def folder(path: Path, **parts: Any) -> Path:
    """A tokenizer with other components, given as tokenizers' own or as JSON."""
    path.mkdir(exist_ok=True)
    byte_tokenizer(path)
    file = path / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(file))
    for name, part in parts.items():
        if not isinstance(part, dict):
            setattr(tokenizer, name, part)
    told = json.loads(tokenizer.to_str())
    told.update({name: part for name, part in parts.items() if isinstance(part, dict)})
    file.write_text(json.dumps(told))
    return path


def charsmap(longest: int) -> dict[str, Any]:
    table = (4).to_bytes(4, "little") + bytes(4) + b"a\0" + b"x" * longest + b"\0"
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table).decode()}


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"normalizer": normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])},
        {"normalizer": normalizers.Replace(" ", "\u2581")},
        {"normalizer": normalizers.Prepend("\u2581")},
        {"normalizer": normalizers.Replace(Regex(" {2,}"), "\u2581")},
        {"normalizer": charsmap(18)},
        {"decoder": decoders.Sequence([decoders.Replace("\u2581", " "), decoders.Fuse()])},
    ],
)
def test_what_tokenizers_really_do_is_taken(tmp_path: Path, parts: dict[str, Any]) -> None:
    check_growth(folder(tmp_path, **parts))


@pytest.mark.parametrize(
    "parts",
    [
        {"normalizer": TEN_TIMES},
        {"normalizer": normalizers.Sequence([normalizers.Replace("a", "aaa")] * 3)},
        {"normalizer": normalizers.Replace(Regex("x*"), "yyyyyyyy")},
        {"normalizer": normalizers.Prepend("y" * 1000)},
        {"normalizer": charsmap(10_000)},
        {"decoder": decoders.Sequence([decoders.Fuse(), decoders.Replace("a", "a" * 10)])},
        {
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "s", "type_id": 0}}] * 100,
                "pair": [],
                "special_tokens": {"s": {"id": "s", "ids": [1] * 100, "tokens": ["s"] * 100}},
            }
        },
        {"model": {"type": "BPE", "vocab": {}, "merges": [], "end_of_word_suffix": "y" * 1000}},
    ],
)
def test_what_makes_long_texts_of_short_ones_is_refused(
    tmp_path: Path, parts: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"its tokenizer\.json"):
        check_growth(folder(tmp_path, **parts))


def test_a_model_with_such_a_tokenizer_does_not_load(engine: EngineProcess, tmp_path: Path) -> None:
    model = qwen3(tmp_path / "growing")
    folder(model, normalizer=normalizers.Sequence([TEN_TIMES] * 8))
    (end,) = engine.finish(engine.start("growing", model, "a" * 100))
    assert isinstance(end, protocol.Failed)
    assert end.code == "model_load_failed"
    assert "makes more than 8 characters of one" in end.message
