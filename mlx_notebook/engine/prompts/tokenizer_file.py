"""What a `tokenizer.json` would make of a text's length, told before it is loaded.

Its normalizer, decoder and post-processor may replace each character by many, and that over and
over: a few bytes of text then take gigabytes.
"""

import base64
import re
from pathlib import Path
from typing import Any

import msgspec

from mlx_notebook.engine.prompts.length_limits import flat

_GROWTH = 8
"""Most characters that a text's character may become; real tokenizers replace one by one."""

_LITERAL = 32
"""Most characters of what is put beside a text, or that one character is short for."""

_ADDED_TOKENS = 1024
"""Most tokens that are put around a text."""


class _Model(msgspec.Struct):
    continuing_subword_prefix: str | None = None
    end_of_word_suffix: str | None = None


class _File(msgspec.Struct):
    normalizer: dict[str, Any] | None = None
    decoder: dict[str, Any] | None = None
    post_processor: dict[str, Any] | None = None
    model: _Model | None = None


def check_growth(folder: Path) -> None:
    """Refuse a tokenizer that makes long texts of short ones.

    Raises
    ------
    ValueError
        Saying which part of it does.
    """
    file = folder / "tokenizer.json"
    if not file.is_file():
        return
    told = msgspec.json.decode(file.read_bytes(), type=_File)
    for name, component in (("normalizer", told.normalizer), ("decoder", told.decoder)):
        growth = 1.0
        for part in flat(component):
            growth *= _growth(part)
            if growth > _GROWTH:
                raise ValueError(
                    f"the {name} of its tokenizer.json makes more than {_GROWTH} characters of one."
                )
    model = told.model or _Model()
    for literal in (model.continuing_subword_prefix, model.end_of_word_suffix):
        if len(literal or "") > _LITERAL:
            raise ValueError("its tokenizer.json puts long texts around the parts of words.")
    if sum(map(_tokens_around, flat(told.post_processor))) > _ADDED_TOKENS:
        raise ValueError(f"its tokenizer.json puts more than {_ADDED_TOKENS} tokens around a text.")


def _growth(part: dict[str, Any]) -> float:
    """How many characters a component makes of one at most."""
    match part:
        case {"type": "Replace", "pattern": {"String": str(text)}, "content": str(content)}:
            return max(1.0, len(content) / len(text)) if text else 1.0 + len(content)
        case {"type": "Replace", "pattern": {"Regex": str(pattern)}, "content": str(content)}:
            return max(1, len(content)) + (1 if _may_be_empty(pattern) else 0)
        case {"type": "Prepend", "prepend": str(text)} if len(text) > _LITERAL:
            return len(text)
        case {"type": "Precompiled", "precompiled_charsmap": str(charsmap)}:
            longest = _longest_replacement(base64.b64decode(charsmap))
            return 1 if longest <= _LITERAL else longest
    return 1


def _may_be_empty(pattern: str) -> bool:
    try:
        return re.match(pattern, "") is not None
    except re.error:  # it is one of Oniguruma's
        return True


def _longest_replacement(charsmap: bytes) -> int:
    """Characters of the longest text in SentencePiece's table: a trie, then texts ended by 0."""
    texts = charsmap[4 + int.from_bytes(charsmap[:4], "little") :].split(b"\0")
    return max(len(text.decode(errors="replace")) for text in texts)


def _tokens_around(part: dict[str, Any]) -> int:
    """How many tokens a post-processor puts around one text."""
    if part.get("type") != "TemplateProcessing":
        return 0
    known = part.get("special_tokens") or {}
    pieces = [piece["SpecialToken"]["id"] for piece in part["single"] if "SpecialToken" in piece]
    return sum(len(known[name]["ids"]) for name in pieces if name in known)
