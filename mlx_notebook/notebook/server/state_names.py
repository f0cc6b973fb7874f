"""The words for states of models, engine and requests: the same in magics and panels."""

_MODELS = {
    "resident": "in memory",
    "available": "on this machine",
    "incomplete": "partly downloaded",
    "broken": "cannot be used",
    "downloadable": "available to download",
    "upstream": "at an upstream",
}
_ENGINE = {"stopped": "not started"}
_PHASES = {
    "loading": "loading the model",
    "prefill": "processing the prompt",
    "decode": "generating",
}


def model_state_name(state: str) -> str:
    """Return the words for a model's `state` in `mlx/models`."""
    return _MODELS.get(state, state)


def engine_state_name(state: str) -> str:
    """Return the words for the engine's `state` in `mlx/status`."""
    return _ENGINE.get(state, state)


def request_phase_name(phase: str) -> str:
    """Return the words for a request's `phase` in `mlx/status`."""
    return _PHASES.get(phase, phase)
