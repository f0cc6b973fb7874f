"""Explain exceptions of Jupyter, Tornado and our own code as errors of the API."""

from collections.abc import Sequence

from jupyter_server.base.handlers import APIHandler
from tornado import web

from mlx_notebook.server import errors


def explained_error(
    error: BaseException | None,
    handler: APIHandler,
    *,
    methods: Sequence[str],
    host_is_allowed: bool,
) -> errors.ApiError:
    """Return the API error for any exception.

    Parameters
    ----------
    error
        What a handler has raised; None if it is not known.
    handler
        The handler.
    methods
        HTTP methods of its route.
    host_is_allowed
        Whether the `Host` header of its request names this machine.
    """
    if isinstance(error, errors.ApiError):
        return error
    if not isinstance(error, web.HTTPError):
        return errors.ApiError("The server failed on this request. Its log says why.")
    status, message = error.status_code, str(error.get_message() or "")
    if status == 403 and not host_is_allowed:
        return errors.Forbidden(
            f"This server does not accept the host name {handler.request.host!r}. Use localhost, "
            "or set ServerApp.allow_remote_access or ServerApp.local_hostnames.",
            code="host_not_allowed",
        )
    if status == 403 and (not handler.current_user or "_xsrf" in message):
        return unauthorized(handler)
    if status == 403:
        return errors.Forbidden(message or "This user may not do this.")
    if status == 404 and "Origin" in handler.request.headers:
        return errors.Forbidden(
            "Pages of this origin may not use this server. See ServerApp.allow_origin.",
            code="origin_not_allowed",
        )
    if status == 405:
        allowed = ", ".join(methods)
        return errors.MethodNotAllowed(
            f"{handler.request.method} is not allowed here. Use {allowed}.",
            headers={"Allow": allowed},
        )
    if 400 <= status < 500:
        return errors.InvalidRequest(message or "The request is malformed.")
    return errors.ApiError("The server failed on this request. Its log says why.")


def unauthorized(handler: APIHandler) -> errors.ApiError:
    """Return the error for a request without the token."""
    if not handler.identity_provider.auth_enabled:
        return errors.Unauthorized(
            "This server runs without a token, so it accepts requests from Jupyter's own pages "
            "only. Start it with a token (--IdentityProvider.token=...) and send that as the "
            "API key.",
            code="token_needed",
        )
    hint: str | None = getattr(handler.identity_provider, "key_hint", None)
    return errors.Unauthorized(
        hint
        or "Send the Jupyter server's token as the API key: 'Authorization: Bearer <token>' "
        "(api_key=... in OpenAI's client). `jupyter server list` shows it."
    )
