"""Models that write under a grammar: given texts, or whatever the grammar lets through."""

import random
import re
from typing import Any

import numpy as np

from mlx_notebook.engine.dialects import registry
from mlx_notebook.engine.dialects.harmony_reader import HarmonyReader
from mlx_notebook.engine.dialects.mlx_lm_parsers import MlxLmDialect
from mlx_notebook.engine.dialects.output_events import ToolCall
from mlx_notebook.engine.dialects.output_reader import MarkerReader
from mlx_notebook.engine.functions.declared import DeclaredFunctions
from mlx_notebook.engine.grammar.matcher import Grammar, Matcher
from mlx_notebook.engine.prompts.output_grammar import GrammarCompiler
from tests.engine import vocabularies

PADDING = 21
ENFORCED = [name for name in registry.names() if not isinstance(registry.get(name), MlxLmDialect)]
WEATHER_SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer", "minimum": 1, "maximum": 14},
        "unit": {"enum": ["C", "F"]},
        "exact": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
        "place": {"$ref": "#/$defs/place"},
    },
    "required": ["city", "days"],
    "$defs": {
        "place": {
            "type": "object",
            "properties": {"lat": {"type": "number"}, "note": {"type": ["string", "null"]}},
            "required": ["lat"],
        }
    },
}
TOOLS = DeclaredFunctions.from_tools(
    [
        {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER_SCHEMA}},
        {"type": "function", "function": {"name": "now"}},
    ]
)
WEATHER = ToolCall(
    "get_weather",
    '{"city": "Zürich \\"x\\"", "days": 3, "unit": "F", "exact": true, "tags": ["a, b"], '
    '"place": {"lat": 47.4, "note": null}}',
)
NOW = ToolCall("now", "{}")


def compiler(kind: str = "byte_level") -> GrammarCompiler:
    tokenizer = getattr(vocabularies, kind)()
    return GrammarCompiler(tokenizer, len(tokenizer) + PADDING, [tokenizer.eos_token_id])


BYTES = compiler()
PIECES = compiler("sentence_piece")
TOKENIZER = vocabularies.byte_level()
EOS = TOKENIZER.eos_token_id


def mask_of(matcher: Matcher, width: int) -> tuple[bool, np.ndarray]:
    mask = np.full((width + 31) // 32, 0xFFFFFFFF, np.uint32)
    used = matcher.fill(mask)
    return used, np.unpackbits(mask.view(np.uint8), bitorder="little")[:width].astype(bool)


def accepts(
    grammar: Grammar | None, text: str, tokenizer: Any = TOKENIZER, *, ends: bool = True
) -> bool:
    """Whether a model may write `text` token by token, and (with `ends`) stop there."""
    assert grammar is not None
    matcher = grammar.row()
    tokens = tokenizer.encode(text, add_special_tokens=False)
    for token in [*tokens, tokenizer.eos_token_id] if ends else tokens:
        _, allowed = mask_of(matcher, len(tokenizer) + PADDING)
        if not allowed[token]:
            return False
        matcher.advance(token)
        assert matcher.failure is None
    return True


def babble(grammar: Grammar, seed: int, ending: str = "", limit: int = 600) -> str | None:
    """What a model that knows nothing writes under a grammar; None if it does not come to an end.

    It likes quotes, brackets and the text `ending` better than others, or no string would end.
    """
    rng = random.Random(seed)
    matcher = grammar.row()
    width = len(TOKENIZER) + PADDING
    tokens: list[int] = []
    endings = TOKENIZER.encode(ending)
    while len(tokens) < limit:
        if rng.random() < 0.1 and _write(matcher, endings, width):
            tokens += endings
            continue
        used, allowed = mask_of(matcher, width)
        assert used
        choices = np.flatnonzero(allowed).tolist()
        assert choices
        assert max(choices) < len(TOKENIZER)
        if EOS in choices and rng.random() < 0.5:
            return str(TOKENIZER.decode(tokens))
        closers = [t for t in choices if re.search(r'["\]})<\n]', TOKENIZER.decode([t]))]
        pool = closers if closers and rng.random() < 0.3 else choices
        token = rng.choice(pool)
        if token == EOS:
            return str(TOKENIZER.decode(tokens))
        tokens.append(token)
        matcher.advance(token)
        assert matcher.failure is None
    return None


def _write(matcher: Matcher, tokens: list[int], width: int) -> bool:
    """Write all of `tokens` if the grammar lets them through; say whether."""
    active = matcher._active
    if not tokens or active is None or active.validate_tokens(tokens) < len(tokens):
        return False
    for token in tokens:
        assert mask_of(matcher, width)[1][token]
        matcher.advance(token)
    return True


def read(name: str, text: str) -> list[Any]:
    dialect = registry.get(name)
    if name == "harmony":
        reader: Any = HarmonyReader(dialect, TOOLS)  # type: ignore[arg-type]
    else:
        reader = MarkerReader(dialect, TOOLS)
    return [*reader.feed(text), *reader.finish(cut=False)]
