"""What the setting `shared_prefixes` says."""

from typing import Any

import pytest

from mlx_notebook.protocol import ChatPrompt, TextPrompt
from mlx_notebook.server.users.shared_prefixes import SharedPrefixes
from mlx_notebook.server.users.user import LOCAL, User

ANN, CEM = User("ann", groups=("class", "staff")), User("cem")
DECLARED = SharedPrefixes(
    [
        {"system": "You are a tutor."},
        {"system": "You are a tutor. Ask back.", "group": "class"},
        {"group": "staff"},
        {"group": "class"},
    ]
)


def chat(text: Any, role: str = "system") -> ChatPrompt:
    return ChatPrompt(messages=[{"role": role, "content": text}, {"role": "user", "content": "?"}])


def test_a_declared_system_prompt_may_go_on_and_the_longest_one_counts() -> None:
    kind = chat("You are a tutor. Be kind.")
    assert DECLARED.system(CEM, kind) == ("You are a tutor.", "shared:")
    assert DECLARED.system(LOCAL, kind) == ("You are a tutor.", "shared:")
    asking = chat("You are a tutor. Ask back.")
    assert DECLARED.system(ANN, asking) == ("You are a tutor. Ask back.", "shared:class")
    assert DECLARED.system(CEM, asking) == ("You are a tutor.", "shared:")


@pytest.mark.parametrize(
    "prompt",
    [
        chat("You are a writer."),
        chat(" You are a tutor."),
        chat("You are a tutor.", role="user"),
        chat([{"type": "text", "text": "You are a tutor."}]),
        ChatPrompt(messages=[]),
        TextPrompt(text="You are a tutor."),
    ],
)
def test_another_prompt_shares_nothing(prompt: Any) -> None:
    assert DECLARED.system(ANN, prompt) == ("", "")


def test_the_members_of_a_group_share_all_where_that_is_declared() -> None:
    assert DECLARED.group(ANN) == "staff"
    assert DECLARED.group(User("bob", groups=("class",))) == "class"
    assert DECLARED.group(CEM) is None
    assert SharedPrefixes([{"system": "A", "group": "class"}]).group(ANN) is None


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({}, r"\[1\]: write \{'system': TEXT\}"),
        ("staff", r"\[1\]: write \{'system': TEXT\}"),
        ({"groups": "a"}, r"\[1\]: there is no 'groups', but 'system' and 'group'"),
        ({"system": ""}, r"\[1\]: 'system' is a text, and not ''"),
        ({"group": ["a"]}, r"\[1\]: 'group' is a text, and not \['a'\]"),
    ],
)
def test_a_wrong_declaration_is_named_with_its_place(entry: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SharedPrefixes([{"group": "a"}, entry])
