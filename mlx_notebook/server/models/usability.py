"""Say why a model of the catalog cannot be used."""

from mlx_notebook.server.errors import ApiError, NotFound, Unavailable
from mlx_notebook.server.models.catalog_entry import CatalogEntry


def refusal_of(entry: CatalogEntry) -> ApiError | None:
    """Return the error for a request for a model that cannot be used; None if it can."""
    facts = entry.facts
    if facts.has_code and not entry.options.trust_remote_code:
        return NotFound(
            f"The model {entry.name!r} comes with its own Python code. To allow that to run, "
            "add the model to MlxNotebookApp.trusted_models, or set trust_remote_code for it "
            "in MlxNotebookApp.model_settings.",
            param="model",
            code="model_not_trusted",
        )
    if count := len(facts.missing):
        return NotFound(
            f"The model {entry.name!r} is incomplete: {count} of its files "
            f"{'is' if count == 1 else 'are'} missing. `%mlx pull {entry.name}` downloads "
            f"{'it' if count == 1 else 'them'}.",
            param="model",
            code="model_incomplete",
        )
    if entry.fault:
        return NotFound(
            f"The model {entry.name!r} cannot be used with its settings: {entry.fault}.",
            param="model",
            code="settings_not_usable",
        )
    if facts.error:
        return Unavailable(
            f"The model {entry.name!r} cannot be loaded: {facts.error}.",
            param="model",
            code="model_load_failed",
            headers={"x-should-retry": "false"},
        )
    return None
