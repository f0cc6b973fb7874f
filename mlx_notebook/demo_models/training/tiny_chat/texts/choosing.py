"""Dialogues that teach the choice among tools: similar tools, and many requests for them."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from random import Random

from mlx_notebook.demo_models.training.tiny_chat.language import asking, phrases, synonyms, values
from mlx_notebook.demo_models.training.tiny_chat.language.lexicon import Lexicon
from mlx_notebook.demo_models.training.tiny_chat.tools import everyday, invented, natural
from mlx_notebook.demo_models.training.tiny_chat.tools.tool import Request, Style, Tool

from . import chatting, dialogues
from .dialogues import Builder, Dialogue, Difficulty, Offer

COUNTS = (2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 6)
"""How many tools a dialogue may offer."""
NATURAL = 0.5
"""Share of the dialogues with invented tools in which people ask in natural sentences."""
TURNS = (1, 2, 3, 4, 5, 6)
DRILL_COUNTS, DRILL_TURNS = (2, 3, 4, 4, 5, 6, 8), (3, 4, 5, 6, 8)
UNKNOWN_WAYS = (
    "{}",
    "{}",
    "{} up",
    "{} off",
    "{} out",
    "{} back",
    "{} in",
    "run a {} of",
    "do a {} for",
    "make a {} of",
    "give a {} to",
)
"""How an unknown word becomes a deed; the noun alone tells the tool."""
UNKNOWN_THINGS = ("it", "one", "that one", "the thing", "the other one", "something")


@dataclass(frozen=True)
class Named:
    """An invented tool, and the verb and the noun of its name."""

    tool: Tool
    verb: str
    noun: str


def _verb(rng: Random) -> str:
    return values.invented_word(rng).lower()


def _pairs(
    rng: Random, lexicon: Lexicon, count: int, real: float | None = None
) -> list[tuple[str, str]]:
    """Return different verbs and nouns for tools; some share the verb or the noun."""
    verbs, nouns = _words(rng, lexicon, count, real)
    form = rng.random()
    if form < 0.3:
        pairs = list(zip(verbs, nouns, strict=True))
    elif form < 0.5:
        pairs = [(verbs[0], noun) for noun in nouns]
    elif form < 0.7:
        pairs = [(verb, nouns[0]) for verb in verbs]
    else:
        crossed = [(verb, noun) for verb in verbs[:3] for noun in nouns[:3]]
        rng.shuffle(crossed)
        pairs = crossed[:count]
    kept: list[tuple[str, str]] = []
    for verb, noun in pairs:
        used = {f"{v} {n}" for v, n in kept}
        if not dialogues._confused(verb, noun, used):
            kept.append((verb, noun))
    return kept


def _words(
    rng: Random, lexicon: Lexicon, count: int, real: float | None = None
) -> tuple[list[str], list[str]]:
    """Return `count` different verbs and as many nouns that do not mean the same.

    `real` is the share of known verbs, a random one if it is None.
    """
    real = rng.random() * 0.8 if real is None else real
    verbs: list[str] = []
    nouns: list[str] = []
    while len(verbs) < count:
        roll = rng.random()
        if roll < 0.35 * real:
            verb = rng.choice(list(synonyms.DEEDS))
        elif roll < real:
            verb = rng.choice(list(lexicon.said))
        else:
            verb = _verb(rng)
        if verb not in verbs:
            verbs.append(verb)
    while len(nouns) < count:
        roll = rng.random()
        if nouns and roll < 0.12:  # A word that begins or ends like the one before.
            other, cut = values.invented_word(rng).lower(), rng.randint(1, 4)
            noun = nouns[-1][:cut] + other if rng.random() < 0.5 else other[:cut] + nouns[-1][-cut:]
            noun = noun.replace(" ", "")
        elif roll < 0.2 + 0.15 * real:
            noun = rng.choice(synonyms.named_things())
        elif roll < 0.2 + 0.6 * real:
            noun = rng.choice(lexicon.nouns + lexicon.objects)
        else:
            noun = values.invented_word(rng).lower()
        alike = {noun, *synonyms.others(noun)}
        if len(noun) > 1 and not alike & set(nouns) and noun not in values.held_out_words():
            nouns.append(noun)
    return verbs, nouns


def _invented(
    rng: Random,
    lexicon: Lexicon,
    level: Difficulty,
    count: int,
    real: float | None = None,
    parameters: int = 4,
) -> list[Offer]:
    """Return tools with invented names; sometimes all have the same parameters.

    `parameters` is the most that a tool has.
    """
    named: list[Named] = []
    same = rng.random() < 0.35
    for verb, noun in _pairs(rng, lexicon, count, real):
        tool = invented.tool(rng, lexicon, level.hard, verb, noun)
        del tool.parameters[parameters:]
        if tool.name in [other.tool.name for other in named]:
            continue
        if same and named:
            tool.parameters = deepcopy(named[0].tool.parameters)
        named.append(Named(tool, verb, noun))

    def offer(this: Named) -> Offer:
        return Offer(this.tool, lambda: _request(this, named, rng, lexicon, level))

    return [offer(this) for this in named]


def _request(
    this: Named, named: list[Named], rng: Random, lexicon: Lexicon, level: Difficulty
) -> Request:
    """Return a request; its verb or its noun may be unknown if the other one tells the tool."""
    verb, noun = this.verb, this.noun
    other_verbs = {other.verb for other in named if other is not this}
    other_nouns = {other.noun for other in named if other is not this}
    roll = rng.random()
    if noun not in other_nouns and roll < 0.2:
        verb = rng.choice(UNKNOWN_WAYS).format(_verb(rng))
    elif verb not in other_verbs and roll < 0.27:
        noun = rng.choice(UNKNOWN_THINGS)
    elif roll < 0.55:
        noun = synonyms.other_name(noun, rng) or noun
    if verb in synonyms.DEEDS and rng.random() < 0.5:
        verb = rng.choice(synonyms.DEEDS[verb])
    made = invented.request(this.tool, verb, noun, rng, lexicon, level.plain)
    for thing in UNKNOWN_THINGS:
        if noun == thing:
            for article in ("the ", "a "):
                made.said = made.said.replace(f"{article}{thing}", thing, 1)
    return made


def _natural(rng: Random, lexicon: Lexicon, count: int) -> list[Offer]:
    """Return tools with invented names and natural sentences; some tell aspects of one thing."""
    verbs, nouns = _words(rng, lexicon, count)
    if rng.random() < 0.3:
        nouns = [rng.choice(nouns[:2]) for _ in nouns]
    told = rng.sample(sorted(natural.ASPECTS), count)
    share = rng.choice((0.0, 0.5, 1.0))
    return [
        _aspect_offer(rng, lexicon, noun, aspect)
        if rng.random() < share
        else _deed_offer(rng, lexicon, verb, noun)
        for verb, noun, aspect in zip(verbs, nouns, told, strict=True)
    ]


def _aspect_offer(rng: Random, lexicon: Lexicon, noun: str, told: str) -> Offer:
    tool, slots = natural.aspect(rng, noun, told)
    return Offer(tool, lambda: natural.aspect_request(tool, slots, noun, told, rng, lexicon))


def _deed_offer(rng: Random, lexicon: Lexicon, verb: str, noun: str) -> Offer:
    tool, slots = natural.deed(rng, verb, noun)
    ways = synonyms.DEEDS.get(verb) or asking.SAID.get(verb) or (verb,)

    def request() -> Request:
        said = verb if rng.random() < 0.6 else rng.choice(ways)
        return natural.deed_request(tool, slots, said, noun, rng, lexicon)

    return Offer(tool, request)


def _everyday(rng: Random, lexicon: Lexicon, count: int) -> list[Offer]:
    """Return everyday tools; often several that take the same kind of value."""
    families = everyday.families()
    first = rng.choice(families)
    kinds = {slot.kind for slot in first.slots}
    alike = [family for family in families if kinds & {slot.kind for slot in family.slots}]
    chosen, used = [first], set(first.names)
    similar = 0.5 if alike else 0.0
    while len(chosen) < count:
        family = rng.choice(alike if rng.random() < similar else families)
        if not used & set(family.names):
            chosen.append(family)
            used |= set(family.names)
        elif rng.random() < 0.1:
            similar = 0.0  # There may be too few similar tools.
    return [dialogues._offer_everyday(family, rng, lexicon) for family in chosen]


def crowd(rng: Random, lexicon: Lexicon, level: Difficulty, count: int) -> list[Offer]:
    """Return about `count` tools that are easily confused."""
    roll = rng.random()
    if roll < level.everyday:
        offers = _everyday(rng, lexicon, count)
    elif roll < level.everyday + (1 - level.everyday) * NATURAL:
        offers = _natural(rng, lexicon, count)
    else:
        offers = _invented(rng, lexicon, level, count)
    if len(offers) < count and rng.random() < 0.3:
        offers += dialogues.offers(rng, lexicon, level, 1)
    names = [offer.tool.name for offer in offers]
    offers = [offer for i, offer in enumerate(offers) if names.index(offer.tool.name) == i]
    rng.shuffle(offers)
    return offers


def choosing_dialogue(rng: Random, lexicon: Lexicon, level: Difficulty) -> Dialogue:
    """Return a dialogue with several similar tools and several requests, mostly without results.

    The schemas are most of the tokens, so many requests share them.
    """
    offers = crowd(rng, lexicon, level, rng.choice(COUNTS))
    return _dialogue(rng, lexicon, level, offers, rng.choice(TURNS))


def drill_dialogue(rng: Random, lexicon: Lexicon, level: Difficulty) -> Dialogue:
    """Return a dialogue that is little more than choices: many tools of few tokens, new words."""
    few = replace(level, hard=0.0, thinking=level.thinking / 2)
    real, parameters = rng.choice((0.0, 0.0, 0.0, 0.4)), rng.choice((0, 0, 1))
    offers = _invented(rng, lexicon, few, rng.choice(DRILL_COUNTS), real, parameters)
    rng.shuffle(offers)
    return _dialogue(rng, lexicon, few, offers, rng.choice(DRILL_TURNS), answer=0.05)


def _dialogue(
    rng: Random,
    lexicon: Lexicon,
    level: Difficulty,
    offers: list[Offer],
    turns: int,
    answer: float = 0.25,
) -> Dialogue:
    builder = Builder(rng, lexicon, level, rng.random() < level.thinking)
    if rng.random() < 0.3:
        builder.system(rng.choice(phrases.SYSTEM_PROMPTS))
    for _ in range(turns):
        roll = rng.random()
        if roll < 0.50:
            builder.call(rng.choice(offers).make(), answer=answer)
        elif roll < 0.80:
            if len(offers) > 1 and rng.random() < 0.8:
                one, two = rng.sample(offers, 2)
                builder.parallel(one.make(), two.make(), answer=answer)
            elif (pair := dialogues._twice(rng.choice(offers))) is not None:
                builder.parallel(*pair, answer=answer)
        elif roll < 0.92:
            builder.exchange(dialogues._refusal(offers, rng, lexicon, level), tools=True)
        else:
            builder.exchange(chatting.any_exchange(rng, lexicon, tools=True), tools=True)
    if not any(message["role"] == "user" for message in builder.messages):
        builder.call(rng.choice(offers).make())
    style = Style.random(rng)
    return Dialogue(builder.messages, [offer.tool.schema(style) for offer in offers])
