"""Rows of tables as conversations to learn."""

import json

import pandas
import polars
import pytest

from mlx_notebook.notebook.errors import NotATable
from mlx_notebook.notebook.training.training_examples import conversations, split

PAIR = [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]


def add(a: int) -> int:
    """Add one."""
    return a + 1


@pytest.mark.parametrize(
    "data",
    [
        pandas.DataFrame({"prompt": ["2 + 2?"], "answer": ["4"]}),
        polars.DataFrame({"prompt": ["2 + 2?"], "completion": ["4"]}),
        [{"prompt": "2 + 2?", "response": "4"}],
        [("2 + 2?", "4")],
        [{"messages": PAIR}],
        pandas.DataFrame({"messages": [json.dumps(PAIR)]}),
    ],
)
def test_every_kind_of_table_gives_the_same_conversation(data: object) -> None:
    assert conversations(data) == [{"messages": PAIR}]


def test_columns_can_have_other_names_and_all_rows_a_system_message() -> None:
    (made,) = conversations([{"q": "2 + 2?", "a": "4"}], prompt="q", answer="a", system="Be short.")
    assert made["messages"] == [{"role": "system", "content": "Be short."}, *PAIR]


def test_an_answer_can_be_tool_calls() -> None:
    call = {"name": "add", "arguments": {"a": 1}}
    one, two = conversations([("1 + 1?", call), ("both", [call, call])], tools=[add])
    last = one["messages"][-1]["tool_calls"][0]["function"]
    assert last == {"name": "add", "arguments": '{"a": 1}'}
    assert one["tools"][0]["function"]["description"] == "Add one."
    assert len(two["messages"][-1]["tool_calls"]) == 2


def test_a_cell_without_tools_gets_those_of_all_rows() -> None:
    frame = pandas.DataFrame({"messages": [PAIR, PAIR], "tools": [None, [{"own": 1}]]})
    first, second = conversations(frame, tools=[add])
    assert first["tools"][0]["function"]["name"] == "add"
    assert second["tools"] == [{"own": 1}]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"prompt": "x"}, "no 'answer'"),
        (("x", None), "neither a text nor a tool call"),
        ({"messages": PAIR[:1]}, "not the assistant's"),
        ({"messages": "{"}, "Row 1 cannot be learned"),
    ],
)
def test_a_row_that_cannot_be_learned_is_told(row: object, told: str) -> None:
    with pytest.raises(NotATable, match=told):
        conversations([{"prompt": "a", "answer": "b"}, row])


def test_no_rows_are_told() -> None:
    with pytest.raises(NotATable, match="no rows"):
        conversations([])


def test_the_seed_chooses_what_is_held_out() -> None:
    rows = conversations([(str(i), str(i)) for i in range(20)])
    train, held_out = split(rows, 0.2, seed=1)
    assert (len(train), len(held_out)) == (16, 4)
    assert [row for row in rows if row not in train] == held_out
    assert split(rows, 0.2, seed=1) == (train, held_out)
    assert split(rows, 0.2, seed=2) != (train, held_out)
    assert split(rows, 0, seed=1) == (rows, [])
    assert len(split(rows, 0.001, seed=1)[1]) == 1
    with pytest.raises(NotATable, match="too few"):
        split(rows[:1], 0.5, seed=1)
