"""A conversation is copied, reset and described."""

import pytest

from mlx_notebook.notebook.chat.chat import Chat
from mlx_notebook.notebook.chat.usage import Usage

HELLO = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]


def test_a_fork_shares_nothing_with_its_origin():
    chat = Chat("m", temperature=0)
    chat.messages = [dict(message) for message in HELLO]
    fork = chat.fork()
    fork.messages[0]["content"] = "Bye"
    fork.settings["temperature"] = 1
    assert (chat.messages, chat.settings) == (HELLO, {"temperature": 0})
    assert chat.fork(-1).messages == HELLO[:1]
    assert (fork.usage, fork.last) == (Usage(), None)


def test_a_reset_keeps_the_settings_and_the_system_message_if_told_so():
    chat = Chat("m", "Be brief.", temperature=0)
    chat.messages = [*HELLO]
    chat.reset()
    assert (chat.messages, chat.system, chat.settings) == ([], "Be brief.", {"temperature": 0})
    chat.reset(system=True)
    assert chat.system is None


def test_setting_approve_revokes_every_always():
    chat = Chat("m", approve=True)
    chat._allowed.add("add")
    chat.approve = True
    assert chat._allowed == set()


def test_it_shows_its_model_its_length_and_its_tools():
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    chat = Chat("m", tools=[add])
    chat.messages = HELLO[:1]
    assert repr(chat) == "<Chat with m: 1 message, may call add>"


def test_the_former_name_of_untrusted_calls_works_and_says_so():
    chat = Chat("m")
    with pytest.deprecated_call(match="untrusted_calls"):
        assert chat.doubtful is chat.untrusted_calls
