"""The evaluation cases by skill: questions in held-out words, and what a right reply contains."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from .language import held_out, phrases
from .language.lexicon import HELD_OUT
from .texts import chatting, dialogues, remembering, results
from .texts.dialogues import Difficulty, Offer
from .tools import foreign, plain
from .tools.tool import Request, Style

SCALARS = Difficulty(hard=0.0, plain=0.5, everyday=0.0, near=0.3, thinking=0.0)


@dataclass
class Reply:
    """The model's reply."""

    content: str
    calls: list[dict[str, Any]] = field(default_factory=list)
    """The name and the decoded arguments of each call."""
    reasoning: str = ""


@dataclass
class Case:
    """One question, and what a right reply must contain."""

    skill: str
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] = field(default_factory=list)
    thinking: bool = False
    calls: list[dict[str, Any]] | None = None
    """The exact calls, in any order; an empty list allows no call."""
    content: str | None = None
    """The exact content."""
    holds: list[str] = field(default_factory=list)
    """Texts that the content must contain."""
    record: dict[str, Any] | None = None
    """The JSON object that the content must equal."""

    def right(self, reply: Reply) -> bool:
        """Return whether the reply is exactly right."""
        if self.calls is not None and _sorted(reply.calls) != _sorted(self.calls):
            return False
        if self.content is not None and reply.content.strip() != self.content:
            return False
        if any(text not in reply.content for text in self.holds):
            return False
        if self.record is not None and _decoded(reply.content) != self.record:
            return False
        return bool(reply.reasoning.strip()) == self.thinking


def _sorted(calls: list[dict[str, Any]]) -> list[str]:
    return sorted(json.dumps([call["name"], call["arguments"]], sort_keys=True) for call in calls)


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _expected(*requests: Request) -> list[dict[str, Any]]:
    return [{"name": request.tool.name, "arguments": request.arguments} for request in requests]


def _schemas(offers: list[Offer], rng: Random) -> list[dict[str, Any]]:
    style = Style.random(rng)
    return [offer.tool.schema(style) for offer in offers]


def _user(request: Request, rng: Random) -> dict[str, Any]:
    return {
        "role": "user",
        "content": phrases.as_user(request.said, rng, dialogues._starts_with_value(request)),
    }


def _at_most(offers: list[Offer], parameters: int) -> bool:
    return all(len(offer.tool.parameters) <= parameters for offer in offers)


def _offers(
    rng: Random, count: int, level: Difficulty = SCALARS, parameters: int = 2
) -> list[Offer]:
    while True:
        found = dialogues.offers(rng, HELD_OUT, level, count, real=False)
        if _at_most(found, parameters):
            return found


def single(rng: Random, count: int, thinking: bool = False) -> Case:
    """Return a case for one call with at most two scalar arguments and `count` available tools."""
    offers = _offers(rng, count)
    request = rng.choice(offers).make()
    skill = (
        "thinking, then a call" if thinking else f"one call, {count} tool{'s' if count > 1 else ''}"
    )
    return Case(skill, [_user(request, rng)], _schemas(offers, rng), thinking, _expected(request))


def composite(rng: Random) -> Case:
    """Return a case for one call with an array or a nested object among its arguments."""
    level = dialogues.Difficulty(hard=0.6, everyday=0.0)
    while True:
        offers = _offers(rng, rng.choice((1, 2)), level, 3)
        request = rng.choice(offers).make()
        if any(isinstance(value, (list, dict)) for value in request.arguments.values()):
            return Case(
                "arrays and objects",
                [_user(request, rng)],
                _schemas(offers, rng),
                calls=_expected(request),
            )


def two_calls(rng: Random) -> Case:
    """Return a case for two different calls in reply to one message."""
    offers = _offers(rng, rng.choice((2, 3)))
    one, two = (offer.make() for offer in rng.sample(offers, 2))
    joint = rng.choice((" and ", " and also ", ", then "))
    joined = Request(one.tool, one.arguments, one.said + joint + two.said)
    return Case(
        "two calls at once", [_user(joined, rng)], _schemas(offers, rng), calls=_expected(one, two)
    )


