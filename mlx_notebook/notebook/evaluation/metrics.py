"""What `evaluate` measures of an answer. Each function here returns a metric.

Of several expected answers (a list), the one that fits best counts.
"""

import inspect
import json
import math
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mlx_notebook.notebook.errors import NotebookError, NotParsed
from mlx_notebook.notebook.schemas.reply_schema import parsed

_NUMBER = re.compile(r"[-+]?(?:\d+(?:,\d{3})+|\d+)?\.?\d+(?:[eE][-+]?\d+)?")
_JUDGE = "Does the answer say the same as the expected answer?"
_JUDGE_ALONE = "Does the answer fulfil the request?"


@dataclass(frozen=True)
class Metric:
    """A figure for each answer, at best 1 and at worst 0 unless it is a function of yours.

    Attributes
    ----------
    name
        Its name in tables.
    function
        Called with the answer's text, the expected answer and the row.
    needs_expected
        Whether there must be an expected answer.
    of_no_answer
        What a row without an answer gets; None to leave it out.
    """

    name: str
    function: Callable[[str, Any, Any], Any]
    needs_expected: bool = True
    of_no_answer: float | None = 0.0

    def score(self, answer: str | None, expected: Any, row: Any) -> float | None:
        """Return the figure of an answer; None if the function returns None or NaN.

        Raises
        ------
        NotebookError
            If the function fails or returns no number.
        """
        if answer is None:
            return self.of_no_answer
        if expected is None and self.needs_expected:
            return None
        try:
            value = self.function(answer, expected, row)
            return None if value is None or math.isnan(value) else float(value)
        except Exception as error:
            raise NotebookError(
                f"The metric {self.name} failed: {type(error).__name__}: {error}."
            ) from None


@dataclass(frozen=True)
class Judge:
    """A question about each answer that a model answers with yes or no: see `judge`."""

    name: str
    model: str | None
    question: str | None
    needs_expected: bool = False
    of_no_answer: float | None = 0.0

    def prompt(self, asked: str, expected: Any, answer: str) -> str:
        """Return what the judge is asked about an answer."""
        question = self.question or (_JUDGE_ALONE if expected is None else _JUDGE)
        parts = [f"Request:\n{asked}"]
        if expected is not None:
            parts.append(f"Expected answer:\n{expected}")
        parts.append(f"Answer:\n{answer}")
        return "\n\n".join([*parts, f"{question} Say yes or no."])


def exact(*, ignore_case: bool = False, ignore_punctuation: bool = False) -> Metric:
    """Return whether the answer is the expected one, apart from white space around it.

    Parameters
    ----------
    ignore_case, ignore_punctuation
        Whether capitals, and punctuation, make no difference.
    """

    def same(answer: str, expected: str) -> bool:
        texts = [answer, expected]
        if ignore_case:
            texts = [text.casefold() for text in texts]
        if ignore_punctuation:
            texts = [" ".join(_without_punctuation(text).split()) for text in texts]
        return texts[0].strip() == texts[1].strip()

    return Metric("exact", _best(same))


def f1() -> Metric:
    """Return the F1 score of the words that answer and expected answer share.

    It is 2 * precision * recall / (precision + recall), of words without case and punctuation, as
    in the SQuAD benchmark (Rajpurkar and others, 2016).
    """

    def shared(answer: str, expected: str) -> float:
        said, wanted = (_without_punctuation(t).casefold().split() for t in (answer, expected))
        if not said or not wanted:
            return float(said == wanted)
        common = sum((Counter(said) & Counter(wanted)).values())
        return 2 * common / (len(said) + len(wanted))

    return Metric("f1", _best(shared))


def regex(pattern: str | None = None, *, name: str = "regex") -> Metric:
    """Return whether a regular expression is found in the answer.

    Parameters
    ----------
    pattern
        The expression. By default it is the expected answer of each row.
    name
        The metric's name in tables.
    """
    if pattern is not None:
        compiled = re.compile(pattern)
        return Metric(name, lambda answer, *_: compiled.search(answer) is not None, False)
    return Metric(name, _best(lambda answer, wanted: re.search(wanted, answer) is not None))


