"""The settings of upstreams are checked when the server starts, and keys are kept from all."""

import logging
from pathlib import Path
from typing import Any

import pytest
from traitlets import TraitError

from mlx_notebook.server.app import MlxNotebookApp
from mlx_notebook.server.errors import UpstreamError
from mlx_notebook.server.upstreams.upstream_keys import HIDDEN, UpstreamKey, take_keys
from mlx_notebook.server.upstreams.upstream_settings import UpstreamSettings, check_upstreams

URL = "https://lab.example:8443/v1/"


def test_an_upstream_needs_only_its_url() -> None:
    (lab,) = check_upstreams({"lab": {"url": URL}}).values()
    assert (lab.base, lab.host) == ("https://lab.example:8443/v1", "lab.example:8443")
    assert not lab.is_local
    assert UpstreamSettings(url="http://127.0.0.2:1/v1").is_local
    assert not UpstreamSettings(url="http://localhost.example/v1").is_local


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("a:b", {"url": URL}, "letters, digits"),
        ("lab", {}, "missing required field `url`"),
        ("lab", {"url": "lab.example/v1"}, "must look like"),
        ("lab", {"url": "file:///etc/passwd"}, "must look like"),
        ("lab", {"url": "https://me:hunter2@lab.example/v1"}, "user name or a password"),
        ("lab", {"url": URL, "api_key": "hunter2"}, "key_env"),
        ("lab", {"url": URL, "key_env": "A", "key_file": "b"}, "set one of them"),
        ("lab", {"url": URL, "modles": []}, "there is no 'modles'"),
        ("lab", {"url": URL, "models": []}, "empty list"),
        ("lab", {"url": URL, "models": {"m": ["sing"]}}, "no capability 'sing'"),
        ("lab", {"url": URL, "headers": {"Authorization": "hunter2"}}, "cannot set"),
        ("lab", {"url": URL, "headers": {"x-a": "hunter2\r\nx-b: c"}}, "is not valid"),
        ("lab", {"url": URL, "extra": ["messages"]}, "cannot be in extra"),
        ("lab", {"url": URL, "timeout": 0}, "timeout"),
        ("lab", {"url": URL, "max_requests": True}, "max_requests"),
    ],
)
def test_a_wrong_setting_is_named_and_no_secret_is_shown(
    name: str, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(TraitError) as caught:
        MlxNotebookApp(upstreams={name: settings})
    assert said in str(caught.value)
    assert f"upstreams[{name!r}]" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_variable_with_a_key_is_taken_out_of_the_environment() -> None:
    environ = {"LAB_KEY": "sk-12345678", "OTHER": "1"}
    settings = {"url": URL, "key_env": "LAB_KEY"}
    upstreams = check_upstreams({"one": settings, "two": {**settings, "key_header": "api-key"}})
    keys = take_keys(upstreams, environ, logging.getLogger("test"))
    assert environ == {"OTHER": "1"}
    assert keys["one"].headers() == {"Authorization": "Bearer sk-12345678"}
    assert keys["two"].headers() == {"api-key": "sk-12345678"}
    assert "12345678" not in repr(keys["one"])
    assert keys["one"].hide("Wrong key: sk-12345678.") == f"Wrong key: {HIDDEN}."


def test_a_key_file_is_read_again_when_it_has_changed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "key"
    file.write_text("first-key\n")
    file.chmod(0o644)
    upstreams = check_upstreams({"lab": {"url": "http://lab.example", "key_file": str(file)}})
    (key,) = take_keys(upstreams, {}, logging.getLogger("test")).values()
    assert "unencrypted" in caplog.text
    assert "chmod 600" in caplog.text
    assert key.read() == "first-key"
    file.write_text("second-key")
    assert key.read() == "second-key"


@pytest.mark.parametrize("content", [None, "", "with\nlines", "schlüssel"])
def test_a_key_that_cannot_be_used_is_an_error(content: str | None, tmp_path: Path) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_text(content)
    key = UpstreamKey("lab", UpstreamSettings(url=URL, key_file=str(file)))
    with pytest.raises(UpstreamError, match="without its key") as caught:
        key.read()
    assert (caught.value.status_code, caught.value.code) == (503, "upstream_key_missing")
