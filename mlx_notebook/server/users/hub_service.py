"""Run as a service of JupyterHub: read the environment that the Hub gives its services.

A service is managed, which means that the Hub starts it and sets its environment, or external. Then
the same variables are set by hand.
https://jupyterhub.readthedocs.io/en/stable/reference/services.html
"""

import os
from collections.abc import MutableMapping
from importlib.util import find_spec
from urllib.parse import urlsplit

import msgspec
from traitlets.config import Config

PROVIDER = "mlx_notebook.server.users.hub_identity.HubIdentityProvider"
_NAME = "JUPYTERHUB_SERVICE_NAME"
_API_URL = "JUPYTERHUB_API_URL"
_TOKEN = "JUPYTERHUB_API_TOKEN"  # noqa: S105 - a variable's name
_URL = "JUPYTERHUB_SERVICE_URL"
_PORTS = {"http": 80, "https": 443}


class NotAService(Exception):
    """The environment names a service of JupyterHub, but the service cannot run with it."""


class HubService(msgspec.Struct, frozen=True):
    """A service of JupyterHub.

    Attributes
    ----------
    name
        Name of the service in the Hub's configuration.
    prefix
        Path below which the Hub's proxy forwards requests, for example `/services/mlx/`.
    ip, port
        Where to listen.
    """

    name: str
    prefix: str
    ip: str
    port: int

    def settings(self) -> Config:
        """Return the settings of the server. Those of the command line override them."""
        config = Config()
        config.ServerApp.update(
            {
                "identity_provider_class": PROVIDER,
                "base_url": self.prefix,
                "ip": self.ip,
                "port": self.port,
                # The Hub's proxy knows this port and no other.
                "port_retries": 0,
                # Requests name the host of the Hub, and come through its proxy.
                "allow_remote_access": True,
                "trust_xheaders": True,
            }
        )
        return config


def hub_service(environment: MutableMapping[str, str] = os.environ) -> HubService | None:
    """Return the service that this process is to be, None without JupyterHub.

    JupyterHub's classes read the environment too. Their variables that follow from the service's
    name are filled in.

    Raises
    ------
    NotAService
        If a variable is missing, or JupyterHub is not installed here.
    """
    name = environment.get(_NAME)
    if not name:
        return None
    if find_spec("jupyterhub") is None:
        raise NotAService(
            f"{_NAME} is set, so this is a service of JupyterHub, which is not installed in this "
            "environment: pip install 'mlx-notebook[jupyterhub]'."
        )
    for variable, meaning in (
        (_TOKEN, "the service's token, api_token in c.JupyterHub.services"),
        (_API_URL, "the address of the Hub's API, for example http://127.0.0.1:8081/hub/api"),
        (_URL, "where to listen, for example http://127.0.0.1:10101"),
    ):
        if not environment.get(variable):
            raise NotAService(f"{_NAME} is set. Set {variable} too: {meaning}.")
    if environment.get("JUPYTERHUB_SSL_CERTFILE"):
        raise NotAService(
            "The Hub runs with internal_ssl, which mlx-notebook does not support as a managed "
            "service. Run it as an external service."
        )
    base = environment.get("JUPYTERHUB_BASE_URL") or "/"
    environment.setdefault("JUPYTERHUB_CLIENT_ID", f"service-{name}")
    prefix = environment.setdefault(
        "JUPYTERHUB_SERVICE_PREFIX", f"{base.rstrip('/')}/services/{name}/"
    )
    address = urlsplit(environment[_URL])
    port = address.port or _PORTS.get(address.scheme)
    if port is None:
        raise NotAService(f"{_URL} must be an http or https URL, and not {environment[_URL]!r}.")
    return HubService(name, prefix, address.hostname or "", port)
