"""Training text of the last, short stage: sentences that leave out what they would say twice.

"What is the weather in Paris and in Rome?" is two calls of one tool. "My name is Ada and I am 36.
What is my name?" is two facts and a question. And results as programs write them: compact JSON.
"""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random

from mlx_notebook.demo_models.training.tiny_chat.language import phrases
from mlx_notebook.demo_models.training.tiny_chat.language.lexicon import Lexicon
from mlx_notebook.demo_models.training.tiny_chat.tools.tool import Request, Style

from . import chatting, dialogues, long_texts, records, remembering, results
from .dialogues import Builder, Dialogue, Difficulty, Offer

PREPOSITIONS = frozenset(("in", "of", "for", "to", "at", "on", "from", "with", "about"))
TRIALS = 12
SIZE = "Small."
DEMANDS = (". Answer in JSON.", ". Reply in JSON", " as JSON", ". As JSON please.", ". Write JSON.")
OPENINGS = (
    "Extract the facts: ",
    "Read this: ",
    "Who is it? ",
    "Fill in the form: ",
    "Here it is: ",
    "Please note: ",
)
"""What may stand before a sentence that a schema asks to be written as JSON."""


def several_values(offer: Offer, rng: Random, count: int) -> tuple[str, list[Request]] | None:
    """Return one sentence that asks for a tool `count` times, with other values of one parameter.

    None if the tool's sentences do not allow it.
    """
    for _ in range(TRIALS):
        requests = [offer.make() for _ in range(count)]
        one, *others = requests
        changed = {
            name
            for other in others
            for name in one.arguments.keys() | other.arguments.keys()
            if one.arguments.get(name) != other.arguments.get(name)
        }
        if len(changed) != 1:
            continue
        name = changed.pop()
        said = [str(request.arguments.get(name)) for request in requests]
        if len(set(said)) < count or one.said.count(said[0]) != 1:
            continue
        if any(
            one.said.replace(said[0], value) != other.said
            for value, other in zip(said[1:], others, strict=True)
        ):
            continue
        before, after = one.said.split(said[0])
        if not before.endswith(" ") or after[:1] not in ("", " ", ".", "?"):
            continue
        last = before.split()[-1] if before.split() else ""
        again = f"{last} " if last in PREPOSITIONS and rng.random() < 0.5 else ""
        joint = rng.choice((" and ", " and ", " and also "))
        listed = (f", {again}" if rng.random() < 0.8 else f" and {again}").join(said[:-1])
        return before + listed + joint + again + said[-1] + after, requests
    return None


def several_values_dialogue(rng: Random, lexicon: Lexicon, level: Difficulty) -> Dialogue:
    """Return a dialogue in which many requests ask several times for one tool in one sentence."""
    level = replace(level, hard=0.0, everyday=0.7)
    builder = Builder(rng, lexicon, level, rng.random() < level.thinking)
    while True:
        offers = dialogues.offers(rng, lexicon, level, rng.choice((1, 1, 2, 3)))
        if any(several_values(offer, rng, 2) for offer in offers):
            break
    for _ in range(rng.choice((3, 4, 5, 6))):
        offer, count = rng.choice(offers), rng.choice((2, 2, 3))
        if rng.random() < 0.3 and (pair := dialogues._twice(offer)) is not None:
            builder.parallel(*pair, answer=0.25)
            continue
        asked = several_values(offer, rng, count) if rng.random() < 0.65 else None
        if asked is None:
            builder.call(offer.make(), answer=0.2)
            continue
        said, requests = asked
        builder.user(phrases.as_user(said, rng, dialogues._starts_with_value(requests[0])))
        builder.assistant("", dialogues._thought(requests), requests)
        if rng.random() < 0.25:
            builder.assistant(builder.results(count), "I have all results. I tell the user.")
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
    said, record = rng.choice(
        (
            remembering.record,
            records.person,
            records.person,
            records.described,
            records.moody,
        )
    )(rng, lexicon)
    if rng.random() < 0.7 and not any(said.startswith(str(v)) for v in record.values()):
        said = said[0].upper() + said[1:]
    demanded = rng.random() < 0.4
    if demanded and rng.random() < 0.3:
        said = rng.choice(("Answer in JSON: ", "As JSON: ", "Write as JSON: ")) + said
    elif demanded:
        said += rng.choice(DEMANDS)
    else:
        said = rng.choice(("", "", *OPENINGS)) + said + rng.choice((".", ".", "", "!"))
    written = json.dumps(record, ensure_ascii=False)
    builder.user(said)
    builder.assistant(written, "")
    if not demanded:
        builder.messages[-1]["forced"] = 1
    return Dialogue(builder.messages)


def first_words_dialogue(rng: Random, lexicon: Lexicon, level: Difficulty) -> Dialogue:
    """Return one or two of the things that people try first, without a system prompt."""
    builder = Builder(rng, lexicon, level, thinking=False)
    for _ in range(rng.choice((1, 1, 2))):
        make = rng.choices(
            (
                chatting.arithmetic,
                chatting.small_talk,
                chatting.open_question,
                chatting.repeat,
                chatting.extraction,
                chatting.mood,
                long_texts.counting,
                long_texts.story,
            ),
            (0.25, 0.15, 0.15, 0.1, 0.1, 0.1, 0.1, 0.05),
        )[0]
        builder.exchange(make(rng, lexicon))
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
