"""What a trace says about a prompt that differs from the cached one that it continues."""

from itertools import count
from pathlib import Path
from typing import Any

import pytest

from mlx_notebook import protocol
from mlx_notebook.engine.prompts.broken_prefix import BrokenPrefix, describe
from mlx_notebook.engine.prompts.message_places import MessagePlaces, Place
from tests.engine.process import EngineProcess

NUMBERS = count()
SYSTEM = {"role": "system", "content": "You are careful. It is 10:01 now."}
CHAT = [
    SYSTEM,
    {"role": "user", "content": "Who are you?"},
    {"role": "assistant", "content": "I am a model."},
    {"role": "user", "content": "Which one?"},
]


def changed(index: int, content: str) -> list[dict[str, Any]]:
    return [{**m, "content": content} if n == index else m for n, m in enumerate(CHAT)]


def traced(
    engine: EngineProcess, model: Path, messages: list[dict[str, Any]], salt: str
) -> protocol.PrefixTrace | None:
    id = f"{salt} {next(NUMBERS)}"
    engine.send(
        protocol.Generate(
            id=id,
            model="random",
            path=str(model),
            prompt=protocol.ChatPrompt(messages=messages),
            sampling=protocol.Sampling(max_tokens=2, temperature=0.0),
            cache_salt=salt,
            trace=True,
        )
    )
    engine.finish(id)
    (trace,) = [e for e in engine.events if isinstance(e, protocol.Traced) and e.id == id]
    return trace.prefix


@pytest.mark.parametrize(
    ("index", "content", "was", "now"),
    [
        (0, "You are careful. It is 10:02 now.", "1 now.", "2 now."),
        (2, "I am a large model.", "model.<|im_end", "large model."),
    ],
    ids=["system", "assistant"],
)
def test_a_changed_message_is_named_with_its_token(
    engine: EngineProcess, model: Path, index: int, content: str, was: str, now: str
) -> None:
    salt = f"changed {index}"
    assert traced(engine, model, CHAT, salt) is None
    found = traced(engine, model, changed(index, content), salt)
    assert found is not None
    assert found.message == index + 1
    assert found.cached == found.broke_at
    assert found.was.startswith(was)
    assert found.now.startswith(now)


@pytest.mark.parametrize(
    "messages",
    [
        [*CHAT, {"role": "user", "content": "And?"}],
        changed(3, "Another question."),
        changed(1, "Another conversation."),
    ],
    ids=["it goes on", "its last message is new", "it is another one"],
)
def test_nothing_is_said_of_a_prompt_that_is_only_new(
    engine: EngineProcess, model: Path, messages: list[dict[str, Any]]
) -> None:
    salt = messages[-1]["content"] + messages[1]["content"]
    traced(engine, model, CHAT, salt)
    assert traced(engine, model, messages, salt) is None


def test_tools_that_changed_are_no_message() -> None:
    places = MessagePlaces([Place(0, "system", 2, 20), Place(1, "user", 50, 60)])
    tokenizer = Pieces()
    found = describe(BrokenPrefix(30, [5]), places, list(range(70)), 20, tokenizer)
    assert found is not None
    assert (found.message, found.cached, found.broke_at, found.was) == (None, 20, 30, "5")


def test_an_image_that_changed_is_shown_by_its_name() -> None:
    places = MessagePlaces(
        [Place(0, "user", 2, 20), Place(1, "tool", 22, 60), Place(2, "user", 62, 70)]
    )
    keys = [*range(30), 7, 10**6, 10**6 + 1]
    found = describe(BrokenPrefix(30, [10**6 + 5]), places, keys, 20, Pieces())
    assert found is not None
    assert (found.message, found.was, found.now) == (2, "[image]", "7[image]")


class Pieces:
    """A tokenizer of a thousand tokens, whose texts are their numbers."""

    def __len__(self) -> int:
        return 1000

    def decode(self, tokens: list[int]) -> str:
        return " ".join(map(str, tokens))
