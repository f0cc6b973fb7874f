"""Training text of the last, short stage: sentences that leave out what they would say twice.

"What is the weather in Paris and in Rome?" is two calls of one tool. "My name is Ada and I am 36.
What is my name?" is two facts and a question. And results as programs write them: compact JSON.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from . import chatting, dialogues, phrases, remembering, results
from .dialogues import Builder, Dialogue, Difficulty, Offer
from .lexicon import Lexicon
from .tools import Request, Style

PREPOSITIONS = frozenset(("in", "of", "for", "to", "at", "on", "from", "with", "about"))
TRIALS = 12
SIZE = "Small."


def two_values(offer: Offer, rng: Random) -> tuple[str, Request, Request] | None:
    """Return one sentence that asks twice for a tool, with two values of one parameter.

    None if the tool's sentences do not allow it.
    """
    for _ in range(TRIALS):
        one, two = offer.make(), offer.make()
        if one.arguments.keys() != two.arguments.keys():
            continue
        changed = [name for name, value in one.arguments.items() if value != two.arguments[name]]
        if len(changed) != 1:
            continue
        first, second = (str(request.arguments[changed[0]]) for request in (one, two))
        if one.said.count(first) != 1 or one.said.replace(first, second) != two.said:
            continue
        before, after = one.said.split(first)
        if not before.endswith(" ") or after[:1] not in ("", " ", ".", "?"):
            continue
        last = before.split()[-1] if before.split() else ""
        again = f"{last} " if last in PREPOSITIONS and rng.random() < 0.5 else ""
        joint = rng.choice((" and ", " and ", " and also "))
        return before + first + joint + again + second + after, one, two
    return None


def two_values_dialogue(rng: Random, lexicon: Lexicon, level: Difficulty) -> Dialogue:
    """Return a dialogue in which many requests ask twice for one tool in one sentence."""
    level = replace(level, hard=0.0, everyday=0.7)
    builder = Builder(rng, lexicon, level, rng.random() < level.thinking)
    while True:
        offers = dialogues.offers(rng, lexicon, level, rng.choice((1, 1, 2, 3)))
        if any(two_values(offer, rng) for offer in offers):
            break
    for _ in range(rng.choice((3, 4, 5, 6))):
        offer = rng.choice(offers)
        pair = two_values(offer, rng) if rng.random() < 0.65 else None
        if pair is None:
            builder.call(offer.make(), answer=0.2)
            continue
        said, one, two = pair
        builder.user(phrases.as_user(said, rng, dialogues._starts_with_value(one)))
        builder.assistant("", dialogues._thought([one, two]), [one, two])
        if rng.random() < 0.25:
            builder.assistant(builder.results(2), "I have both results. I tell the user.")
    style = Style.random(rng)
    return Dialogue(builder.messages, [offer.tool.schema(style) for offer in offers])


def compact_dialogue(rng: Random, lexicon: Lexicon, level: Difficulty) -> Dialogue:
    """Return a dialogue in which the model tells results that programs wrote as compact JSON."""
    builder = Builder(rng, lexicon, level, rng.random() < level.thinking)
    offers = dialogues.offers(rng, lexicon, replace(level, hard=0.0, everyday=0.7), 1)
    for _ in range(rng.choice((2, 3, 4))):
        builder.call(offers[0].make(), answer=0.0)
        write = results.compact_result if rng.random() < 0.7 else results.result
        text, sentence = write(rng, lexicon)
        identity = f"call_{builder.calls}"
        builder.messages.append({"role": "tool", "tool_call_id": identity, "content": text})
        builder.assistant(sentence, "I have the result. I tell the user.")
    style = Style.random(rng)
    return Dialogue(builder.messages, [offer.tool.schema(style) for offer in offers])


def record_dialogue(rng: Random, lexicon: Lexicon, level: Difficulty) -> Dialogue:
    """Return a dialogue that ends with facts as JSON, as a user or a schema demands.

    A schema is not a part of the prompt: it only forces the first token, which is not learned.
    """
    builder = Builder(rng, lexicon, level, thinking=False)
    if rng.random() < 0.4:
        builder.system(rng.choice(phrases.SYSTEM_PROMPTS))
    said, written = remembering.record(rng, lexicon)
    demanded = rng.random() < 0.4
    if demanded:
        said = said.rstrip(".!") + rng.choice((". Answer in JSON.", ". Reply in JSON", " as JSON"))
    builder.user(said)
    builder.assistant(written, "")
    if not demanded:
        builder.messages[-1]["forced"] = 1
    return Dialogue(builder.messages)


def two_facts_dialogue(rng: Random, lexicon: Lexicon, level: Difficulty) -> Dialogue:
    """Return a short dialogue about facts that are told together, and about the model's size."""
    builder = Builder(rng, lexicon, level, rng.random() < level.thinking)
    for exchange in remembering.two_facts(rng, lexicon):
        builder.exchange(exchange)
    if rng.random() < 0.3:
        intent = next(intent for intent in phrases.intents() if intent.word == SIZE)
        said = phrases.as_user(rng.choice(intent.phrasings), rng, command=False)
        builder.exchange(
            chatting.Exchange(
                said, intent.answer, "No tool is needed. I answer directly.", intent.word
            )
        )
    return Dialogue(builder.messages)
