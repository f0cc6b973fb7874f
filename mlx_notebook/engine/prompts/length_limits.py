"""Limits on the length of a prompt before it is tokenized.

A tokenizer cannot be interrupted. It takes a second and hundreds of megabytes for a million
characters. So a text that cannot fit the context is refused by its length.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from mlx_notebook.engine.errors import ContextOverflow

_LEAST = 2**20
"""Characters that every model accepts, unless its longest token shows that they cannot fit."""
_A_TOKEN = 8
"""Generous average of characters per token."""
_COMPOSED = 4
"""Maximum code points that a Unicode normal form merges into one."""

_KEEPING = ("ByteLevel", "Digits", "Metaspace", "Punctuation", "Split", "UnicodeScripts")
"""Pre-tokenizers that drop no characters."""


@dataclass(frozen=True)
class LengthLimit:
    """The maximum length of a prompt of one model.

    Parameters
    ----------
    context
        Context length of the model in tokens.
    max_prompt
        Configured maximum of prompt tokens.
    longest
        Maximum number of characters of a token. None if unknown.
    """

    context: int
    max_prompt: int | None = None
    longest: int | None = None

    @property
    def tokens(self) -> int:
        """Maximum tokens of a prompt."""
        return min(self.context, self.max_prompt or self.context)

    @property
    def characters(self) -> int:
        """Maximum characters of a prompt: a million, or eight per token if that is more."""
        stated = max(_LEAST, _A_TOKEN * self.tokens)
        return stated if self.longest is None else min(stated, self.tokens * self.longest)

    @property
    def relaxed(self) -> "LengthLimit":
        """The limit for a text that need not fit the context: it is truncated or only tokenized."""
        return replace(self, longest=None)

    def check(self, text: str | list[int]) -> None:
        """Refuse a text with too many characters, or too many token ids.

        Raises
        ------
        ContextOverflow
            If it is too long.
        """
        if len(text) > self.characters:
            unit = "characters" if isinstance(text, str) else "tokens"
            raise self.exceeded(f"{len(text)} {unit}")

    def exceeded(self, size: str) -> ContextOverflow:
        """Return the error for a prompt that is too long; `size` is its length with a unit."""
        limit = (
            f"This model's maximum context length is {self.context} tokens"
            if self.tokens == self.context
            else f"This server takes prompts of {self.tokens} tokens at most "
            "(MlxNotebookApp.max_prompt_tokens)"
        )
        return ContextOverflow(
            f"{limit}, for which at most {self.characters} characters are read, and the prompt has "
            f"{size}. Shorten it.",
            "messages",
        )


def longest_token(tokenizer: Any) -> int | None:
    """Return the maximum number of characters per token; None if there is none.

    Parameters
    ----------
    tokenizer
        A transformers tokenizer.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or type(backend.model).__name__ != "BPE":
        return None
    before = list(_parts(backend.pre_tokenizer))
    kept = all(part["type"] in _KEEPING and part.get("behavior") != "Removed" for part in before)
    vocabulary = tokenizer.get_vocab()
    bytewise = any(part["type"] == "ByteLevel" for part in before)
    whole = bytewise or (backend.model.byte_fallback and "<0xFF>" in vocabulary)
    added = backend.get_added_tokens_decoder().values()
    if not kept or not whole or any(token.lstrip or token.rstrip for token in added):
        return None
    factor = 1
    for part in _parts(backend.normalizer):
        shrunk = _shrinks(part)
        if shrunk is None:
            return None
        factor *= shrunk
    return factor * max(map(len, vocabulary), default=1)


def _shrinks(normalizer: dict[str, Any]) -> int | None:
    """Return how many characters a normalizer merges into one at most; None if it drops some."""
    match normalizer["type"]:
        case "NFC" | "NFKC":
            return _COMPOSED
        case "NFD" | "NFKD" | "Lowercase" | "Prepend" | "ByteLevel":
            return 1
        case "Replace":
            pattern, content = normalizer["pattern"].get("String"), normalizer["content"]
            return -(-len(pattern) // len(content)) if pattern and content else None
    return None


def _parts(component: Any) -> Iterator[dict[str, Any]]:
    """Yield the parts of a tokenizer's component; those of sequences one by one."""
    if component is not None:
        yield from component_parts(json.loads(component.__getstate__()))


def component_parts(component: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """Yield the parts of a component in `tokenizer.json`; those of sequences one by one."""
    if not component:
        return
    if component.get("type") != "Sequence":
        yield component
    for name in ("normalizers", "pretokenizers", "decoders"):
        for part in component.get(name) or []:
            yield from component_parts(part)
