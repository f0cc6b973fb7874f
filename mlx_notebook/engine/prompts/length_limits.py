"""How long a prompt may be before it is tokenized.

A tokenizer cannot be interrupted, and takes a second and hundreds of megabytes for a million
characters. So what cannot fit is refused by its length.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from mlx_notebook.engine.errors import ContextOverflow

_LEAST = 2**20
"""Characters that every model takes, unless its longest token says that they cannot fit."""
_A_TOKEN = 8
"""Characters of the context's tokens on average, generously."""
_COMPOSED = 4
"""Most code points that Unicode's normal forms make one of."""

_KEEPING = ("ByteLevel", "Digits", "Metaspace", "Punctuation", "Split", "UnicodeScripts")
"""Pre-tokenizers that drop nothing of a text."""


@dataclass(frozen=True)
class LengthLimit:
    """The longest prompt that is tokenized for a model.

    Parameters
    ----------
    context
        GrammarTokenizer of the model's context.
    max_prompt
        Most tokens of a prompt, as configured.
    longest
        Most characters that a token stands for; None where that is not known.
    """

    context: int
    max_prompt: int | None = None
    longest: int | None = None

    @property
    def tokens(self) -> int:
        """Most tokens of a prompt."""
        return min(self.context, self.max_prompt or self.context)

    @property
    def characters(self) -> int:
        """Most characters of a prompt: a million, or eight a token where that is more."""
        stated = max(_LEAST, _A_TOKEN * self.tokens)
        return stated if self.longest is None else min(stated, self.tokens * self.longest)

    @property
    def stated(self) -> "LengthLimit":
        """The bound for a text that need not fit the context: it is cut, or only tokenized."""
        return replace(self, longest=None)

    def check(self, text: str | list[int]) -> None:
        """Refuse a text that is too long, or too many token ids.

        Raises
        ------
        ContextOverflow
            Saying by how much.
        """
        if len(text) > self.characters:
            unit = "characters" if isinstance(text, str) else "tokens"
            raise self.exceeded(f"{len(text)} {unit}")

    def exceeded(self, size: str) -> ContextOverflow:
        """The error for a prompt that is too long; `size` says how long, with its unit."""
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
    """How many characters of a text one token may stand for; None if there is no limit.

    Parameters
    ----------
    tokenizer
        One of transformers'.
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
    """How many characters it makes one of at most; None where it drops any number."""
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
    """The components of a tokenizer's component, those of sequences each by itself."""
    if component is not None:
        yield from flat(json.loads(component.__getstate__()))


def flat(component: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """The same of a component as `tokenizer.json` describes it."""
    if not component:
        return
    if component.get("type") != "Sequence":
        yield component
    for name in ("normalizers", "pretokenizers", "decoders"):
        for part in component.get(name) or []:
            yield from flat(part)
