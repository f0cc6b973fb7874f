import pytest

from mlx_notebook.server.users import hub_service as module
from mlx_notebook.server.users.hub_service import HubService, NotAService, hub_service

MANAGED = {
    "JUPYTERHUB_SERVICE_NAME": "mlx",
    "JUPYTERHUB_API_TOKEN": "secret",
    "JUPYTERHUB_API_URL": "http://127.0.0.1:8081/class/hub/api",
    "JUPYTERHUB_BASE_URL": "/class/",
    "JUPYTERHUB_SERVICE_URL": "http://127.0.0.1:10101",
    "JUPYTERHUB_SERVICE_PREFIX": "/class/services/mlx/",
    "JUPYTERHUB_CLIENT_ID": "service-mlx",
}


def test_a_server_without_a_hub_or_of_a_hubs_user_is_no_service() -> None:
    assert hub_service({}) is None
    users = {name: value for name, value in MANAGED.items() if name != "JUPYTERHUB_SERVICE_NAME"}
    assert hub_service({**users, "JUPYTERHUB_USER": "ann"}) is None


def test_the_hub_says_where_a_service_listens() -> None:
    service = hub_service(dict(MANAGED))
    assert service == HubService("mlx", "/class/services/mlx/", "127.0.0.1", 10101)
    settings = service.settings().ServerApp
    assert (settings.ip, settings.port, settings.base_url) == (
        "127.0.0.1",
        10101,
        "/class/services/mlx/",
    )


def test_an_external_service_needs_four_variables() -> None:
    environment = {
        name: MANAGED[name]
        for name in (
            "JUPYTERHUB_SERVICE_NAME",
            "JUPYTERHUB_API_TOKEN",
            "JUPYTERHUB_API_URL",
            "JUPYTERHUB_SERVICE_URL",
        )
    }
    expected = HubService("mlx", "/services/mlx/", "127.0.0.1", 10101)
    assert hub_service(environment) == expected
    # JupyterHub's own classes read these.
    assert environment["JUPYTERHUB_CLIENT_ID"] == "service-mlx"
    assert environment["JUPYTERHUB_SERVICE_PREFIX"] == "/services/mlx/"


@pytest.mark.parametrize(
    "missing", ["JUPYTERHUB_API_TOKEN", "JUPYTERHUB_API_URL", "JUPYTERHUB_SERVICE_URL"]
)
def test_a_missing_variable_is_named(missing: str) -> None:
    environment = {name: value for name, value in MANAGED.items() if name != missing}
    with pytest.raises(NotAService, match=f"Set {missing} too"):
        hub_service(environment)


@pytest.mark.parametrize("address", ["unix:///run/mlx.sock", "127.0.0.1:10101"])
def test_an_address_that_is_no_url_is_refused(address: str) -> None:
    with pytest.raises(NotAService, match="must be an http or https URL"):
        hub_service({**MANAGED, "JUPYTERHUB_SERVICE_URL": address})


def test_the_hubs_own_certificates_are_not_supported() -> None:
    with pytest.raises(NotAService, match="internal_ssl"):
        hub_service({**MANAGED, "JUPYTERHUB_SSL_CERTFILE": "/srv/hub.crt"})


def test_a_service_needs_jupyterhub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert hub_service({}) is None
    with pytest.raises(NotAService, match=r"pip install 'mlx-notebook\[jupyterhub\]'"):
        hub_service(dict(MANAGED))
