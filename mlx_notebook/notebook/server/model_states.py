"""The words for the state of a model, the same in magics and panels."""

_NAMES = {
    "resident": "in memory",
    "available": "on this machine",
    "incomplete": "partly downloaded",
    "broken": "cannot be used",
    "downloadable": "available to download",
}


def state_name(state: str) -> str:
    """Return the words for a model's `state` in `mlx/models`."""
    return _NAMES.get(state, state)
