"""Addresses and tokens of a server."""

import pytest

from mlx_notebook.notebook.connection import connection
from mlx_notebook.notebook.errors import NoServer
from mlx_notebook.notebook.server.server import Server, normalise_url


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("http://localhost:8888", "http://localhost:8888/"),
        ("http://localhost:8888/a%40b/v1/", "http://localhost:8888/a%40b/"),
        (" https://hub.example/user/ada/?token=x ", "https://hub.example/user/ada/"),
    ],
)
def test_addresses_are_taken_as_people_write_them(given, meant):
    assert normalise_url(given) == meant


@pytest.mark.parametrize(
    "given", ["localhost:8888", "file:///etc/passwd", "http+unix://x", "", "http://[::1"]
)
def test_only_web_addresses_are_taken(given):
    with pytest.raises(NoServer):
        connection.connect(given, "t")


def test_a_token_is_not_in_what_a_cell_would_show():
    assert "secret" not in repr(Server("http://localhost/", "secret"))


def test_no_proxy_stands_between_us_and_this_machine():
    assert Server("http://localhost:1/", "").is_loopback
    assert Server("http://[::1]:1/", "").is_loopback
    assert Server("http://127.3.2.1:1/", "").is_loopback
    assert not Server("http://localhost.example.com/", "").is_loopback
