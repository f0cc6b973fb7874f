"""Metrics of answers, and confidence intervals of their means."""

import pytest
from pydantic import BaseModel

from mlx_notebook import metrics
from mlx_notebook.notebook.errors import NotebookError
from mlx_notebook.notebook.evaluation.intervals import difference, interval_of


class Order(BaseModel):
    item: str


AGE = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}


@pytest.mark.parametrize(
    ("metric", "answer", "expected", "score"),
    [
        (metrics.exact(), " soup\n", "soup", 1),
        (metrics.exact(), "Soup", "soup", 0),
        (metrics.exact(), "7", 7, 1),
        (metrics.exact(), "tea", ["soup", "tea"], 1),
        (metrics.exact(ignore_case=True, ignore_punctuation=True), "Hot  Soup.", "hot soup", 1),
        (metrics.f1(), "The red fox.", "red fox", 0.8),
        (metrics.f1(), "a b", ["c", "b a"], 1),
        (metrics.f1(), "...", "", 1),
        (metrics.f1(), "tea", "", 0),
        (metrics.regex(), "It is 42.", r"\b4\d\b", 1),
        (metrics.regex(r"^\d+$"), "It is 42.", None, 0),
        (metrics.number(), "17 and 25 make 1,042.5 in all", 1042.5, 1),
        (metrics.number(), "It is -3", "3", 0),
        (metrics.number(tolerance=0.5), "about 3.4", 3, 1),
        (metrics.number(relative=0.1), "110", 100, 1),
        (metrics.number(relative=0.1), "1.2e2", 100, 0),
        (metrics.number(), "none", 1, 0),
        (metrics.number(), "4", [3, 4], 1),
        (metrics.valid_json(), '{"a": [1]}', None, 1),
        (metrics.valid_json(), "{'a': 1}", None, 0),
        (metrics.valid_json(Order), '{"item": "tea"}', None, 1),
        (metrics.valid_json(Order), '{"item": 3}', None, 0),
        (metrics.valid_json(AGE), '{"age": 3}', None, 1),
        (metrics.valid_json(AGE), '{"age": "3"}', None, 0),
    ],
)
def test_each_metric_scores(metric, answer, expected, score):
    assert metric.score(answer, expected, None) == pytest.approx(score)


def test_a_row_without_an_answer_has_the_worst_score_and_one_without_a_right_one_has_none():
    assert metrics.exact().score(None, "a", None) == 0
    assert metrics.exact().score("a", None, None) is None


def test_functions_take_as_much_as_they_want():
    def short(answer):
        return len(answer) < 3

    def longer(answer, expected, row):
        return len(answer) > len(row[expected])

    first, second = metrics.as_metrics([short, longer])
    assert (first.name, first.score("ab", None, None)) == ("short", 1)
    assert second.score("abc", "key", {"key": "ab"}) == 1
    assert first.score(None, None, None) is None
    assert metrics.as_metrics(lambda answer: float("nan"))[0].score("a", None, None) is None
    several = metrics.as_metrics(["f1", metrics.exact, metrics.judge()])
    assert [metric.name for metric in several] == ["f1", "exact", "judge"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("bleu", "There is no metric 'bleu'. Use one of exact, f1"),
        ([3], "There is no metric 3"),
        (["exact", metrics.exact(ignore_case=True)], "Two metrics are named exact"),
        (lambda: 1, "A metric takes the answer"),
    ],
)
def test_what_is_no_metric_is_told(given, said):
    with pytest.raises(NotebookError, match=said):
        metrics.as_metrics(given)


def test_a_function_that_fails_is_named():
    def broken(answer):
        return answer["x"]

    with pytest.raises(NotebookError, match=r"The metric broken failed: TypeError: .*\.$"):
        metrics.as_metrics(broken)[0].score("a", None, None)


def test_a_judge_reads_the_request_the_expected_answer_and_the_answer():
    asked = metrics.judge().prompt("Say soup", "soup", "Soup!")
    assert asked.startswith("Request:\nSay soup\n\nExpected answer:\nsoup\n\nAnswer:\nSoup!\n\n")
    assert "Expected" not in metrics.judge().prompt("Say soup", None, "Soup!")
    assert (
        metrics.judge("m", "Is it polite?")
        .prompt("a", None, "b")
        .endswith("Is it polite? Say yes or no.")
    )


def test_intervals_of_shares_are_those_of_wilson():
    # Newcombe (1998), Statistics in Medicine 17, table I: 81 of 263, and 0 of 20.
    for hits, count, low, high in ((81, 263, 0.2553, 0.3662), (0, 20, 0.0, 0.1611)):
        found = interval_of([1.0] * hits + [0.0] * (count - hits), 0)
        assert found == pytest.approx((hits / count, low, high), abs=5e-5)
    assert interval_of([], 0) is None


def test_other_intervals_hold_the_mean_and_are_the_same_with_the_same_seed():
    values = [n / 40 for n in range(41)]
    mean, low, high = interval_of(values, 3)
    assert mean == pytest.approx(0.5)
    # About 1.96 standard errors of the mean.
    assert 0.5 - low == pytest.approx(0.09, abs=0.02)
    assert high - 0.5 == pytest.approx(0.09, abs=0.02)
    assert interval_of(values, 3) == (mean, low, high) != interval_of(values, 4)


def test_differences_are_those_of_the_same_rows():
    first = [n % 2 for n in range(50)]
    better = difference(first, [value + 0.25 for value in first], 0)
    assert better == pytest.approx((0.25, 0.25, 0.25))
    assert difference([], [], 0) is None
