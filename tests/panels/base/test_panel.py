"""A panel's life without a browser: what it sends, when it runs, what a saved notebook shows."""

import asyncio
import re
import threading

import pytest

from mlx_notebook.notebook.connection import connection
from mlx_notebook.notebook.errors import ServerUnreachable
from mlx_notebook.panels.base.panel_thread import PanelThread
from mlx_notebook.panels.base.server_watcher import ServerWatcher
from mlx_notebook.panels.chat.chat_panel import ChatPanel
from mlx_notebook.panels.dashboard.dashboard_panel import Dashboard
from mlx_notebook.panels.inspector import inspector_panel
from mlx_notebook.panels.inspector.inspector_panel import InspectorPanel
from mlx_notebook.panels.models.models_panel import ModelsPanel
from mlx_notebook.panels.stats.stats_panel import StatsPanel
from tests.server.running import running, wait_for


def panels_threads():
    return [thread for thread in threading.enumerate() if thread.name == "mlx-notebook-panels"]


@pytest.mark.parametrize("make", [ModelsPanel, StatsPanel, InspectorPanel, ChatPanel, Dashboard])
def test_one_thread_runs_while_panels_are_open_and_none_after(connected, make):
    first, second = make(), make()
    assert panels_threads() == []
    for panel in (first, second):
        bundle, _ = panel._repr_mimebundle_()
        assert "as of the time this cell ran" in bundle["text/html"]
        assert "application/vnd.jupyter.widget-view+json" in bundle
    assert len(panels_threads()) == 1
    first.close()
    assert len(panels_threads()) == 1
    second.close()
    assert panels_threads() == []


@pytest.mark.parametrize("kind", [ModelsPanel, StatsPanel, InspectorPanel, ChatPanel, Dashboard])
def test_a_panel_needs_of_its_frontend_what_anywidget_gives_everywhere(kind):
    source = kind._esm
    used = set(re.findall(r"\bmodel\.(\w+)\(", source)) - {"id"}
    assert used <= {"get", "set", "on", "off", "send"}
    assert set(re.findall(r"\bwidget_manager\.(\w+)", source)) <= {"get_model", "create_view"}
    # What JupyterLab and Notebook 7 give beyond, a panel can do without.
    assert set(re.findall(r"\bwidget_manager\?\.(\w+)", source)) <= {"rendermime", "context"}
    assert not re.search(
        r"^\s*import\b|\bimport\(|require\(|https?://(?!www\.w3\.org)|fetch\(", source
    )
    assert re.search(r"export default \{\s*initialize: .*\s*render", source)


def test_a_panel_pauses_with_its_last_view_and_goes_on_with_the_next(connected):
    panel = StatsPanel()
    panel.listen()
    panel._on_message(panel, {"opened": "a"}, [])
    panel._on_message(panel, {"opened": "b"}, [])
    panel._on_message(panel, {"closed": "a"}, [])
    assert len(panels_threads()) == 1
    panel._on_message(panel, {"closed": "b"}, [])
    assert panels_threads() == []
    panel._on_message(panel, {"opened": "c"}, [])
    assert len(panels_threads()) == 1
    panel.close()


def test_what_a_model_wrote_is_escaped_in_a_saved_notebook(connected, monkeypatch):
    monkeypatch.setattr(inspector_panel, "_TIMEOUT_SECONDS", 60.0)
    said = "<img src=x onerror=alert(1)>"
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    asked = {"messages": [{"role": "user", "content": said}], "tools": [tool]}
    connected.chat(**asked, tool_choice="required", max_tokens=60)
    panel = InspectorPanel()
    bundle, _ = panel._repr_mimebundle_()
    panel.close()
    assert "Request with tool calls: look" in bundle["text/html"]
    assert "&lt;tool_call&gt;" in bundle["text/html"]
    assert "<img" not in bundle["text/html"]
    assert "&lt;img" in bundle["text/html"]


def test_the_garbage_collector_closes_a_panel_while_another_thread_holds_the_lock():
    source = ServerWatcher(PanelThread())
    panel = StatsPanel(source)
    collector = threading.Thread(target=panel.__del__, daemon=True)
    with source._lock:
        collector.start()
        collector.join(20)
        assert not collector.is_alive()
    assert panel.comm is None


def test_an_order_that_fails_for_a_fault_of_ours_is_told_and_logged(connected, caplog):
    class Faulty(StatsPanel):
        async def do_fail(self):
            raise KeyError("rates")

    panel, sent = Faulty(), []
    panel.send = sent.append
    panel.listen()
    panel._on_message(panel, {"call": "1", "method": "fail", "args": {}}, [])
    wait_for(lambda: any("error" in message for message in sent), 20)
    panel.close()
    assert {"reply": "1", "error": "This failed: KeyError('rates')"} in sent
    assert "KeyError: 'rates'" in caplog.text


def test_a_panel_says_that_the_server_is_gone_and_recovers():
    with running() as server:
        connection.connect(server.url, server.token)
        port = server.port
        panel = StatsPanel(ServerWatcher(PanelThread()))
        panel.listen()
        wait_for(lambda: panel.fields.get("engine"), 20)
    try:
        wait_for(lambda: panel.fields.get("problem"), 20)
        with running(port=port):
            wait_for(lambda: not panel.fields.get("problem"), 60)
    finally:
        panel.close()
        connection.disconnect()


class ClosingConnection:
    """A client whose connection turns a cancellation into an error of its own."""

    class Somewhere:
        may_be_remote = True

    server = Somewhere()

    def __init__(self):
        self.asked = asyncio.Event()

    async def round_trip(self):
        self.asked.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise ServerUnreachable("the connection was closed") from None


def test_a_cancellation_that_becomes_an_error_ends_the_watch_all_the_same():
    async def cancelled_once():
        client = ClosingConnection()
        measuring = ServerWatcher(PanelThread())._measure_round_trips(client)
        task = asyncio.create_task(measuring)
        await client.asked.wait()
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=5)
        assert done == {task}

    asyncio.run(cancelled_once())
