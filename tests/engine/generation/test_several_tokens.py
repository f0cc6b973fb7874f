"""Steps of several tokens: what must follow, or was guessed. No text differs from one by one."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from mlx_notebook import protocol
from tests.engine.process import EngineProcess, running
from tests.hub import TINY_CHAT

KEYS = ("title", "description", "available", "quantity", "state", "weight in grams")
SCHEMA = {
    "type": "object",
    "properties": {
        "title": {"type": "string", "maxLength": 12},
        "description": {"type": "string", "maxLength": 12},
        "available": {"type": "boolean"},
        "quantity": {"type": "integer", "minimum": 0, "maximum": 99},
        "state": {"enum": ["refurbished", "as good as new"]},
        "weight in grams": {"type": "integer", "minimum": 0, "maximum": 9999},
    },
    "required": list(KEYS),
}
PATTERN = r"Invoice number [0-9]{4} of the year 20[0-9]{2}, to be paid by (card|transfer)"
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather_of_city",
            "parameters": {
                "type": "object",
                "properties": {"city": {"enum": ["Zurich", "Geneva"]}, "days": {"type": "integer"}},
                "required": ["city", "days"],
            },
        },
    }
]
AGAIN = "Say it again: the cat sat on the mat and the dog sat on the log. " * 4

JSON = {"output_format": protocol.OutputFormat(kind="json_schema", value=SCHEMA)}
REGEX = {"output_format": protocol.OutputFormat(kind="regex", value=PATTERN)}
CALL = {"tools": TOOLS, "tool_choice": protocol.ToolChoice(mode="required", parallel=False)}
FREE: dict[str, Any] = {"ignore_eos": True}
GREEDY: dict[str, Any] = {"temperature": 0.0}
SAMPLED: dict[str, Any] = {"temperature": 0.9, "seed": 5, "top_p": 0.95}
ASKED: list[dict[str, Any]] = [
    {**kind, **sampling} for kind in (JSON, REGEX, CALL, FREE) for sampling in (GREEDY, SAMPLED)
]


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineProcess]:
    with running(max_resident=3) as process:
        yield process


class Model:
    """tiny-chat, loaded in one way, and what it answers."""

    def __init__(self, engine: EngineProcess, lookup: int) -> None:
        self._engine, self._lookup, self._count = engine, lookup, 0

    def start(self, **asked: Any) -> str:
        self._count += 1
        request = f"lookup {self._lookup}, {self._count}"
        tools = asked.pop("tools", [])
        messages = [{"role": "user", "content": asked.pop("text", AGAIN)}]
        command = {
            name: asked.pop(name)
            for name in ("output_format", "tool_choice", "token_ids", "n")
            if name in asked
        }
        self._engine.send(
            protocol.Generate(
                id=request,
                model=f"lookup {self._lookup}",
                path=str(TINY_CHAT),
                options=protocol.ModelOptions(prompt_lookup=self._lookup),
                prompt=protocol.ChatPrompt(messages=messages, tools=tools),
                sampling=protocol.Sampling(**{"max_tokens": 120, **asked}),
                **command,
            )
        )
        return request

    def finish(self, *requests: str) -> list["Answer"]:
        ends = self._engine.finish(*requests)
        return [Answer(self._engine, *pair) for pair in zip(requests, ends, strict=True)]

    def ask(self, **asked: Any) -> "Answer":
        return self.finish(self.start(**asked))[0]


class Answer:
    """What came of a request."""

    def __init__(self, engine: EngineProcess, request: str, end: Any) -> None:
        assert isinstance(end, protocol.Done), end
        mine = [event for event in engine.events if getattr(event, "id", None) == request]
        self.texts = [event for event in mine if isinstance(event, protocol.Text)]
        self.text = "".join(event.text for event in self.texts)
        self.call = "".join(
            event.name if isinstance(event, protocol.ToolCallStart) else event.arguments
            for event in mine
            if isinstance(event, protocol.ToolCallStart | protocol.ToolCallArguments)
        )
        self.reason = engine.reason(request)
        self.tokens = end.usage.completion

    @property
    def all(self) -> tuple[Any, ...]:
        return self.text, self.call, self.reason, self.tokens


@pytest.fixture(scope="module")
def plain(engine: EngineProcess) -> Model:
    return Model(engine, 0)


@pytest.fixture(scope="module")
def guessing(engine: EngineProcess) -> Model:
    return Model(engine, 15)


@pytest.fixture(scope="module")
def one_by_one(plain: Model) -> list[Answer]:
    """The answers of rows that feed every token alone, because they report its probability."""
    return [plain.ask(**asked, logprobs=1) for asked in ASKED]


def test_the_answers_are_whole_and_obey_their_grammars(one_by_one: list[Answer]) -> None:
    for answer in one_by_one[:2]:
        assert list(json.loads(answer.text)) == list(KEYS)
    for answer in one_by_one[2:4]:
        assert answer.text.startswith("Invoice number ")
    for answer in one_by_one[4:6]:
        assert answer.call.startswith("get_weather_of_city{")
    for answer in one_by_one[:6]:
        assert answer.reason in ("stop", "tool_calls")


def test_what_must_follow_is_fed_at_once_with_the_same_answer(
    plain: Model, one_by_one: list[Answer]
) -> None:
    for asked, expected in zip(ASKED, one_by_one, strict=True):
        assert plain.ask(**asked).all == expected.all


def test_guesses_change_no_answer(guessing: Model, one_by_one: list[Answer]) -> None:
    for _ in range(2):
        for asked, expected in zip(ASKED, one_by_one, strict=True):
            assert guessing.ask(**asked).all == expected.all


def test_a_row_has_the_same_answer_in_a_batch(
    plain: Model, guessing: Model, one_by_one: list[Answer]
) -> None:
    for model in (plain, guessing):
        answers = model.finish(*[model.start(**asked) for asked in ASKED])
        assert [answer.all for answer in answers] == [answer.all for answer in one_by_one]
        same = model.finish(*[model.start(**ASKED[0]) for _ in range(8)])
        assert {answer.all for answer in same} == {one_by_one[0].all}


def test_rows_that_report_probabilities_decode_beside_the_others(
    guessing: Model, one_by_one: list[Answer]
) -> None:
    requests = [
        guessing.start(**asked, **({"logprobs": 0} if index % 2 else {}))
        for index, asked in enumerate(ASKED)
    ]
    answers = guessing.finish(*requests)
    assert [answer.all for answer in answers] == [answer.all for answer in one_by_one]
    for answer in answers[1:4:2]:
        reported = [token for event in answer.texts for token in event.logprobs or []]
        assert len(reported) >= answer.tokens - 1
        assert "".join(token.token for token in reported).startswith(answer.text)


@pytest.mark.parametrize("way", ["plain", "guessing"])
def test_the_length_limit_cuts_within_what_must_follow(
    way: str, request: pytest.FixtureRequest, one_by_one: list[Answer]
) -> None:
    model = request.getfixturevalue(way)
    for which in (0, 2, 6):
        limits = range(1, 26)
        asked = ASKED[which]
        answers = model.finish(*[model.start(**{**asked, "max_tokens": most}) for most in limits])
        for most, answer in zip(limits, answers, strict=True):
            assert (answer.reason, answer.tokens) == ("length", most)
            assert one_by_one[which].text.startswith(answer.text.rstrip("\ufffd"))
        assert len(answers[-1].text) > len(answers[3].text) > len(answers[0].text)


@pytest.mark.parametrize("way", ["plain", "guessing"])
def test_a_stop_text_and_the_length_limit_in_one_step_end_the_answer_once(
    way: str, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(way)
    whole = model.ask(**ASKED[2], max_tokens=40).text
    assert whole.startswith("Invoice number ")
    reasons = set()
    for most in range(1, 14):
        answer = model.ask(**ASKED[2], stop=["number"], max_tokens=most)
        assert "Invoice number"[: len(answer.text)].startswith(answer.text)
        reasons.add(answer.reason)
    assert reasons == {"length", "stop"}
    assert model.ask(**ASKED[2], max_tokens=40).text == whole  # the engine has not failed


@pytest.mark.parametrize("way", ["plain", "guessing"])
def test_a_stop_text_ends_the_answer_within_what_must_follow(
    way: str, request: pytest.FixtureRequest, one_by_one: list[Answer]
) -> None:
    model = request.getfixturevalue(way)
    for which, stops in ((0, ("script", "avail", 'quantity"')), (2, ("voice", "number", "year"))):
        whole = one_by_one[which].text
        for stop in stops:
            answer = model.ask(**ASKED[which], stop=[stop])
            assert answer.text == whole[: whole.index(stop)]
            assert answer.reason == "stop"
            assert answer.tokens < one_by_one[which].tokens


def test_bad_words_and_a_least_length_hold_within_what_must_follow(plain: Model) -> None:
    for options in ({"bad_words": ["number"]}, {"min_tokens": 90}, {"bad_words": ["year", "a"]}):
        for kind in (JSON, REGEX):
            asked = {**kind, **GREEDY, **options}
            assert plain.ask(**asked).all == plain.ask(**asked, logprobs=0).all


def test_the_next_turn_reuses_the_kv_cache_of_such_an_answer(
    plain: Model, guessing: Model, one_by_one: list[Answer]
) -> None:
    for model in (plain, guessing):
        for most in (7, 19, 40):
            model.ask(**{**ASKED[0], "max_tokens": most})
            assert model.ask(**ASKED[0]).all == one_by_one[0].all
