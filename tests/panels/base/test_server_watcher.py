"""The feed's listeners come and go in any order, in any thread."""

from mlx_notebook.notebook.errors import NoServer
from mlx_notebook.panels.base import server_watcher as watcher_module
from mlx_notebook.panels.base.panel_thread import PanelThread
from mlx_notebook.panels.base.server_watcher import ServerWatcher
from tests.server.running import wait_for


class Nobody:
    topics = frozenset()

    def show(self, watcher):
        pass

    def heartbeat(self, seconds):
        pass


def no_server():
    raise NoServer("none")


def test_a_feed_that_fails_is_logged_and_begins_again_with_a_panel_that_joins(monkeypatch, caplog):
    monkeypatch.setattr(watcher_module, "connect", no_server)

    class Faulty(Nobody):
        shown = 0

        def show(self, watcher):
            self.shown += 1
            if self.shown == 1:
                raise KeyError("history")

    panel = Faulty()
    watcher = ServerWatcher(PanelThread())
    watcher.subscribe(panel)
    wait_for(lambda: "KeyError: 'history'" in caplog.text and watcher._task.done(), 20)
    assert "Run their cells again" in caplog.text
    watcher.subscribe(panel)
    wait_for(lambda: panel.shown > 1, 20)
    watcher.unsubscribe(panel)
    assert not watcher.thread.alive
