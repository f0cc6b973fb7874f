"""Where messages are in a rendered prompt."""

from typing import Any

import pytest

from mlx_notebook.engine.prompts.message_places import MessagePlaces, counter, find_messages

SYSTEM = {"role": "system", "content": "You help."}
TOOLS = "<tools>a, b, You help</tools>"
USER = {"role": "user", "content": "  user \n"}
CALL = {"role": "assistant", "content": "", "tool_calls": [{}]}
RESULT = {"role": "tool", "content": '{"a": "x\ny"}'}


def rendered(messages: list[dict[str, Any]], tools: str = "") -> str:
    text = ""
    for index, message in enumerate(messages):
        content = message["content"]
        if isinstance(content, list):
            content = "".join(part.get("text", "<image>") for part in content)
        text += f"<{message['role']}>\n{content.strip()}"
        text += f"\n{tools}" if tools and index == 0 else ""
        text += "(a call)" if "tool_calls" in message else ""
        text += "<end>\n"
    return f"{text}<assistant>\n"


def places(messages: list[dict[str, Any]], text: str | None = None) -> MessagePlaces:
    """Places in characters."""
    return find_messages(text or rendered(messages), messages, lambda character: character)


def contents(found: MessagePlaces, text: str) -> dict[int, str]:
    return {place.message: text[place.start : place.end].strip() for place in found.places}


def test_contents_are_found_without_their_surroundings() -> None:
    messages = [SYSTEM, USER, CALL, RESULT, {"role": "user", "content": "a"}]
    text = rendered(messages, TOOLS)
    assert contents(places(messages, text), text) == {
        0: "You help.",
        1: "user",
        3: RESULT["content"],
        4: "a",
    }


def test_contents_in_parts_and_contents_written_as_json_are_found() -> None:
    shown = [{"type": "text", "text": "This:"}, {"type": "image"}, {"type": "text", "text": "?"}]
    messages = [{"role": "user", "content": shown}, {"role": "tool", "content": 'a\n"b"'}]
    text = '<user>This:<image>?<end>\n<tool>{"result": "a\\n\\"b\\""}<end>\n<assistant>'
    assert contents(places(messages, text), text) == {0: "This:<image>?", 1: 'a\\n\\"b\\"'}


def test_long_contents_are_found_whole() -> None:
    messages = [{"role": "user", "content": "word " * 500}, {"role": "user", "content": "b" * 999}]
    text = rendered(messages)
    found = contents(places(messages), text)
    assert found == {0: ("word " * 500).strip(), 1: "b" * 999}


def test_a_content_that_is_not_in_the_text_hides_no_other() -> None:
    messages = [SYSTEM, USER, {"role": "assistant", "content": "gone"}]
    text = rendered([SYSTEM, USER])
    found = places(messages, text)
    assert contents(found, text) == {0: "You help.", 1: "user"}
    assert not found.complete(messages)
    assert places([SYSTEM, USER], text).complete([SYSTEM, USER])


def test_borders_are_the_system_prompt_with_tools_and_the_ends_of_the_last_messages() -> None:
    turns = [
        {"role": role, "content": f"{role} {n}"} for n in range(9) for role in ("user", "tool")
    ]
    messages = [SYSTEM, *turns]
    text = rendered(messages, TOOLS)
    found = places(messages, text)
    first, *last = (text[:border] for border in found.borders)
    assert first.endswith("</tools><end>\n<user>")
    assert [head[-6:] for head in last] == ["tool 7", "user 8", "tool 8"]
    assert found.opening is not None
    assert text[: found.opening].endswith("user 0")


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        ("You help.", 0),
        ("<tools>a,", None),
        ("<user>\nuse", 1),
        ("user<e", 2),
        ("(a c", 2),
        ('{"a', 3),
        ('"}<', 4),
        ("thanks<", 5),
    ],
)
def test_a_token_belongs_to_a_message(cut: str, message: int | None) -> None:
    messages = [SYSTEM, USER, CALL, RESULT, {"role": "user", "content": "thanks"}]
    text = rendered(messages, TOOLS)
    assert text.count(cut) == 1
    assert places(messages, text).changed(text.index(cut) + len(cut)) == message


def test_tokens_are_counted_that_end_before_a_character() -> None:
    before = counter([2, 5, 6])
    assert [before(character) for character in range(7)] == [0, 0, 1, 1, 1, 2, 3]
