"""The address and the token of a server that a user names, or that the environment names."""

import os

from mlx_notebook.notebook.connection import known_servers
from mlx_notebook.notebook.connection.keyring_process import KeyringUnusable
from mlx_notebook.notebook.connection.known_servers import KnownServer
from mlx_notebook.notebook.errors import NoServer
from mlx_notebook.notebook.server.server import normalise_url, split_token

URL_VARIABLE = "MLX_NOTEBOOK_URL"
TOKEN_VARIABLE = "MLX_NOTEBOOK_TOKEN"  # noqa: S105 - a variable's name


def find_by_name(name_or_url: str, token: str | None) -> tuple[str, str, str]:
    """Return the address, the token and a description of a server.

    Parameters
    ----------
    name_or_url
        The name of a server that the user has connected to, or an address.
    token
        Its token. By default that of the environment, or the stored one.

    Raises
    ------
    NoServer
        If the stored servers or the token cannot be read.
    """
    written = name_or_url.strip()
    servers = known_servers.read()
    known = servers.find(written)
    try:
        url, token_in_url = split_token(written) if known is None else (known.url, "")
        url = normalise_url(url)
    except ValueError:
        return written, token or "", "given"  # the address is checked where it is used
    known = known or servers.find(url)
    token = token_in_url or token
    if token is None:
        token = variable_token(url) or (stored_token(known) if known is not None else "")
    return url, token, known.name if known is not None else "given"


def stored_token(known: KnownServer) -> str:
    """Return the stored token of a server; empty if there is none.

    Raises
    ------
    NoServer
        If it is in a keyring that cannot be used now.
    """
    try:
        return known.read_token() or ""
    except KeyringUnusable as error:
        raise NoServer(
            f"The token of {known.name} cannot be read: {error}. `%mlx connect {known.name}` asks "
            "for it again."
        ) from None


def variable_token(url: str) -> str:
    """Return the token of `MLX_NOTEBOOK_TOKEN`, if it is for the server at a base URL.

    If `MLX_NOTEBOOK_URL` names another server, it must not get the token.
    """
    named = os.environ.get(URL_VARIABLE)
    try:
        if named and normalise_url(split_token(named)[0]) != url:
            return ""
    except ValueError:
        pass  # the error comes where that address is used
    return os.environ.get(TOKEN_VARIABLE, "")