def valid_json(schema: Any = None) -> Metric:
    """Return whether the answer is JSON, and fits a schema if there is one.

    Parameters
    ----------
    schema
        A pydantic model, a dataclass, or a JSON schema.
    """

    def fits(answer: str, *_: Any) -> bool:
        try:
            value = parsed(answer, schema if schema is not None else {})
        except NotParsed:
            return False
        if not isinstance(schema, dict):
            return True
        from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

        return bool(Draft202012Validator(schema).is_valid(value))

    return Metric("json", fits, needs_expected=False)


def number(*, tolerance: float = 0.0, relative: float = 0.0) -> Metric:
    """Return whether the last number in the answer is the expected one.

    Parameters
    ----------
    tolerance
        How far it may be away.
    relative
        How far it may be away, as a part of the expected number. The larger distance counts.
    """

    def near(answer: str, expected: Any) -> bool:
        found = _NUMBER.findall(answer)
        wanted = float(str(expected).replace(",", ""))
        if not found:
            return False
        away = abs(float(found[-1].replace(",", "")) - wanted)
        return away <= max(tolerance, relative * abs(wanted)) + 1e-12 * abs(wanted)

    return Metric("number", _best(near, as_text=False))


def judge(model: str | None = None, question: str | None = None, *, name: str = "judge") -> Judge:
    """Return whether a model says yes to a question about the answer.

    The judge reads the prompt, the expected answer if there is one, and the answer. A judge errs,
    and an answer can talk to it: look at some of its decisions.

    Parameters
    ----------
    model
        The model that judges. The notebook's model by default.
    question
        What it is asked, so that yes is good. By default whether the answer says the same as the
        expected one, or fulfils the request.
    name
        The metric's name in tables.
    """
    return Judge(name, model, question)


_BY_NAME: dict[str, Callable[[], Metric | Judge]] = {
    "exact": exact,
    "f1": f1,
    "regex": regex,
    "json": valid_json,
    "number": number,
    "judge": judge,
}


def as_metrics(metrics: Any) -> list[Metric | Judge]:
    """Return metrics from what `evaluate` takes: names, metrics, functions, one or several.

    Raises
    ------
    NotebookError
        If something is no metric, or two have the same name.
    """
    one = isinstance(metrics, str | Metric | Judge) or callable(metrics)
    made = [_as_metric(metric) for metric in ([metrics] if one else metrics)]
    names = [metric.name for metric in made]
    for metric_name in names:
        if names.count(metric_name) > 1:
            raise NotebookError(f"Two metrics are named {metric_name}: give one another name.")
    return made


def _as_metric(metric: Any) -> Metric | Judge:
    if isinstance(metric, Metric | Judge):
        return metric
    if isinstance(metric, str) and metric in _BY_NAME:
        return _BY_NAME[metric]()
    if callable(metric):
        if metric in _BY_NAME.values():
            return metric()  # type: ignore[no-any-return]
        return _of_function(metric)
    known = ", ".join(_BY_NAME)
    raise NotebookError(f"There is no metric {metric!r}. Use one of {known}, or a function.")


def _of_function(function: Callable[..., Any]) -> Metric:
    """Return a user's function as a metric. It takes answer, expected answer and row, or less."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except ValueError:  # a built-in function that tells nothing, such as int
        takes = 1
    else:
        takes = sum(one.kind in kinds for one in parameters)
        if any(one.kind is inspect.Parameter.VAR_POSITIONAL for one in parameters):
            takes = 3
    if not 1 <= takes <= 3:
        raise NotebookError("A metric takes the answer, the expected answer and the row.")
    name = getattr(function, "__name__", type(function).__name__)
    name = "score" if name == "<lambda>" else name
    return Metric(
        name,
        lambda *arguments: function(*arguments[:takes]),
        needs_expected=False,
        of_no_answer=None,
    )


def _best(
    compare: Callable[[str, Any], float], *, as_text: bool = True
) -> Callable[[str, Any, Any], float]:
    """Compare with the expected answer; of several, with the one that fits best."""

    def best(answer: str, expected: Any, _: Any) -> float:
        several = isinstance(expected, Sequence) and not isinstance(expected, str)
        options = list(expected) if several else [expected]
        return max(float(compare(answer, str(one) if as_text else one)) for one in options)

    return best


def _without_punctuation(text: str) -> str:
    return text.translate(str.maketrans("", "", string.punctuation))


def as_json_value(value: Any) -> Any:
    """Return an expected answer as a JSON value, for the file of results."""
    return json.loads(json.dumps(value, default=str, ensure_ascii=False))
