"""The feed's listeners come and go in any order, in any thread."""

import threading

from mlx_notebook.notebook.errors import NoServer
from mlx_notebook.panels.base import feed as feed_module
from mlx_notebook.panels.base.feed import Feed
from mlx_notebook.panels.base.panel_thread import Background
from tests.server.running import wait_for


class Nobody:
    wants = frozenset()

    def show(self, feed):
        pass

    def beat(self, seconds):
        pass


def no_server():
    raise NoServer("none")


def test_a_panel_may_be_collected_while_another_one_joins(monkeypatch):
    monkeypatch.setattr(feed_module, "connect", no_server)
    old, new = Nobody(), Nobody()

    class Collecting(Background):
        def hold(self, user):
            super().hold(user)
            if user is new:
                feed.leave(old)

    feed = Feed(Collecting())
    feed.join(old)
    joining = threading.Thread(target=feed.join, args=(new,), daemon=True)
    joining.start()
    joining.join(20)
    assert not joining.is_alive()
    feed.leave(new)
    assert not feed.thread.alive


def test_a_feed_that_fails_is_logged_and_begins_again_with_a_panel_that_joins(monkeypatch, caplog):
    monkeypatch.setattr(feed_module, "connect", no_server)

    class Faulty(Nobody):
        shown = 0

        def show(self, feed):
            self.shown += 1
            if self.shown == 1:
                raise KeyError("history")

    panel = Faulty()
    feed = Feed(Background())
    feed.join(panel)
    wait_for(lambda: "KeyError: 'history'" in caplog.text and feed._running is None, 20)
    assert "Run their cells again" in caplog.text
    feed.join(panel)
    wait_for(lambda: panel.shown > 1, 20)
    feed.leave(panel)
    assert not feed.thread.alive
