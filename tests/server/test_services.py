"""What handlers get from the server's parts."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from mlx_notebook.server.errors import InvalidRequest, NotFound
from mlx_notebook.server.identity import OWNER
from mlx_notebook.server.models.settings.model_settings import ModelSettingsStore, check_settings
from mlx_notebook.server.services import RequestLimits, Services
from mlx_notebook.server.users.shared_prefixes import SharedPrefixes
from mlx_notebook.server.users.user import User

LIMITS = RequestLimits(
    max_body_bytes=1024,
    body_timeout_seconds=1.0,
    keep_alive_seconds=1.0,
    max_file_bytes=1024,
    max_messages=3,
    max_prompt_tokens=0,
    max_batch=1,
    max_audio_bytes=1024,
    max_audio_seconds=1.0,
    max_sockets=32,
    socket_seconds=3600,
)


class Names:
    """A catalog of which only names are asked."""

    names = ("tiny-chat",)

    def canonical(self, name: str) -> str:
        return {"short": "org/model"}.get(name, name)

    def source_of(self, name: str) -> str | None:
        return {
            "tiny-chat": "embedded",
            "org/mine": "folder",
            "org/here": "cache",
            "lab:m": "upstream",
        }.get(name)


class Started:
    """Downloads that only note what is asked of them."""

    def start(self, model: str, revision: str | None, user: str) -> Any:
        return model, revision


def services(**changes: Any) -> Services:
    made: list[str] = []
    settings = {"org/model": check_settings({"revision": "v2"})}
    parts: dict[str, Any] = {
        "supervisor": SimpleNamespace(ready=None),
        "engine": None,
        "upstreams": None,
        "requests": None,
        "catalog": Names(),
        "downloads": Started(),
        "model_settings": ModelSettingsStore(settings, None, logging.getLogger("test")),
        "notebook_usage": None,
        "jobs": None,
        "new_models": None,
        "limits": LIMITS,
        "auto_download": False,
        "memory_budget_bytes": 0,
        "changeable": None,
        "rates": None,
        "shared_prefixes": SharedPrefixes([]),
        "shared_between_users": frozenset(),
        "admin_groups": frozenset(),
        "admin_reads_texts": False,
        "open_without_token": frozenset(),
        "make_images": lambda: made.append("images") or made,
        "make_responses": lambda: made.append("responses") or made,
        "mcp": None,
        "make_conversations": None,
        "make_batches": None,
    }
    return Services(**{**parts, **changes})


def test_images_and_responses_are_made_once_when_they_are_first_used() -> None:
    used = services()
    made: Any = used.images
    assert used.images is made
    assert made == ["images"]
    assert used.responses is made
    assert made == ["images", "responses"]


def test_the_fingerprint_changes_with_the_device_and_the_versions() -> None:
    def fingerprint(device: str, **versions: str) -> str:
        ready = SimpleNamespace(device=device, versions=versions)
        return services(supervisor=SimpleNamespace(ready=ready)).fingerprint

    found = {
        services().fingerprint,
        fingerprint("gpu", mlx="1"),
        fingerprint("gpu", mlx="2"),
        fingerprint("cpu", mlx="1"),
    }
    assert len(found) == 4
    assert fingerprint("gpu", a="1", b="2") == fingerprint("gpu", b="2", a="1")


def test_users_share_a_prefix_cache_only_where_the_settings_say_so() -> None:
    def salt(owner: str, groups: tuple[str, ...] = (), **changes: Any) -> str:
        declared = SharedPrefixes([{"system": "Be kind."}, {"group": "staff"}])
        return services(shared_prefixes=declared, **changes).cache_salt(owner, User("x", groups))

    assert salt("ann") == salt("ann", ("class",)) == "ann"
    assert salt(OWNER) == ""
    assert salt("ann", ("class", "staff")) == "group:staff"
    assert salt("ann", shared_between_users=frozenset({"prefixes"})) == ""
    assert salt("ann", shared_between_users=frozenset({"requests"})) == "ann"


@pytest.mark.parametrize(
    ("name", "revision", "started"),
    [
        ("org/new", None, ("org/new", None)),
        ("org/new", "v1", ("org/new", "v1")),
        ("org/model", None, ("org/model", "v2")),
        ("short", "v1", ("org/model", "v1")),
        ("org/here", None, ("org/here", None)),
    ],
)
def test_a_download_has_the_revision_asked_for_or_the_one_set(
    name: str, revision: str | None, started: tuple[str, str | None]
) -> None:
    download: Any = services().download(name, revision)
    assert download == started


@pytest.mark.parametrize(("name", "where"), [("tiny-chat", "package"), ("org/mine", "folder")])
def test_a_model_of_the_package_or_a_folder_is_not_downloaded(name: str, where: str) -> None:
    with pytest.raises(InvalidRequest, match=where) as caught:
        services().download(name)
    assert (caught.value.code, caught.value.param) == ("model_is_local", "model")


@pytest.mark.parametrize("name", ["nonesuch", "a/b/c", "../etc", "org/a--b", ""])
def test_a_name_that_hugging_face_cannot_have_is_not_found(name: str) -> None:
    with pytest.raises(NotFound, match="tiny-chat"):
        services().download(name)


def test_too_many_messages_are_refused_with_the_limit() -> None:
    LIMITS.check_message_count(3)
    with pytest.raises(InvalidRequest, match=r"4 messages.*3 at most") as caught:
        LIMITS.check_message_count(4)
    assert (caught.value.code, caught.value.param) == ("too_many_messages", "messages")
