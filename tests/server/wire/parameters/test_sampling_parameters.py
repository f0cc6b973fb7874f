from typing import Any

import pytest

from mlx_notebook.protocol import Sampling
from mlx_notebook.server.errors import InvalidRequest
from tests.server.wire.smallest_requests import chat


def sampled(**parameters: Any) -> Sampling:
    return chat(**parameters).sampling()


def test_the_forms_of_llama_cpp_are_accepted() -> None:
    assert sampled(seed=-1).seed is None
    assert sampled(seed=-2).seed == -2
    assert sampled(logit_bias=[[5, 1.5], [6, False]]).logit_bias == {5: 1.5, 6: -100}
    assert sampled(logit_bias={"5": 1}).logit_bias == {5: 1}
    for wrong in ([[5, True]], [[5]], [["word", 1]], [[5, 200]]):
        with pytest.raises(InvalidRequest) as caught:
            sampled(logit_bias=wrong)
        assert (caught.value.param or "").startswith("logit_bias")


def test_parameters_that_are_not_set_stay_open_for_the_model() -> None:
    assert sampled() == Sampling()
    assert sampled(top_k=-1).top_k == 0
    assert sampled(repeat_last_n=-1).repeat_last_n is None


def test_both_names_of_the_repetition_penalty_set_it_unless_they_differ() -> None:
    assert sampled(repeat_penalty=1.2).repetition_penalty == 1.2
    assert sampled(repetition_penalty=1.2, repeat_penalty=1.2).repetition_penalty == 1.2
    with pytest.raises(InvalidRequest) as caught:
        sampled(repetition_penalty=1.1, repeat_penalty=1.2)
    assert caught.value.param == "repeat_penalty"


@pytest.mark.parametrize("name", ["messages", "chat_template", "tokenize"])
def test_the_names_of_the_renderer_are_no_template_variables(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        chat(chat_template_kwargs={name: 1}).prompt()
    assert caught.value.param == f"chat_template_kwargs.{name}"


def test_a_template_variable_wins_over_enable_thinking() -> None:
    asked = chat(enable_thinking=True, chat_template_kwargs={"enable_thinking": False, "x": 1})
    assert asked.prompt().template_kwargs == {"enable_thinking": False, "x": 1}


BEGUN = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hel"}]


def test_the_last_message_is_continued_on_request() -> None:
    prompt = chat(messages=BEGUN, continue_final_message=True, add_generation_prompt=False).prompt()
    assert prompt.continues
    assert not prompt.add_generation_prompt
    prompt = chat(messages=BEGUN).prompt()
    assert not prompt.continues
    assert prompt.add_generation_prompt


CALL = {"type": "function", "function": {"name": "f"}}


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        ({"role": "user", "content": "Hi"}, "role 'assistant'"),
        ({"role": "assistant", "content": ""}, "empty"),
        ({"role": "assistant", "tool_calls": [CALL]}, "tool call"),
    ],
)
def test_a_message_that_cannot_be_continued_is_refused(last: dict[str, Any], reason: str) -> None:
    asked = chat(messages=[*BEGUN, last], continue_final_message=True)
    with pytest.raises(InvalidRequest) as caught:
        asked.prompt()
    assert caught.value.param == "continue_final_message"
    assert reason in caught.value.message


def test_a_continued_message_needs_no_generation_prompt() -> None:
    asked = chat(messages=BEGUN, continue_final_message=True, add_generation_prompt=True)
    with pytest.raises(InvalidRequest) as caught:
        asked.prompt()
    assert caught.value.param == "add_generation_prompt"
