"""The measuring of tiny-chat: what counts as right, and how sure a share is."""

from mlx_notebook.demo_models.training.tiny_chat.cases import Case, Reply, cases
from mlx_notebook.demo_models.training.tiny_chat.evaluate import parsed, wilson


def test_the_interval_is_wilsons() -> None:
    low, high = wilson(90, 100)
    assert (round(low, 4), round(high, 4)) == (0.8256, 0.9448)
    assert wilson(10, 10)[1] == 1.0


def test_calls_must_match_exactly_but_in_any_order() -> None:
    one, two = {"name": "a", "arguments": {"x": 1}}, {"name": "b", "arguments": {}}
    case = Case("calls", [], calls=[one, two])
    assert case.right(Reply("", [two, one]))
    assert not case.right(Reply("", [one]))
    assert not case.right(Reply("", [{"name": "a", "arguments": {"x": "1"}}, two]))


def test_no_call_may_be_made_where_none_is_expected() -> None:
    case = Case("none", [], calls=[])
    assert case.right(Reply("Hello!"))
    assert not case.right(Reply("", [{"name": "a", "arguments": {}}]))


def test_thinking_must_happen_when_asked_for_and_only_then() -> None:
    assert not Case("t", [], thinking=True, content="Hi").right(Reply("Hi"))
    assert Case("t", [], thinking=True, content="Hi").right(Reply("Hi", reasoning="I greet."))
    assert not Case("t", [], content="Hi").right(Reply("Hi", reasoning="I greet."))


def test_raw_text_is_taken_apart() -> None:
    text = (
        '<think>\nfits\n</think>\n\n<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>'
    )
    reply = parsed(text)
    assert reply.reasoning == "fits"
    assert reply.content.strip() == ""
    assert reply.calls == [{"name": "f", "arguments": {"x": 1}}]
    assert parsed("<tool_call>{").calls == [{"name": "", "arguments": "{"}]


def test_the_cases_are_the_same_each_time() -> None:
    assert [case.messages for case in cases(3)] == [case.messages for case in cases(3)]


def test_single_calls_have_at_most_two_arguments() -> None:
    for case in cases(5):
        if case.skill.startswith("one call"):
            assert case.calls is not None
            assert len(case.calls[0]["arguments"]) <= 2
