"""What is learned of a conversation: the answer, and nothing else."""

from pathlib import Path
from typing import Any

import pytest
from mlx_lm.utils import load_tokenizer

from mlx_notebook.engine.prompts.chat_format import ChatFormat
from mlx_notebook.engine.training.training_batches import as_batch, training_batches
from mlx_notebook.engine.training.training_data import ExampleTokenizer, TokenizedExample
from mlx_notebook.protocol import TrainingExample

MODEL = Path(__file__).parents[3] / "mlx_notebook" / "demo_models" / "tiny-chat"
QUESTION = {"role": "user", "content": "What is 2 + 2?"}
TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add.",
        "parameters": {"type": "object", "properties": {"a": {"type": "number"}}},
    },
}
CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}
    ],
}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(MODEL)


def learned(tokenizer: Any, example: TrainingExample, template: str | None = None) -> str:
    before = tokenizer.chat_template
    if template is not None:
        tokenizer._tokenizer.chat_template = template
    try:
        tokenized = ExampleTokenizer(tokenizer, ChatFormat(tokenizer, 2048, "qwen3")).example(
            example
        )
    finally:
        tokenizer._tokenizer.chat_template = before
    return str(tokenizer.decode(tokenized.tokens[tokenized.answer_at :]))


def test_only_the_last_answer_is_learned_with_its_end(tokenizer: Any) -> None:
    example = TrainingExample(
        [
            {"role": "system", "content": "Be short."},
            QUESTION,
            {"role": "assistant", "content": "Five."},
            {"role": "user", "content": "Sure?"},
            {"role": "assistant", "content": "No, four."},
        ]
    )
    assert learned(tokenizer, example) == "No, four.<|im_end|>"


def test_a_tool_call_is_learned_in_the_dialect_of_the_model(tokenizer: Any) -> None:
    text = learned(tokenizer, TrainingExample([QUESTION, CALL], [TOOL]))
    assert text == ('<tool_call>\n{"name": "add", "arguments": {"a": 2}}\n</tool_call><|im_end|>')


def test_a_prompt_that_ends_with_an_empty_reasoning_is_told_apart(tokenizer: Any) -> None:
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n\n</think>\n\n{% endif %}"
    )
    example = TrainingExample([QUESTION, {"role": "assistant", "content": "<b>Four</b>"}])
    assert learned(tokenizer, example, template) == "<b>Four</b><|im_end|>"


def examples(*lengths: int) -> list[TokenizedExample]:
    return [TokenizedExample(list(range(1, length + 1)), 1) for length in lengths]


def test_batches_depend_on_the_seed_and_the_step_only() -> None:
    data = examples(3, 5, 7, 9, 11, 13, 15)

    def tokens(first: int, count: int, seed: int = 1) -> list[Any]:
        batches = training_batches(data, 2, seed, first)
        return [next(batches)[0].tolist() for _ in range(count)]

    whole = tokens(0, 12)
    assert tokens(5, 7) == whole[5:]
    assert tokens(0, 12, seed=2) != whole


def test_an_epoch_has_every_example() -> None:
    data = examples(3, 5, 7, 9, 11)
    batches = training_batches(data, 2, 0, 0)
    seen = {max(row) for _ in range(3) for row in next(batches)[0].tolist()}
    assert seen == {3, 5, 7, 9, 11}


def test_the_places_to_learn_end_with_the_last_token() -> None:
    tokens, places = as_batch([TokenizedExample([5, 6, 7, 8], 2)])
    assert tokens.shape == (1, 33)
    assert places.tolist() == [[2, 3]]
