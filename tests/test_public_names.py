"""Names that users and clients rely on. A change here is a change for them."""

import inspect
import re
from collections.abc import Container
from importlib import import_module
from types import ModuleType
from typing import Any

import mlx_notebook

SERVER_ERRORS = "mlx_notebook.server.errors"
NOTEBOOK_ERRORS = "mlx_notebook.notebook.errors"

FUNCTIONS = {
    "admin_panel": "()",
    "async_client": "(**options)",
    "chat_panel": "(tools=(), model=None, **options)",
    "client": "(**options)",
    "cluster": "(data, count=None, *, vectors=None, model=None, seed=0)",
    "compare": "(prompt, models=None, settings=None, *, system=None, images=(), schema=None, "
    "show=True, **common)",
    "connect": "(url=None, token=None, *, allow_http=False)",
    "conversation": "(thread='')",
    "convert": "(source, name, *, bits=4, group_size=64, recipe=None, method='plain', dtype=None, "
    "text=None, show=True)",
    "dashboard": "(tools=(), **chat)",
    "duplicates": "(data, threshold=0.95, *, vectors=None, model=None)",
    "embed": "(data, prompt=None, *, model=None, dimensions=None, cache=True, retry=2, show=True)",
    "evaluate": "(data, task, models=None, metrics='exact', *, expected=None, settings=None, "
    "system=None, schema=None, images=None, sample=None, seed=0, file=None, cache=True, retry=2, "
    "show=True, **common)",
    "finetune": "(model, data, *, name, method='lora', prompt='prompt', answer=None, system=None, "
    "tools=None, held_out=0.1, steps=None, batch_size=4, learning_rate=0.0001, seed=0, samples=2, "
    "replace=False, show=True, **settings)",
    "inspector": "()",
    "look_inside": "(prompt, *, model=None, system=None, schema=None, alternatives=5, "
    "importance=False, attention=False, max_tokens=200, **settings)",
    "map": "(data, prompt, *, schema=None, model=None, system=None, tools=None, images=None, "
    "cache=True, retry=2, details=False, show=True, **settings)",
    "mcp": "(command, *arguments, env=None, cwd=None, headers=None)",
    "merge": "(model, name, *, dequantize=False, show=True)",
    "models_panel": "()",
    "nearest": "(query, data, count=5, *, vectors=None, model=None)",
    "rerank": "(query, data, count=5, *, model=None, instruction=None)",
    "speak": "(text, *, model=None, voice='default', speed=1.0)",
    "stats_panel": "()",
    "tool": "(function=None, /, *, name=None, description=None)",
    "transcribe": "(sound, rate=None, *, model=None, language=None, prompt=None, words=False, "
    "translate=False)",
    "vector_plot": "(data, groups=None, *, vectors=None, model=None)",
}

# Of `Chat` and of `AsyncChat`.
CHAT = {
    "__init__": "(self, model=None, system=None, tools=(), *, max_steps=20, before_call=None, "
    "approve=False, **settings)",
    "approve": "property",
    "doubtful": "property",
    "ask": "(self, prompt, *, images=(), tools=None, schema=None, show=False, **settings)",
    "fork": "(self, at=None)",
    "load": "(path, tools=(), *, trust=False, **options)",
    "reset": "(self, *, system=False)",
    "resume": "(self, *, show=False, **settings)",
    "save": "(self, path)",
    "stream": "(self, prompt, *, images=(), tools=None, schema=None, **settings)",
    "unfinished": "property",
}

# Of `mlx_notebook.metrics`, each of which returns a metric for `evaluate`.
METRICS = {
    "exact": "(*, ignore_case=False, ignore_punctuation=False)",
    "f1": "()",
    "judge": "(model=None, question=None, *, name='judge')",
    "number": "(*, tolerance=0.0, relative=0.0)",
    "regex": "(pattern=None, *, name='regex')",
    "valid_json": "(schema=None)",
}

# Of `mlx_notebook.Evaluation`.
EVALUATION = {
    "differences": "(self, metric=None)",
    "disagreements": "(self, metric=None)",
    "load": "(path, *, seed=0)",
    "plot": "(self, metric=None)",
    "rows": "property",
    "save": "(self, path)",
    "table": "property",
}

# Parent, HTTP status, OpenAI's `type`, and the `code` that it has by default.
SERVER = {
    "ApiError": ("HTTPError", 500, "server_error", "internal_error"),
    "InvalidRequest": ("ApiError", 400, "invalid_request_error", "invalid_request"),
    "Unauthorized": ("ApiError", 401, "authentication_error", "invalid_api_key"),
    "Forbidden": ("ApiError", 403, "permission_error", "permission_denied"),
    "NotFound": ("ApiError", 404, "invalid_request_error", "not_found"),
    "Conflict": ("ApiError", 409, "invalid_request_error", "completions_not_available"),
    "MethodNotAllowed": ("ApiError", 405, "invalid_request_error", "method_not_allowed"),
    "BodyTimeout": ("ApiError", 408, "invalid_request_error", "request_timeout"),
    "BodyTooLarge": ("ApiError", 413, "invalid_request_error", "request_too_large"),
    "QueueFull": ("ApiError", 429, "rate_limit_error", "queue_full"),
    "RateLimited": ("ApiError", 429, "rate_limit_error", "rate_limit_exceeded"),
    "RequestCancelled": ("ApiError", 499, "server_error", "request_cancelled"),
    "EngineError": ("ApiError", 500, "server_error", "engine_error"),
    "Unavailable": ("ApiError", 503, "server_error", "engine_unavailable"),
    "UpstreamError": ("ApiError", 502, "server_error", "upstream_error"),
    "InsufficientStorage": ("ApiError", 507, "server_error", "disk_full"),
    "InsufficientMemory": ("ApiError", 507, "server_error", "insufficient_memory"),
}

