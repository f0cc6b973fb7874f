"""Check a `tokenizer.json` before it is loaded: it must not make long texts of short ones.

Its normalizer, decoder and post-processor may replace each character by many, repeatedly. A few
bytes of text would then take gigabytes.
"""

import base64
import re
from pathlib import Path
from typing import Any

import msgspec

from mlx_notebook.engine.prompts.length_limits import component_parts

_GROWTH = 8
"""Maximum characters that one character may become. Real tokenizers replace one by one."""

_LITERAL = 32
"""Maximum characters of a prefix or suffix, and of the replacement of one character."""

_ADDED_TOKENS = 1024
"""Maximum tokens that are added around a text."""


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
        If it does. The message names the part of it.
    """
    file = folder / "tokenizer.json"
    if not file.is_file():
        return
    content = msgspec.json.decode(file.read_bytes(), type=_File)
    for name, component in (("normalizer", content.normalizer), ("decoder", content.decoder)):
        growth = 1.0
        for part in component_parts(component):
            growth *= _growth(part)
            if growth > _GROWTH:
                raise ValueError(
                    f"the {name} of its tokenizer.json makes more than {_GROWTH} characters of one."
                )
    model = content.model or _Model()
    for literal in (model.continuing_subword_prefix, model.end_of_word_suffix):
        if len(literal or "") > _LITERAL:
            raise ValueError("its tokenizer.json puts long texts around the parts of words.")
    if sum(map(_tokens_around, component_parts(content.post_processor))) > _ADDED_TOKENS:
        raise ValueError(f"its tokenizer.json puts more than {_ADDED_TOKENS} tokens around a text.")


def _growth(part: dict[str, Any]) -> float:
    """Return how many characters a component makes of one at most."""
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
    except re.error:  # a pattern in Oniguruma's syntax
        return True


def _longest_replacement(charsmap: bytes) -> int:
    """Return the length of the longest text in SentencePiece's table.

    The table is a trie, followed by texts that end with a zero byte.
    """
    texts = charsmap[4 + int.from_bytes(charsmap[:4], "little") :].split(b"\0")
    return max(len(text.decode(errors="replace")) for text in texts)


def _tokens_around(part: dict[str, Any]) -> int:
    """Return how many tokens a post-processor adds to a text."""
    if part.get("type") != "TemplateProcessing":
        return 0
    known = part.get("special_tokens") or {}
    pieces = [piece["SpecialToken"]["id"] for piece in part["single"] if "SpecialToken" in piece]
    return sum(len(known[name]["ids"]) for name in pieces if name in known)
