"""A request that was not recorded is compared with those that were."""

import pytest

from mlx_notebook.notebook.recording.differences import difference, nearest


def user(text):
    return {"role": "user", "content": text}


CALLED = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c1", "function": {"name": "mean", "arguments": "{}"}}],
}


RESULT = {"role": "tool", "tool_call_id": "c1", "content": "3.5"}


TOOL = {"type": "function", "function": {"name": "mean", "parameters": {}}}


ASKED = {"model": "m", "messages": [user("Hi"), CALLED, RESULT], "tools": [TOOL], "seed": 1}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"model": "n"}, "model is 'n' where 'm' was recorded"),
        ({"messages": [user("Ho"), CALLED, RESULT]}, "message 1 (user) is 'Ho' where 'Hi' was"),
        (
            {"messages": [user("Hi"), CALLED, {**RESULT, "content": "4"}]},
            "the result of mean (message 3) is '4' where '3.5' was recorded",
        ),
        ({"messages": [user("Hi")]}, "1 message where 3 were recorded"),
        ({"tools": []}, "of the tools mean is gone"),
        ({"tools": [TOOL, {"function": {"name": "a"}}]}, "of the tools a is new"),
        (
            {"tools": [{"function": {"name": "mean", "parameters": {"x": 1}}}]},
            "of the tools mean is described differently",
        ),
        ({"seed": 2}, "seed is 2 where 1 was recorded"),
        ({"temperature": 0}, "temperature is 0 where it was not given"),
        ({"model": "n", "seed": 2}, "model is 'n' where 'm' was recorded; seed is 2 where 1"),
    ],
)
def test_a_difference_is_told_in_words(changed, said):
    assert said in difference({**ASKED, **changed}, ASKED)


def test_of_a_long_text_the_place_is_shown_where_it_differs():
    said = difference(
        {"messages": [user("word " * 100 + "blue" + " word" * 100)]},
        {"messages": [user("word " * 100 + "green" + " word" * 100)]},
    )
    assert "blue" in said
    assert "green" in said
    assert len(said) < 250


def test_the_nearest_request_shares_most():
    other = {"model": "m", "messages": [user("Something else")]}
    like = {**ASKED, "messages": [user("Hi"), CALLED, {**RESULT, "content": "9"}]}
    assert nearest(ASKED, [other, like, {}]) == 1
    assert nearest(ASKED, []) is None
