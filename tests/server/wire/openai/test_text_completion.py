from typing import Any

import pytest

from mlx_notebook.protocol import TokenLogprob
from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.openai.text_completion import TextLogprobsBuilder, separate_inputs


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ("Hi", ["Hi"]),
        (["a", "b"], ["a", "b"]),
        ([1, 2], [[1, 2]]),
        ([[1], [2, 3]], [[1], [2, 3]]),
    ],
)
def test_inputs_are_separated_in_every_form(inputs: Any, expected: list[Any]) -> None:
    assert separate_inputs(inputs, "prompt") == expected


@pytest.mark.parametrize(
    ("inputs", "param"),
    [
        ("", "prompt"),
        (["a", ""], "prompt[1]"),
        ([[1], []], "prompt[1]"),
        (["a", 1], "prompt"),
    ],
)
def test_an_empty_or_mixed_input_is_named(inputs: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        separate_inputs(inputs, "prompt")
    assert caught.value.param == param


def test_log_probabilities_have_offsets_over_prompt_and_answer() -> None:
    builder = TextLogprobsBuilder()
    alternatives = [("one", -0.1, []), ("two", -1.0, [])]
    builder.add_prompt("<s>", [None, TokenLogprob("Hi", -2.0, [], alternatives)], 1)
    builder.add([TokenLogprob(" you", -0.5, [], [])])
    told = builder.take()
    assert told.tokens == ["<s>", "Hi", " you"]
    assert told.token_logprobs == [None, -2.0, -0.5]
    assert told.top_logprobs == [None, {"one": -0.1, "Hi": -2.0}, {" you": -0.5}]
    assert told.text_offset == [0, 3, 5]
    builder.add([TokenLogprob("!", -1.0, [], [])])
    assert builder.take().text_offset == [9]
