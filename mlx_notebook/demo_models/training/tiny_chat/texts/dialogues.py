"""Generate the training dialogues: tool calls, tool results, refusals, memory and small talk."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from mlx_notebook.demo_models.training.tiny_chat.language import phrases
from mlx_notebook.demo_models.training.tiny_chat.language.lexicon import Lexicon
from mlx_notebook.demo_models.training.tiny_chat.tools import everyday, invented
from mlx_notebook.demo_models.training.tiny_chat.tools.tool import Request, Style, Tool

from . import chatting, long_texts, remembering, results

Message = dict[str, Any]


@dataclass
class Dialogue:
    """A training document: messages in OpenAI's format, and the available tools.

    An assistant message with ``"learn": False`` is part of the context and carries no loss.
    """

    messages: list[Message]
    tools: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Offer:
    """An available tool, and a function that draws a request for it."""

    tool: Tool
    make: Callable[[], Request]


@dataclass(frozen=True)
class Difficulty:
    """The difficulty of the tool dialogues."""

    tools: tuple[int, ...] = (1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 7)
    hard: float = 0.28
    """Probability that a parameter is an array, an object, a flag or an enum."""
    plain: float = 0.5
    """Probability that the user names the parameter beside its value."""
    everyday: float = 0.58
    near: float = 0.35
    """Probability that a tool shares its verb or noun with the tool before it."""
    thinking: float = 0.25


def _offer_everyday(family: everyday.Family, rng: Random, lexicon: Lexicon) -> Offer:
    tool, chosen = family.build(rng, lexicon)
    return Offer(tool, lambda: family.request(tool, chosen, rng, lexicon))


def _offer_invented(
    rng: Random, lexicon: Lexicon, level: Difficulty, verb: str, noun: str
) -> Offer:
    tool = invented.tool(rng, lexicon, level.hard, verb, noun)
    return Offer(tool, lambda: invented.request(tool, verb, noun, rng, lexicon, level.plain))


def offers(
    rng: Random, lexicon: Lexicon, level: Difficulty, count: int, real: bool = True
) -> list[Offer]:
    """Return `count` tools with different names; some names are similar to each other."""
    result: list[Offer] = []
    used: set[str] = set()
    last: tuple[str, str] | None = None
    everyday_here = rng.random() < level.everyday and real
    while len(result) < count:
        if everyday_here and rng.random() < 0.85:
            family = rng.choice(everyday.families())
            if used & set(family.names):
                continue
            used |= set(family.names)
            result.append(_offer_everyday(family, rng, lexicon))
            continue
        verb, noun = invented.verb_and_noun(rng, lexicon)
        if last is not None and rng.random() < level.near:
            verb, noun = (last[0], noun) if rng.random() < 0.5 else (verb, last[1])
        if f"{verb} {noun}" in used or _confused(verb, noun, used):
            continue
        used.add(f"{verb} {noun}")
        last = (verb, noun)
        offer = _offer_invented(rng, lexicon, level, verb, noun)
        if offer.tool.name in [other.tool.name for other in result]:
            continue
        result.append(offer)
    rng.shuffle(result)
    return result


_ALIKE = (
    {"get", "list", "find", "count", "check", "print"},
    {"delete", "cancel", "reject", "archive"},
    {"send", "publish", "assign"},
    {"update", "rename"},
    {"create", "buy", "book", "start", "save", "copy"},
    {"open", "start"},
    {"close", "cancel"},
    {"check", "measure"},
    {"approve", "check"},
)


def _confused(verb: str, noun: str, used: set[str]) -> bool:
    """Return whether a tool with a similar verb and the same noun is already in use."""
    return any(
        f"{other} {noun}" in used
        for group in _ALIKE
        if verb in group
        for other in group
        if other != verb
    )


class Builder:
    """Build one dialogue, turn by turn."""

    def __init__(self, rng: Random, lexicon: Lexicon, level: Difficulty, thinking: bool) -> None:
        self.rng, self.lexicon, self.level, self.thinking = rng, lexicon, level, thinking
        self.messages: list[Message] = []
        self.calls = 0

    def system(self, text: str | None) -> None:
        if text is not None:
            self.messages.append({"role": "system", "content": text})

    def user(self, text: str) -> None:
        self.messages.append({"role": "user", "content": text})

    def assistant(
        self, content: str, thought: str, calls: list[Request] | None = None, learn: bool = True
    ) -> None:
        """Add an assistant message: an answer, or tool calls with empty content."""
        message: Message = {"role": "assistant", "content": content, "learn": learn}
        if self.thinking and self.rng.random() < 0.85:
            message["reasoning_content"] = thought
        if calls:
            message["tool_calls"] = []
            for request in calls:
                self.calls += 1
                message["tool_calls"].append({"id": f"call_{self.calls}", **request.call()})
        self.messages.append(message)

    def results(self, count: int) -> str:
        """Add results for the last calls; return the sentences that report them."""
        told = []
        for i in range(count):
            text, sentence = results.result(self.rng, self.lexicon)
            identity = f"call_{self.calls - count + 1 + i}"
            self.messages.append({"role": "tool", "tool_call_id": identity, "content": text})
            told.append(sentence)
        return " ".join(dict.fromkeys(told))

    def exchange(self, exchange: chatting.Exchange, tools: bool = False) -> None:
        self.user(exchange.user)
        self.assistant(exchange.answer, ("No tool fits. " if tools else "") + exchange.thought)

    def call(self, request: Request, answer: float = 0.85) -> None:
        """Add a request and its call; mostly add the result and an answer too."""
        self.user(phrases.as_user(request.said, self.rng, _starts_with_value(request)))
        self.assistant("", _thought([request]), [request])
        if self.rng.random() < answer:
            sentence = self.results(1)
            self.assistant(sentence, "I have the result. I tell the user.")

    def parallel(self, first: Request, second: Request, answer: float = 0.7) -> None:
        """Add two calls for one message, in one turn or one after the other."""
        joint = self.rng.choice(
            (
                " and ",
                " and ",
                " and also ",
                ", then ",
                " and then ",
                ". Also, ",
                ", and ",
                " plus ",
            )
        )
        said = first.said + joint + second.said
        self.user(phrases.as_user(said, self.rng, _starts_with_value(first)))
        if self.rng.random() < 0.2:
            self.assistant("", _thought([first]), [first], learn=False)
            one = self.results(1)
            self.assistant("", "One result is here. " + _thought([second]), [second])
            if self.rng.random() < 0.8:
                two = self.results(1)
                self.assistant(
                    " ".join(dict.fromkeys((one, two))), "I have both results. I tell the user."
                )
            return
        self.assistant("", _thought([first, second]), [first, second])
        if self.rng.random() < answer:
            self.assistant(self.results(2), "I have both results. I tell the user.")


def _starts_with_value(request: Request) -> bool:
    first = request.said.split(" ", 1)[0].strip("\"',:").lower()
    return first in json.dumps(request.arguments, ensure_ascii=False).lower()


def _thought(requests: list[Request]) -> str:
    parts = []
    for request in requests:
        names = ", ".join(f"{name} = {_brief(value)}" for name, value in request.arguments.items())
        parts.append(f"{request.tool.name} fits" + (f": {names}." if names else "."))
    return " ".join(parts)


def _brief(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _twice(offer: Offer) -> tuple[Request, Request] | None:
    first, second = offer.make(), offer.make()
    return (first, second) if first.arguments != second.arguments else None


def tool_dialogue(
    rng: Random,
    lexicon: Lexicon,
    level: Difficulty,
    turns: int | None = None,
    count: int | None = None,
) -> Dialogue:
    """Return a dialogue of several turns with one list of tools."""
    builder = Builder(rng, lexicon, level, rng.random() < level.thinking)
    on_offer = offers(rng, lexicon, level, count or rng.choice(level.tools))
    if rng.random() < 0.5:
        builder.system(rng.choice(phrases.SYSTEM_PROMPTS))
    pending: list[chatting.Exchange] = []
    for _ in range(turns or rng.choice((2, 3, 3, 4, 4, 5, 6))):
        roll = rng.random()
        if roll < 0.54:
            builder.call(rng.choice(on_offer).make())
        elif roll < 0.80:
            if len(on_offer) > 1 and rng.random() < 0.65:
                one, two = rng.sample(on_offer, 2)
                builder.parallel(one.make(), two.make())
            elif (pair := _twice(rng.choice(on_offer))) is not None:
                builder.parallel(*pair)
        elif roll < 0.86:
            builder.exchange(chatting.any_exchange(rng, lexicon, tools=True), tools=True)
        elif roll < 0.92:
            builder.exchange(_refusal(on_offer, rng, lexicon, level), tools=True)
        elif pending:
            builder.exchange(pending.pop())
        else:
            told, asked, _ = remembering.fact(
                rng,
                lexicon,
                rng.choice(("name", "name", "city", "age", "pet", "code", "colour", None)),
            )
            builder.exchange(told)
            pending.append(asked)
    if pending and rng.random() < 0.7:
        builder.exchange(pending.pop())
    if not any(message["role"] == "user" for message in builder.messages):
        builder.call(rng.choice(on_offer).make())
    style = Style.random(rng)
    return Dialogue(builder.messages, [offer.tool.schema(style) for offer in on_offer])


def _refusal(
    on_offer: list[Offer], rng: Random, lexicon: Lexicon, level: Difficulty
) -> chatting.Exchange:
    """Return a request for a tool that is not available, and the model's refusal."""
    taken = {offer.tool.name for offer in on_offer}
    words_taken = {word for name in taken for word in name.split("_")}
    while True:
        other = offers(rng, lexicon, level, 1)[0]
        if other.tool.name not in taken and not words_taken & set(other.tool.name.split("_")[1:]):
            break
    request = other.make()
    said = phrases.as_user(request.said, rng, _starts_with_value(request))
    return chatting.Exchange(said, phrases.NO_TOOL, "", "")


