"""Prompt lookup drafts for several rows at once, beside grammars, and no row's tokens change."""

import json
from typing import Any

import pytest
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import load_model
from transformers import AutoTokenizer

from mlx_notebook.engine.batching.prefill_policy import (
    PrefillLimits,
    PrefillPolicy,
    PrefillSpeed,
)
from mlx_notebook.engine.batching.row_generator import RowGenerator
from mlx_notebook.engine.batching.speculation import Speculation
from mlx_notebook.engine.prompts.output_grammar import GrammarCompiler
from mlx_notebook.engine.sampling.row import Row
from mlx_notebook.engine.speculative.draft_pace import DraftPace
from mlx_notebook.protocol import OutputFormat
from tests.hub import TINY_CHAT

TEXT = "The cat sat on the mat. The dog sat on the log. The cat sat on the mat. The dog sat"
CATS = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"name": {"enum": ["cat", "dog"]}, "age": {"type": "integer", "maximum": 9}},
        "required": ["name", "age"],
    },
    "minItems": 5,
}


class Model:
    """tiny-chat in this process."""

    def __init__(self) -> None:
        self.model, config = load_model(TINY_CHAT)
        self.tokenizer = AutoTokenizer.from_pretrained(TINY_CHAT)
        self.compiler = GrammarCompiler(
            self.tokenizer, config["vocab_size"], [self.tokenizer.eos_token_id]
        )

    def row(self, index: int) -> Row:
        """Return the settings of a row: greedy or sampled, free or with a grammar."""
        row = Row(temperature=0.7, seed=index) if index % 2 else Row()
        if index % 4 > 1:
            grammar = self.compiler.compile(output=OutputFormat(kind="json_schema", value=CATS))
            assert grammar is not None
            row.constraint = grammar.row()
        return row

    def generate(self, rows: list[int], lookup: int) -> tuple[list[list[int]], int]:
        """Return the tokens of these rows, and how many steps they took together."""
        policy = PrefillPolicy(PrefillLimits(), PrefillSpeed(1000))
        generator = RowGenerator(
            self.model, policy, len(rows), lambda: make_prompt_cache(self.model)
        )
        generator.speculate(Speculation(None, lookup))
        names = json.dumps([{"name": "cat", "age": 3}] * 3)
        found: dict[int, list[int]] = {}
        for index in rows:
            prompt = self.tokenizer.encode(names if index % 4 > 1 else TEXT + " on" * index)
            cache: list[Any] = make_prompt_cache(self.model)
            uid = generator.insert(
                [prompt], self.row(index), cache=cache, tokens=[], max_tokens=30 + index, ends=()
            )
            found[uid] = []
        steps = 0
        while len(generator):
            _, new = generator.next()
            steps += bool(new)
            for token in new:
                found[token.uid].append(token.token)
        return list(found.values()), steps


@pytest.fixture(scope="module")
def model() -> Model:
    return Model()


@pytest.fixture(scope="module")
def alone(model: Model) -> list[list[int]]:
    return [model.generate([index], 0)[0][0] for index in range(8)]


@pytest.mark.parametrize("width", [1, 3, 7, 15])
def test_drafts_for_eight_rows_change_no_token(
    model: Model, alone: list[list[int]], width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DraftPace, "width", lambda pace, expected, rows: width)
    for index in (0, 3):
        assert model.generate([index], 16)[0] == [alone[index]]
    together, _ = model.generate(list(range(8)), 16)
    assert together == alone


def test_a_repetition_takes_few_steps(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    (plain,), many = model.generate([2], 0)
    monkeypatch.setattr(DraftPace, "width", lambda pace, expected, rows: 7)
    (drafted,), few = model.generate([2], 16)
    assert drafted == plain
    assert 4 * few < 3 * many
