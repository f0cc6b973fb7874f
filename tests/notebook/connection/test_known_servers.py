"""The list of servers: who may read it, what is in it, and what is refused."""

import json
import stat
import threading

import pytest

from mlx_notebook.notebook.connection import keyring_process, known_servers
from mlx_notebook.notebook.connection.connection import connect, disconnect
from mlx_notebook.notebook.connection.keyring_process import KeyringUnusable
from mlx_notebook.notebook.errors import BadMagic, NoServer

URL = "https://studio.example/"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """An empty data directory, and no keyring."""
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path))
    for name in ("JUPYTERHUB_API_TOKEN", "MLX_NOTEBOOK_URL", "MLX_NOTEBOOK_TOKEN"):
        monkeypatch.delenv(name, raising=False)

    def unusable(*_):
        raise KeyringUnusable("there is none")

    for name in ("get", "put", "remove"):
        monkeypatch.setattr(keyring_process, name, unusable)
    return tmp_path / "mlx_notebook"


def add(url, token="s3cret", **options):
    with known_servers.changed() as servers:
        return servers.add(url, token, **{"name": None, "allow_http": False, **options})


def test_it_can_be_read_by_the_user_only_and_is_replaced_as_a_whole(home):
    home.mkdir(mode=0o755)
    add(URL)
    file = home / "servers.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    before = file.stat().st_ino
    add("http://localhost:1234/")
    assert file.stat().st_ino != before
    assert sorted(path.name for path in home.iterdir()) == [".servers.lock", "servers.json"]
    assert "s3cret" not in repr(known_servers.read())


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_can_read_is_refused(home, mode):
    add(URL)
    (home / "servers.json").chmod(mode)
    with pytest.raises(NoServer, match=r"run `chmod 600 .*servers\.json`"):
        known_servers.read()
    with pytest.raises(NoServer, match="chmod 600"):
        add("http://localhost:1234/")


def test_a_link_and_a_damaged_file_are_refused(home):
    home.mkdir()
    file = home / "servers.json"
    for text in ("{", "[]", '{"servers": [{"name": "a/b", "url": "x"}], "default": null}'):
        file.write_text(text)
        file.chmod(0o600)
        with pytest.raises(NoServer, match="is damaged"):
            known_servers.read()
    file.rename(home / "elsewhere.json")
    file.symlink_to(home / "elsewhere.json")
    with pytest.raises(NoServer, match="cannot be read"):
        known_servers.read()


def test_names_are_made_of_addresses_and_stay_unique():
    assert add("https://lab.example/a/").name == "lab.example"
    assert add("https://lab.example:8888/").name == "lab.example-8888"
    assert add("https://lab.example/b/").name == "lab.example-2"
    assert add("https://lab.example/a/", name="mine").name == "mine"
    assert add("https://lab.example/a/").name == "mine"
    for name, said in (("mine", "Another server"), ("a b", "not a name"), ("-x", "not a name")):
        with pytest.raises(BadMagic, match=said):
            add("https://lab.example/c/", name=name)
    assert len(known_servers.read().servers) == 3


def test_the_default_goes_with_its_server():
    server = add(URL)
    with known_servers.changed() as servers:
        servers.default_url = server.url
    assert known_servers.read().default == server
    with known_servers.changed() as servers:
        servers.remove(servers.find(URL))
    assert known_servers.read() == known_servers.KnownServers()


def test_kernels_that_connect_at_once_lose_nothing():
    urls = [f"https://lab.example:{port}/" for port in range(1, 9)]
    threads = [threading.Thread(target=add, args=(url,)) for url in urls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {server.url for server in known_servers.read().servers} == set(urls)


def test_a_token_in_the_keyring_is_not_in_the_file(home, monkeypatch):
    kept = {}
    monkeypatch.setattr(keyring_process, "put", kept.__setitem__)
    monkeypatch.setattr(keyring_process, "get", kept.get)
    monkeypatch.setattr(keyring_process, "remove", lambda url: kept.pop(url))
    add(URL)
    (server,) = known_servers.read().servers
    assert (server.kept_in, server.read_token(), kept) == ("keyring", "s3cret", {URL: "s3cret"})
    assert "s3cret" not in (home / "servers.json").read_text()
    with known_servers.changed() as servers:
        assert servers.remove(servers.find(URL)) is None
    assert kept == {}


def test_a_keyring_that_does_not_answer_is_told_with_what_to_do(monkeypatch):
    monkeypatch.setattr(keyring_process, "put", lambda *_: None)
    add(URL, name="studio")
    try:
        with pytest.raises(NoServer, match=r"there is none\. `%mlx connect studio` asks"):
            connect("studio")
    finally:
        disconnect()


def test_under_a_hub_nothing_is_read_and_nothing_written(home, monkeypatch):
    add(URL)
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "of the hub")
    assert known_servers.read() == known_servers.KnownServers()
    with pytest.raises(NoServer, match="Under JupyterHub"):
        add("http://localhost:1234/")
    assert len(json.loads((home / "servers.json").read_text())["servers"]) == 1