def chat_dialogue(rng: Random, lexicon: Lexicon, level: Difficulty) -> Dialogue:
    """Return turns without tools: small talk and memory, sometimes with a system prompt."""
    builder = Builder(rng, lexicon, level, rng.random() < level.thinking)
    style = rng.random()
    if style < 0.30:
        return _styled(builder, rng, lexicon)
    if style < 0.36:
        return _told_by_system(builder, rng, lexicon)
    if style < 0.6:
        builder.system(rng.choice(phrases.SYSTEM_PROMPTS))
    pending: list[chatting.Exchange] = []
    for _ in range(rng.choice((1, 2, 3, 4, 5, 6, 8))):
        roll = rng.random()
        if roll < 0.25:
            told, asked, unknown = remembering.fact(rng, lexicon)
            if rng.random() < 0.08 and not pending:
                builder.exchange(unknown)
                break
            builder.exchange(told)
            pending.append(asked)
        elif roll < 0.45 and pending:
            builder.exchange(pending.pop(rng.randrange(len(pending))))
        else:
            builder.exchange(chatting.any_exchange(rng, lexicon))
    while pending and rng.random() < 0.8:
        builder.exchange(pending.pop(0))
    return Dialogue(builder.messages)


def _styled(builder: Builder, rng: Random, lexicon: Lexicon) -> Dialogue:
    change: Callable[[chatting.Exchange], str]
    prompts, change = rng.choice(
        (
            (phrases.ONE_WORD, lambda e: e.word),
            (phrases.ONE_WORD, lambda e: e.word),
            (phrases.PIRATE, lambda e: "Arr! " + e.answer),
            (phrases.ONE_WORD, lambda e: e.word),
        )
    )
    builder.system(rng.choice(prompts))
    for _ in range(rng.choice((1, 2, 3))):
        make = rng.choice(
            (chatting.small_talk, chatting.small_talk, chatting.arithmetic, chatting.open_question)
        )
        exchange = make(rng, lexicon)
        if exchange.word or prompts is not phrases.ONE_WORD:
            builder.user(exchange.user)
            builder.assistant(change(exchange), exchange.thought)
    if len(builder.messages) == 1:
        builder.exchange(chatting.repeat(rng, lexicon))
    return Dialogue(builder.messages)


