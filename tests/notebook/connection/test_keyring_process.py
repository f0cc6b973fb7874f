"""Keyrings: a usable one, and those that keep nothing, wait for ever, or ask on a terminal."""

import json
import sys
import time

import pytest

from mlx_notebook.notebook.connection import keyring_process
from mlx_notebook.notebook.connection.keyring_process import KeyringUnusable

URL = "https://studio.example/"

BACKENDS = """
import json, pathlib, sys, time
from keyring.backend import KeyringBackend
from keyring.errors import PasswordDeleteError

FILE = pathlib.Path(__file__).with_name("kept.json")

class Useful(KeyringBackend):
    priority = 5
    def _all(self):
        return json.loads(FILE.read_text()) if FILE.exists() else {}
    def get_password(self, service, username):
        return self._all().get(f"{service} {username}")
    def set_password(self, service, username, password):
        print("a backend that talks")
        FILE.write_text(json.dumps({**self._all(), f"{service} {username}": password}))
    def delete_password(self, service, username):
        kept = self._all()
        if kept.pop(f"{service} {username}", None) is None:
            raise PasswordDeleteError
        FILE.write_text(json.dumps(kept))

class Weak(Useful):
    priority = 0.5

class Silent(Useful):
    def get_password(self, service, username):
        time.sleep(600)

class Asking(Useful):
    def get_password(self, service, username):
        import getpass
        return getpass.getpass("Password of the keyring: ")

class Locked(Useful):
    def get_password(self, service, username):
        from keyring.errors import KeyringLocked
        raise KeyringLocked("locked")
"""


@pytest.fixture
def backend(tmp_path, monkeypatch):
    (tmp_path / "backends_of_test.py").write_text(BACKENDS)
    path = [str(tmp_path), *filter(None, sys.path)]
    monkeypatch.setenv("PYTHONPATH", ":".join(path))

    def use(name):
        monkeypatch.setenv("PYTHON_KEYRING_BACKEND", name)
        return tmp_path / "kept.json"

    return use


def test_a_token_is_kept_found_and_removed(backend):
    kept = backend("backends_of_test.Useful")
    assert keyring_process.get(URL) is None
    keyring_process.put(URL, "s3cret")
    assert keyring_process.get(URL) == "s3cret"
    assert json.loads(kept.read_text()) == {f"mlx-notebook {URL}": "s3cret"}
    for _ in range(2):
        keyring_process.remove(URL)
    assert keyring_process.get(URL) is None


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("keyring.backends.null.Keyring", "no keyring that keeps secrets"),
        ("keyring.backends.fail.Keyring", "no keyring that keeps secrets"),
        ("backends_of_test.Weak", "no keyring that keeps secrets"),
        ("backends_of_test.Locked", "KeyringLocked"),
        ("backends_of_test.Asking", "the keyring failed"),
        ("no_such.Backend", "the keyring failed"),
    ],
)
def test_what_keeps_nothing_is_not_used(backend, name, why):
    backend(name)
    with pytest.raises(KeyringUnusable, match=why):
        keyring_process.get(URL)


def test_one_that_never_answers_is_left(backend, monkeypatch):
    backend("backends_of_test.Silent")
    monkeypatch.setattr(keyring_process, "SECONDS", 1.0)
    began = time.monotonic()
    with pytest.raises(KeyringUnusable, match="did not answer within 1 seconds"):
        keyring_process.get(URL)
    assert time.monotonic() - began < 60  # and not ten minutes


def test_without_the_package_there_is_no_process(monkeypatch):
    monkeypatch.setattr(keyring_process.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(keyring_process.subprocess, "Popen", None)
    with pytest.raises(KeyringUnusable, match="not installed"):
        keyring_process.put(URL, "s3cret")