# Each with its parent.
NOTEBOOK = {
    "NotebookError": "Exception",
    "NoServer": "NotebookError",
    "PrivateServerFailed": "NoServer",
    "ServerUnreachable": "NotebookError",
    "ServerSilent": "ServerUnreachable",
    "ConnectionLost": "ServerUnreachable",
    "NotAuthorized": "NotebookError",
    "RequestRefused": "NotebookError",
    "ModelNotFound": "RequestRefused",
    "DoesNotFit": "RequestRefused",
    "ContextTooLong": "RequestRefused",
    "NotRecorded": "RequestRefused",
    "ServerBusy": "NotebookError",
    "DownloadFailed": "NotebookError",
    "EngineFailed": "NotebookError",
    "JobFailed": "NotebookError",
    "BadRecording": "NotebookError",
    "UnfilledTemplate": "NotebookError",
    "NotATool": "NotebookError",
    "BadArguments": "NotebookError",
    "McpFailed": "NotebookError",
    "NotAPicture": "NotebookError",
    "NotATable": "NotebookError",
    "NotParsed": "NotebookError",
    "BadMagic": "NotebookError",
    "Interrupted": "KeyboardInterrupt",
    "Pause": "Exception",
}


def signature(of: Any) -> str:
    """Return a function's parameters and defaults, without annotations."""
    told = inspect.signature(of)
    bare = [one.replace(annotation=inspect.Parameter.empty) for one in told.parameters.values()]
    return str(told.replace(parameters=bare, return_annotation=inspect.Signature.empty))


def exceptions(module: ModuleType) -> dict[str, type]:
    """Return the public exceptions of a module."""
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isclass(value)
        and issubclass(value, BaseException)
        and value.__module__ == module.__name__
        and not name.startswith("_")
    }


def parent(kind: type) -> str:
    (base,) = [base for base in kind.__bases__ if issubclass(base, BaseException)]
    return base.__name__


def drawn(text: str, names: Container[str]) -> dict[str, str | None]:
    """Return the exception tree in a module's docstring: each name with its parent."""
    tree: dict[str, str | None] = {}
    above: list[tuple[int, str]] = []
    for line in text.splitlines():
        found = re.match(r"[ │├└─]*(\w+)", line)
        if found is None or found[1] not in names:
            continue
        above = [(column, name) for column, name in above if column < found.start(1)]
        tree[found[1]] = above[-1][1] if above else None
        above.append((found.start(1), found[1]))
    return tree


def test_the_package_exports_these_names() -> None:
    others = {"AsyncChat", "Chat", "Evaluation", "NotebookError", "Pause", "__version__", "metrics"}
    # `from mlx_notebook import *` leaves the builtin of that name.
    assert set(mlx_notebook.__all__) == (others | set(FUNCTIONS)) - {"map"}
    assert {*mlx_notebook.__all__, "map"} <= set(dir(mlx_notebook))


def test_its_functions_take_these_parameters() -> None:
    assert {name: signature(getattr(mlx_notebook, name)) for name in FUNCTIONS} == FUNCTIONS


def test_chats_have_these_methods() -> None:
    for kind in (mlx_notebook.Chat, mlx_notebook.AsyncChat):
        names = ["__init__", *(name for name in dir(kind) if not name.startswith("_"))]
        found = {
            name: "property"
            if isinstance(inspect.getattr_static(kind, name), property)
            else signature(getattr(kind, name))
            for name in names
        }
        assert found == CHAT


def test_evaluations_have_these_metrics_and_methods() -> None:
    metrics = mlx_notebook.metrics
    assert {name: signature(getattr(metrics, name)) for name in METRICS} == METRICS
    kind = mlx_notebook.Evaluation
    found = {
        name: "property"
        if isinstance(inspect.getattr_static(kind, name), property)
        else signature(getattr(kind, name))
        for name in EVALUATION
    }
    assert found == EVALUATION


def test_the_errors_of_the_server_are_these() -> None:
    found = {
        name: (parent(kind), kind.status, kind.kind, kind.default_code)
        for name, kind in exceptions(import_module(SERVER_ERRORS)).items()
    }
    assert found == SERVER


def test_the_errors_of_the_notebook_are_these_and_drawn_at_the_top() -> None:
    module = import_module(NOTEBOOK_ERRORS)
    assert {name: parent(kind) for name, kind in exceptions(module).items()} == NOTEBOOK
    assert drawn(module.__doc__ or "", NOTEBOOK) == {
        name: above if above in NOTEBOOK else None for name, above in NOTEBOOK.items()
    }