def _told_by_system(builder: Builder, rng: Random, lexicon: Lexicon) -> Dialogue:
    _told, asked, _ = remembering.fact(rng, lexicon)
    name = asked.answer.replace("Your", "The user's").replace("You ", "The user ")
    builder.system(rng.choice(phrases.SYSTEM_PROMPTS) + " " + name)
    for _ in range(rng.randint(0, 2)):
        builder.exchange(chatting.any_exchange(rng, lexicon))
    builder.exchange(asked)
    return Dialogue(builder.messages)


def copy_dialogue(rng: Random, lexicon: Lexicon, level: Difficulty) -> Dialogue:
    """Return a dialogue that copies text or looks up keys, the two skills that every call needs."""
    builder = Builder(rng, lexicon, level, False)
    for _ in range(rng.choice((1, 2, 3))):
        if rng.random() < 0.5:
            builder.exchange(chatting.repeat(rng, lexicon))
        else:
            builder.exchange(chatting.extraction(rng, lexicon))
    return Dialogue(builder.messages)


def long_dialogue(rng: Random, lexicon: Lexicon, level: Difficulty) -> Dialogue:
    """Return a dialogue with counting, stories or questions about pasted text."""
    builder = Builder(rng, lexicon, level, rng.random() < 0.1)
    builder.exchange(long_texts.long_exchange(rng, lexicon))
    if rng.random() < 0.4:
        builder.exchange(chatting.any_exchange(rng, lexicon))
    return Dialogue(builder.messages)


def very_long_dialogue(rng: Random, lexicon: Lexicon, level: Difficulty) -> Dialogue:
    """Return a dialogue with many tools, many turns, or thousands of tokens of pasted text."""
    roll = rng.random()
    if roll < 0.4:
        return tool_dialogue(rng, lexicon, level, turns=6, count=rng.randint(8, 20))
    if roll < 0.7:
        return tool_dialogue(rng, lexicon, level, turns=16)
    builder = Builder(rng, lexicon, level, False)
    builder.exchange(long_texts.pasted(rng, lexicon, rng.randint(40, 150)))
    return Dialogue(builder.messages)
