"""The chat panel without a browser: what it sends, what is kept of a conversation."""

import asyncio
import base64

import pytest

from mlx_notebook.notebook.answers.tool_call import ToolCall
from mlx_notebook.notebook.connection import connection
from mlx_notebook.notebook.errors import NotebookError
from mlx_notebook.notebook.server import notebook_model
from mlx_notebook.panels.base.panel_thread import PanelThread
from mlx_notebook.panels.base.server_watcher import ServerWatcher
from mlx_notebook.panels.chat.chat_panel import ChatPanel
from tests.server.running import wait_for

PNG = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9"
    "awAAAABJRU5ErkJggg=="
)


def made(**options):
    options = {"model": "tiny-chat", "max_tokens": 8, "temperature": 0, **options}
    return ChatPanel(**options)


def roles(panel):
    return [entry["role"] for entry in panel.fields["entries"].values()]


def asked(panel):
    return [m["content"] for m in panel.chat.messages if m["role"] == "user"]


def test_an_edited_message_replaces_what_followed_it(connected):
    panel = made()

    async def conversation():
        await panel.do_ask("My name is Ada.", [])
        await panel.do_ask("Hello", [])
        assert asked(panel) == ["My name is Ada.", "Hello"]
        await panel.do_ask("My name is Bo.", [], replaces=next(iter(panel.fields["entries"])))
        assert asked(panel) == ["My name is Bo."]
        assert roles(panel) == ["user", "assistant"]
        await panel.do_regenerate()
        assert asked(panel) == ["My name is Bo."]
        assert roles(panel) == ["user", "assistant"]

    asyncio.run(conversation())


def test_a_refused_message_comes_back_and_leaves_all_as_it_was(connected):
    panel = made()

    async def conversation():
        await panel.do_ask("Hello", [])
        before, kept = panel.fields["entries"], [*panel.chat.messages]
        first = next(iter(before))
        with pytest.raises(NotebookError, match="tiny-chat"):
            await panel.do_ask("What is this?", [PNG], replaces=first)
        assert panel.fields["entries"] == before
        assert panel.chat.messages == kept
        refused = panel.fields["refused"]
        assert (refused["text"], refused["images"]) == ("What is this?", [PNG])
        assert refused["replaces"] == first
        # So does what is no image at all.
        broken = "data:image/png;base64," + base64.b64encode(b"none").decode()
        with pytest.raises(NotebookError, match="image"):
            await panel.do_ask("And this?", [broken])
        assert panel.fields["refused"]["text"] == "And this?"
        await panel.do_ask("Hello", [])
        assert "refused" not in panel.fields

    asyncio.run(conversation())


def test_an_answer_that_is_stopped_before_its_first_word_says_so(connected):
    panel = made()

    async def conversation():
        asking = asyncio.create_task(panel.do_ask("Hello", []))
        while not panel.fields.get("busy"):
            await asyncio.sleep(0)
        await panel.do_stop()
        await asking
        [_, answer] = panel.fields["entries"].values()
        assert answer["note"] == "Interrupted before the first word"
        assert "busy" not in panel.fields

    asyncio.run(conversation())


def test_a_new_conversation_holds_nothing_of_the_answer_that_it_stopped(connected):
    panel = made(max_tokens=3000, extra_body={"ignore_eos": True})

    async def conversation():
        asking = asyncio.create_task(panel.do_ask("Tell me a story.", []))
        while not any(e.get("blocks") for e in panel.fields["entries"].values()):
            await asyncio.sleep(0.01)
        await panel.do_reset()
        await asking
        assert panel.chat.messages == []
        assert panel.fields["entries"] == {}
        assert "busy" not in panel.fields

    asyncio.run(conversation())


def test_a_stopped_call_is_not_shown_as_waiting(connected):
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    panel = made(tools=[add], max_tokens=100)

    async def conversation():
        asking = asyncio.create_task(panel.do_ask("What is 17 plus 25?", []))
        while not panel.fields.get("asking"):
            await asyncio.sleep(0.01)
        await panel.do_stop()
        await asking
        blocks = [*panel.fields["entries"].values()][-1]["blocks"].values()
        [call] = [block for block in blocks if block["kind"] == "call"]
        assert call["state"] == "not called"
        assert "asking" not in panel.fields

    asyncio.run(conversation())


def test_nothing_in_a_call_that_asks_is_hidden(connected):
    panel = made()

    async def ask():
        call = ToolCall("1", "run", arguments={"command": "ls \u202e fr- mr"})
        await panel.do_ask("Hello", [])
        asking = asyncio.create_task(panel._await_approval(call))
        while not panel.fields.get("asking"):
            await asyncio.sleep(0)
        assert panel.fields["asking"]["text"] == 'run(command="ls \\u202e fr- mr")'
        await panel.do_decide("1", "refuse")
        assert await asking is False

    asyncio.run(ask())


def test_settings_are_checked(connected):
    panel = made()

    async def change():
        with pytest.raises(NotebookError, match="between 0 and 2; you gave 9"):
            await panel.do_set("Be brief.", 9)
        assert panel.chat.settings["temperature"] == 0
        await panel.do_set("Be brief.", None)
        assert panel.chat.system == "Be brief."
        assert "temperature" not in panel.chat.settings
        await panel.do_set("", 0.5)
        assert panel.chat.system is None
        assert panel.fields["temperature"] == 0.5

    asyncio.run(change())


def test_a_left_page_lets_an_answer_end_and_a_closed_view_stops_it(connected):
    panel = made(max_tokens=600, extra_body={"ignore_eos": True})
    panel.watcher = ServerWatcher(PanelThread())
    panel.listen()
    for view, way, note in (("a", "page_left", "token limit"), ("b", "closed", "Interrupted")):
        panel._on_message(panel, {"opened": view}, [])
        with_ = {"text": "Tell me a story.", "images": []}
        panel._on_message(panel, {"call": view, "method": "ask", "args": with_}, [])
        wait_for(lambda: panel.fields.get("busy"), 30)
        panel._on_message(panel, {way: view}, [])
        wait_for(lambda: not panel.watcher.thread.alive, 60)
        wait_for(lambda: not panel.fields.get("busy"), 30)
        assert note in [*panel.fields["entries"].values()][-1]["note"]
    panel.close()


def test_a_model_that_the_server_lacks_is_told_in_the_panel_and_in_the_next_cell(connected, capsys):
    panel = made(model=None)

    async def conversation():
        panel.show(panel.watcher)
        await panel.do_ask("Hello", [])
        notebook_model.choose("gone/model")
        panel.show(panel.watcher)
        # As where the server is replaced: the same one, at another address.
        address = connected.url.replace("127.0.0.1", "localhost")
        connection.connect(address, connected.token)
        panel.show(panel.watcher)
        await panel.do_ask("Hello", [])

    asyncio.run(conversation())
    (notice,) = [e["text"] for e in panel.fields["entries"].values() if e["role"] == "notice"]
    assert notice.endswith("has no model gone/model. tiny-chat answers from now on.")
    assert capsys.readouterr().out == ""
    assert notebook_model.take_notice() == f"mlx_notebook: {notice}"
    assert notebook_model.take_notice() == ""
