"""Generate long answers and long questions: counting, stories, and facts in pasted text."""

from __future__ import annotations

from random import Random

from mlx_notebook.demo_models.training.tiny_chat.language import phrases, values, words
from mlx_notebook.demo_models.training.tiny_chat.language.lexicon import Lexicon

from .chatting import Exchange


def counting(rng: Random, lexicon: Lexicon) -> Exchange:
    """Return a request to count from one number to another, up or down."""
    start, end = 1, rng.choice((5, 10, 20, 30, 50, 100, rng.randint(3, 120)))
    if rng.random() < 0.3:
        start = rng.randint(1, 60)
        end = start + rng.randint(2, 40)
    numbers = list(range(start, end + 1))
    last = values.NUMBER_WORDS[end] if end <= 10 and rng.random() < 0.5 else str(end)
    if start == 1 and rng.random() < 0.6:
        said = rng.choice(
            (
                f"count to {last}",
                f"count up to {last}",
                f"count from 1 to {end}",
                f"please count to {last}",
            )
        )
    else:
        said = rng.choice(
            (
                f"count from {start} to {end}",
                f"write the numbers from {start} to {end}",
                f"list the numbers from {start} to {end}",
            )
        )
    if rng.random() < 0.12:
        numbers.reverse()
        said = rng.choice(
            (f"count down from {end} to {start}", f"count backwards from {end} to {start}")
        )
    return Exchange(phrases.as_user(said, rng), ", ".join(map(str, numbers)), "I count.")


def series(rng: Random, lexicon: Lexicon) -> Exchange:
    """Return a request for the days, the months or the alphabet."""
    said, items = rng.choice(
        (
            ("the days of the week", list(words.WEEKDAYS)),
            ("the months of the year", list(words.MONTHS)),
            ("the alphabet", list("ABCDEFGHIJKLMNOPQRSTUVWXYZ")),
            ("the letters of the alphabet", list("ABCDEFGHIJKLMNOPQRSTUVWXYZ")),
        )
    )
    asked = rng.choice(
        ("list {}", "what are {}", "tell me {}", "say {}", "write {}", "give me {}")
    ).format(said)
    return Exchange(phrases.as_user(asked, rng), ", ".join(items), "I list them.")


_HAPPENINGS = (
    "{n} walked to the {place}.",
    "There {n} met a {animal}.",
    "The {animal} was {adjective}.",
    "{n} found a {object}.",
    "The {object} was {adjective}.",
    '"Hello," said the {animal}.',
    "It was a {adjective} day.",
    "{n} gave the {animal} some {food}.",
    "They went to {city} together.",
    "{n} was happy.",
    "Then it began to rain.",
    "They looked for the {object} in the {room}.",
    "The {animal} ate the {food}.",
    "{n} went to sleep.",
    "In the morning the {object} was gone.",
    "{n} laughed.",
)
_PLACES = ("forest", "river", "market", "garden", "bridge", "station", "tower")


def story(rng: Random, lexicon: Lexicon) -> Exchange:
    """Return a request for a story in plain sentences; a long story has numbered chapters."""
    name, animal = rng.choice(words.FIRST_NAMES), rng.choice(words.ANIMALS)
    said, about = "", ""
    if rng.random() < 0.5:
        about = rng.choice(
            (f" about a {animal}", f" about {name}", f" about {name} and a {animal}")
        )
    long = rng.random() < 0.5
    if long:
        said = rng.choice(
            (
                "tell me a long story",
                "write a long story",
                "tell a very long story",
                "write a very long text",
                "I want a long story",
            )
        )
    else:
        said = rng.choice(
            (
                "tell me a story",
                "write a story",
                "tell a short story",
                "tell me a tale",
                "write a short story",
            )
        )

    def sentences(count: int) -> list[str]:
        return [
            happening.format(
                n=name,
                animal=animal,
                object=rng.choice(words.OBJECTS),
                adjective=rng.choice(words.ADJECTIVES),
                food=rng.choice(words.FOODS),
                city=rng.choice(words.CITIES),
                room=rng.choice(words.ROOMS),
                place=rng.choice(_PLACES),
            )
            for happening in rng.sample(_HAPPENINGS, count)
        ]

    opening = f"Once upon a time there was a {animal} and a child called {name}."
    if not long:
        body = " ".join([opening, *sentences(5), "That is the end of the story."])
    else:
        chapters = [
            f"Chapter {i}\n" + " ".join(([opening] if i == 1 else []) + sentences(6))
            for i in range(1, 11)
        ]
        body = "\n\n".join(chapters) + "\n\nThat is the end of the story."
    return Exchange(phrases.as_user(said + about, rng), body, "I tell a story.")


def pasted(rng: Random, lexicon: Lexicon, sentences: int) -> Exchange:
    """Return a question about one sentence in a long text."""
    facts = []
    for _ in range(sentences):
        person = values.draw("person", rng, lexicon).spoken
        city, thing = (
            values.draw("city", rng, lexicon).spoken,
            values.draw("object", rng, lexicon).spoken,
        )
        facts.append((person, city, thing))
    facts = list({fact[0]: fact for fact in facts}.values())
    text = " ".join(f"{p} lives in {c} and has a {t}." for p, c, t in facts)
    person, city, thing = rng.choice(facts)
    question, answer = rng.choice(
        (
            (f"Where does {person} live?", f"{person} lives in {city}."),
            (f"What does {person} have?", f"{person} has a {thing}."),
        )
    )
    user = f"{text}\n\n{question}" if rng.random() < 0.6 else f"{question}\n\n{text}"
    return Exchange(user, answer, f"The text says: {answer}")


def long_exchange(rng: Random, lexicon: Lexicon) -> Exchange:
    """Return one of the exchanges of this module."""
    roll = rng.random()
    if roll < 0.4:
        return counting(rng, lexicon)
    if roll < 0.5:
        return series(rng, lexicon)
    if roll < 0.75:
        return story(rng, lexicon)
    return pasted(rng, lexicon, rng.choice((4, 8, 16, 30)))
