"""The notebook's model stays the same until the notebook or a missing model changes it."""

import pytest

from mlx_notebook.notebook.errors import ModelNotFound, ServerBusy
from mlx_notebook.notebook.server import notebook_model


class Models:
    """A server with some models, or with an error for every request."""

    def __init__(self, url, *names, error=None):
        self.url, self.names, self.error, self.requests = url, names, error, 0

    def get(self, path):
        self.requests += 1
        if self.error is not None:
            raise self.error
        if path.rpartition("/")[2] not in self.names:
            raise ModelNotFound("none")
        return {}


@pytest.fixture(autouse=True)
def _forgotten():
    notebook_model.forget()
    yield
    notebook_model.forget()


def test_the_first_server_gives_its_default_model_and_later_defaults_change_nothing():
    server = Models("http://a/", "one", "two")
    notebook_model.use_server(server, "one")
    notebook_model.use_server(server, "two")
    assert (notebook_model.name(), server.requests) == ("one", 0)
    assert notebook_model.take_notice() == ""


def test_another_server_with_the_same_model_changes_nothing():
    notebook_model.use_server(Models("http://a/", "one"), "one")
    notebook_model.use_server(Models("http://b/", "one", "two"), "two")
    assert (notebook_model.name(), notebook_model.change_message()) == ("one", "")


def test_another_server_without_the_model_gives_its_own_and_a_cell_says_so_once():
    notebook_model.use_server(Models("http://a/", "one"), "one")
    notebook_model.use_server(Models("http://b/", "two"), "two")
    message = "http://b/ has no model one. two answers from now on."
    assert (notebook_model.name(), notebook_model.change_message()) == ("two", message)
    assert notebook_model.take_notice() == f"mlx_notebook: {message}"
    assert notebook_model.take_notice() == ""
    notebook_model.choose("three")
    assert (notebook_model.name(), notebook_model.change_message()) == ("three", "")


def test_a_server_that_cannot_say_keeps_the_model():
    notebook_model.use_server(Models("http://a/", "one"), "one")
    notebook_model.use_server(Models("http://b/", error=ServerBusy("busy")), "two")
    assert notebook_model.name() == "one"
