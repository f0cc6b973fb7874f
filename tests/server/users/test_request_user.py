from types import SimpleNamespace
from typing import Any

import pytest
from jupyter_server.auth.identity import IdentityProvider

from mlx_notebook.server.users.request_user import request_user
from mlx_notebook.server.users.user import LOCAL, User
from tests.server.users.identities import USERS, KnownUser, UserTokens

pytestmark = pytest.mark.anyio
HUB_VARIABLES = ("JUPYTERHUB_USER", "JUPYTERHUB_SERVICE_NAME")


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in HUB_VARIABLES:
        monkeypatch.delenv(variable, raising=False)


def request(user: Any, provider: IdentityProvider | None = None) -> Any:
    """The handler of a request that is authenticated."""
    provider = provider or UserTokens(token="of-the-server")
    headers = {"Authorization": "Bearer another"}
    return SimpleNamespace(
        current_user=user,
        identity_provider=provider,
        request=SimpleNamespace(headers=headers),
        get_argument=lambda name, default="": default,
    )


async def test_a_user_of_a_hub_has_its_name_groups_and_rights() -> None:
    for name, expected in (
        ("ann", User("ann", ("class",))),
        ("teacher", User("teacher", ("staff",), admin=True)),
    ):
        assert await request_user(request(KnownUser(USERS[name])), ()) == expected


async def test_members_of_an_admin_group_may_manage_the_server() -> None:
    ann = request(KnownUser(USERS["ann"]))
    assert (await request_user(ann, {"class", "others"})).admin
    assert not (await request_user(ann, {"others"})).admin


async def test_without_a_hub_there_is_one_user() -> None:
    guest = request(SimpleNamespace(username="anonymous"), IdentityProvider(token="secret"))
    assert await request_user(guest, ()) is LOCAL


async def test_a_notebook_server_of_a_hub_belongs_to_its_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JUPYTERHUB_USER", "ann")
    assert await request_user(request(KnownUser(USERS["ann"])), ()) is LOCAL
    assert await request_user(request(KnownUser(USERS["bob"])), ()) == User("bob", ("class",))


async def test_no_user_owns_a_service_of_a_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    # The Hub sets the first variable for its services too, to the system's user.
    monkeypatch.setenv("JUPYTERHUB_USER", "ann")
    monkeypatch.setenv("JUPYTERHUB_SERVICE_NAME", "mlx")
    assert await request_user(request(KnownUser(USERS["ann"])), ()) == User("ann", ("class",))