def from_result(rng: Random) -> Case:
    """Return a case in which the answer must contain the values of a tool result."""
    offers = _offers(rng, rng.choice((1, 2)))
    request = rng.choice(offers).make()
    text, sentence = results.result(rng, HELD_OUT)
    messages = [
        _user(request, rng),
        {"role": "assistant", "content": "", "tool_calls": [{"id": "call_1", **_encoded(request)}]},
        {"role": "tool", "tool_call_id": "call_1", "content": text},
    ]
    return Case(
        "answer from a result",
        messages,
        _schemas(offers, rng),
        calls=[],
        holds=[sentence.rstrip(".")],
    )


def _encoded(request: Request) -> dict[str, Any]:
    call = request.call()
    call["function"] = {
        **call["function"],
        "arguments": json.dumps(request.arguments, ensure_ascii=False),
    }
    return call


def no_tool(rng: Random) -> Case:
    """Return a case that allows no call: small talk, or a request that no tool can meet."""
    offers = _offers(rng, rng.choice((1, 2, 3)))
    if rng.random() < 0.5:
        exchange = _small_talk(rng)
    else:
        exchange = dialogues._refusal(offers, rng, HELD_OUT, SCALARS)
    return Case(
        "no tool fits",
        [{"role": "user", "content": exchange.user}],
        _schemas(offers, rng),
        calls=[],
    )


def _small_talk(rng: Random) -> chatting.Exchange:
    word = rng.choice(sorted(held_out.CHAT))
    intent = next(intent for intent in phrases.intents() if intent.word == word)
    said = phrases.as_user(rng.choice(held_out.CHAT[word]), rng, command=False)
    return chatting.Exchange(said, intent.answer, "", word)


def chat(rng: Random) -> Case:
    """Return a case of small talk in new words."""
    exchange = _small_talk(rng)
    return Case("small talk", [{"role": "user", "content": exchange.user}], content=exchange.answer)


def memory(rng: Random) -> Case:
    """Return a case about a fact that the user told one to three turns before."""
    told, asked, _ = remembering.fact(rng, HELD_OUT)
    messages = [
        {"role": "user", "content": told.user},
        {"role": "assistant", "content": told.answer},
    ]
    for _ in range(rng.randint(0, 2)):
        between = _small_talk(rng)
        messages += [
            {"role": "user", "content": between.user},
            {"role": "assistant", "content": between.answer},
        ]
    messages.append({"role": "user", "content": asked.user})
    return Case("memory over turns", messages, content=asked.answer)


def as_json(rng: Random) -> Case:
    """Return a case that asks for facts as JSON with given keys."""
    exchange = chatting.extraction(rng, HELD_OUT)
    return Case(
        "JSON on request",
        [{"role": "user", "content": exchange.user}],
        record=json.loads(exchange.answer),
    )


def one_word(rng: Random) -> Case:
    """Return a case whose system prompt asks for a one-word answer."""
    exchange = _small_talk(rng)
    messages = [
        {"role": "system", "content": rng.choice(phrases.ONE_WORD)},
        {"role": "user", "content": exchange.user},
    ]
    return Case("one word, as the system prompt asks", messages, content=exchange.word)


def cases(each: int, seed: int = 7) -> Iterator[Case]:
    """Yield `each` cases per skill, the same ones for the same seed.

    Each hand-written case comes once.
    """
    makers: dict[str, Callable[[Random], Case]] = {
        "single 1": lambda rng: single(rng, 1),
        "single 2": lambda rng: single(rng, 2),
        "single 3": lambda rng: single(rng, 3),
        "single 4": lambda rng: single(rng, 4),
        "composite": composite,
        "two calls": two_calls,
        "result": from_result,
        "no tool": no_tool,
        "chat": chat,
        "memory": memory,
        "thinking": lambda rng: single(rng, rng.choice((1, 2)), thinking=True),
        "json": as_json,
        "one word": one_word,
    }
    for name, make in makers.items():
        rng = Random(f"{seed} {name}")
        for _ in range(each):
            yield make(rng)
    for tools, said, call in foreign.CASES:
        yield Case("foreign tools", [{"role": "user", "content": said}], list(tools), calls=[call])
    for tools, said, call in plain.CASES:
        yield Case("plain English", [{"role": "user", "content": said}], list(tools), calls=[call])
