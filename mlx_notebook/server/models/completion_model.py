"""Choose the model for inline completions, and say why there is none."""

from mlx_notebook.server.errors import ApiError, Conflict, InvalidRequest
from mlx_notebook.server.identity import OWNER
from mlx_notebook.server.models.catalog import Catalog
from mlx_notebook.server.models.catalog_entry import CatalogEntry
from mlx_notebook.server.models.settings.model_settings import NO_SETTINGS, ModelSettings
from mlx_notebook.server.wire.native.inline_types import CompletionMethod

LEAST_PARAMETERS = 1_000_000_000
"""A chat model with fewer parameters is not used for completions unless a setting names it."""

_SETTING = "MlxNotebookApp.completion_model"


async def completion_model(catalog: Catalog, configured: str, user: str = OWNER) -> CatalogEntry:
    """Return the model for inline completions.

    Parameters
    ----------
    configured
        Name of the model in the settings. Empty: the user's default model, if it is good enough.
    user
        User who asks.

    Raises
    ------
    Conflict
        If there is none. The message says why and what to do.
    """
    try:
        entry = await catalog.find(configured or None, user)
    except ApiError as error:
        name = configured or await catalog.default(user)
        raise not_available(f"The model {name!r} cannot be used. {error.message}") from None
    if entry.upstream is not None:
        raise not_available(
            f"The model {entry.name!r} runs at an upstream, and inline completions need a model on "
            f"this machine. Set {_SETTING} to one."
        )
    method = completion_method(entry, catalog.settings_of(entry.name, user))
    if method is None:
        raise not_available(
            f"The model {entry.name!r} has neither marks for fill-in-the-middle nor a chat "
            f"template. Set {_SETTING} to a model that has, for example a Qwen2.5-Coder."
        )
    few = entry.facts.parameters < LEAST_PARAMETERS
    if not configured and method == "chat" and few:
        raise not_available(
            f"The default model {entry.name!r} is too small for code: a chat model needs a billion "
            f"parameters. Set {_SETTING} to a model for code, for example a Qwen2.5-Coder."
        )
    return entry


def completion_method(
    entry: CatalogEntry, settings: ModelSettings = NO_SETTINGS
) -> CompletionMethod | None:
    """Return how a model fills a gap in a text with some settings; None if it cannot."""
    able = entry.facts.capabilities
    if "fim" in able and (settings.fill_in_the_middle is not False or "chat" not in able):
        return "fim"
    return "chat" if "chat" in able else None


def fill_not_supported(entry: CatalogEntry) -> InvalidRequest:
    """Return the error for a model that cannot fill a gap in a text."""
    return InvalidRequest(
        f"The model {entry.name!r} cannot fill a gap: it has neither marks for fill-in-the-middle "
        "nor a chat template. Leave 'suffix' out, or use another model.",
        param="suffix",
        code="fill_not_supported",
    )


def not_available(reason: str) -> Conflict:
    """Return the error for inline completions that are off."""
    return Conflict(reason, param="model")
