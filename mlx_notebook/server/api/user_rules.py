"""Hold the user of a request to the limits of `MlxNotebookApp.user_limits`."""

from mlx_notebook.server.api.http.base import ApiHandler
from mlx_notebook.server.errors import RateLimited
from mlx_notebook.server.models.catalog_entry import CatalogEntry
from mlx_notebook.server.users.rate_limiter import UserRequest
from mlx_notebook.server.users.user_limits import Action


def begin_request(handler: ApiHandler) -> UserRequest:
    """Count the request as one of its user that is in flight, until its handler is done.

    The response gets headers that tell how much is left of the user's limits.

    Raises
    ------
    RateLimited
        If the user has as many requests in flight, or has taken as many tokens, as they may.
    """
    if handler.counted is not None:
        return handler.counted
    rates, user = handler.services.rates, handler.user
    try:
        handler.counted = rates.begin(user, patient=handler.is_patient)
    except RateLimited as error:
        error.headers.update(handler.rate_headers(rates.states(user)))
        raise
    for name, value in handler.rate_headers(rates.states(user)).items():
        handler.set_header(name, value)
    return handler.counted


def check_permission(handler: ApiHandler, action: Action, model: str) -> None:
    """Check that the user may do something with a model.

    Raises
    ------
    Forbidden
        If they may not.
    """
    aliases = handler.services.catalog.aliases_of(model)
    handler.services.rates.limits.of(handler.user).check(action, model, aliases)


def may_evict(handler: ApiHandler, model: str) -> bool:
    """Return whether other models may be evicted for this one, if the user needs it."""
    aliases = handler.services.catalog.aliases_of(model)
    return handler.services.rates.limits.of(handler.user).allows("swap", model, aliases)


def may_use(handler: ApiHandler, entry: CatalogEntry) -> bool:
    """Return whether the user may use a model, here or at its upstream."""
    services, user = handler.services, handler.user
    if entry.upstream is not None and not services.upstreams.may_use(user, entry.upstream):
        return False
    aliases = services.catalog.aliases_of(entry.name)
    return services.rates.limits.of(user).allows("use", entry.name, aliases)
