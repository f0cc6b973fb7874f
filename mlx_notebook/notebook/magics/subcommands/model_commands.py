"""The subcommands of `%mlx` about models: list, load, unload, download, pin and show them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mlx_notebook.notebook.chat.chat import Chat
from mlx_notebook.notebook.connection import connection
from mlx_notebook.notebook.errors import (
    DoesNotFit,
    EngineFailed,
    Interrupted,
    ModelNotFound,
    NotebookError,
    RequestRefused,
)
from mlx_notebook.notebook.human_units import format_bytes, format_duration
from mlx_notebook.notebook.interrupts import LastingInterrupt
from mlx_notebook.notebook.magics.subcommands.arguments import parser
from mlx_notebook.notebook.magics.subcommands.tables import show_table
from mlx_notebook.notebook.rendering.progress import ProgressBar, progress_bar
from mlx_notebook.notebook.server.server import Server
from mlx_notebook.notebook.server.state_names import model_state_name

_COLUMNS = ("model", "state", "context", "capabilities", "memory", "notes")


def list_models(line: str, chat: Chat) -> None:
    """Show a table of the models on this machine; with `--all` also those available to download."""
    options = parser("models")
    options.add_argument("filter", nargs="?", default="")
    options.add_argument("--all", action="store_true", dest="everything")
    arguments = options.parse(line)
    text = arguments.filter.lower()
    models = [
        model
        for model in catalog(connection.connect())
        if (arguments.everything or model["state"] != "downloadable")
        and text in " ".join((model["id"], *model["aliases"], *model["capabilities"])).lower()
    ]
    rows = [_row(model, chat) for model in models]
    note = (
        ""
        if arguments.everything
        else "`%mlx models --all` also lists models available to download."
    )
    if not rows:
        print(f"No model here matches {arguments.filter!r}. {note}".strip())
        return
    show_table(_COLUMNS, rows, note)


def load(line: str, chat: Chat) -> None:
    """Load a model, after downloading it if necessary. It then answers in this notebook."""
    options = parser("load")
    options.add_argument("model")
    options.add_argument("--pin", action="store_true")
    options.add_argument("--adapter")
    arguments = options.parse(line)
    server = connection.connect()
    body = {"model": arguments.model, "pin": arguments.pin or None, "adapter": arguments.adapter}

    def describe_result(answer: dict[str, Any]) -> str:
        took = f"in {answer['seconds']:.1f} s" if answer["seconds"] else "already there"
        pinned = " It is pinned: it stays in memory." if arguments.pin else ""
        return (
            f"{answer['model']} is loaded ({took}): {format_bytes(answer['bytes'])}, "
            f"context of {answer['context_length']} tokens. It answers from now on.{pinned}"
        )

    try:
        loaded = _follow(server, "load", body, describe_result)
    except ModelNotFound:
        if server.may_be_remote and Path(arguments.model).expanduser().is_dir():
            raise ModelNotFound(
                f"{arguments.model} is a folder of this machine and {server.url} may be another "
                "one: copy it there into a folder of models_dirs, and load it by its name."
            ) from None
        if not _can_be_downloaded(server, arguments.model):
            raise
        _pull(server, arguments.model, None)
        loaded = _follow(server, "load", body, describe_result)
    except RequestRefused as error:
        if error.code != "model_is_upstream" or arguments.pin or arguments.adapter:
            raise
        loaded = body
        print(
            f"{arguments.model} answers from now on. It runs at an upstream, not on this machine."
        )
    connection.choose_model(loaded["model"])
    chat.model = None


def unload(line: str, chat: Chat) -> None:
    """Remove a model from memory: the named one, or the notebook's."""
    options = parser("unload")
    options.add_argument("model", nargs="?")
    arguments = options.parse(line)
    server = connection.connect()
    name = arguments.model or _answering(chat) or ""
    answer = server.post("mlx/models/unload", {"model": name})
    print(f"{answer['model']} is unloaded; {format_bytes(answer['freed'])} are free again.")


def pull(line: str, _: Chat) -> None:
    """Download a model from Hugging Face."""
    options = parser("pull")
    options.add_argument("model")
    options.add_argument("--revision")
    arguments = options.parse(line)
    _pull(connection.connect(), arguments.model, arguments.revision)


def pin(line: str, _: Chat) -> None:
    """Keep a model in memory."""
    _pin("pin", line, pinned=True)


def unpin(line: str, _: Chat) -> None:
    """Allow the eviction of a pinned model."""
    _pin("unpin", line, pinned=False)


def show(line: str, chat: Chat) -> None:
    """Show a model's properties and settings."""
    options = parser("show")
    options.add_argument("model")
    name = options.parse(line).model
    server = connection.connect()
    found = [m for m in catalog(server) if name in (m["id"], *m["aliases"])]
    if not found:
        raise ModelNotFound(f"There is no model {name!r}. `%mlx models --all` lists all models.")
    (model,) = found
    about = "about " if model["approximate"] else ""
    facts = {
        "state": f"{model_state_name(model['state'])}{', pinned' if model['pinned'] else ''}",
        "changed": "since it was loaded; the next request reloads it" if model["reloads"] else None,
        "error": model["error"],
        "answers here": "yes" if model["id"] == _answering(chat) else None,
        "also called": ", ".join(model["aliases"]),
        "about": model["description"],
        "capabilities": ", ".join(model["capabilities"]),
        "architecture": model["architecture"],
        "quantization": model["quantization"],
        "context": f"{model['context_length']:,} tokens" if model["context_length"] else None,
        "on disk": format_bytes(model["bytes_on_disk"]) if model["bytes_on_disk"] else None,
        "download": f"{about}{format_bytes(model['download_bytes'])}"
        if model["download_bytes"]
        else None,
        "memory": f"{about}{format_bytes(model['memory_bytes'])}"
        if model["memory_bytes"]
        else None,
        "fits": {True: "yes", False: f"no. {model['why_not']}", None: None}[model["fits"]],
    }
    print(model["id"])
    for label, value in facts.items():
        if value:
            print(f"  {label + ':':<14} {value}")
    if model["source"] == "curated" or "+" in model["id"]:
        return
    settings = server.get(f"mlx/models/{quote(model['id'])}/settings")["settings"]
    for setting, value in settings.items():
        print(f"  {setting + ' =':<14} {value!r}")


def _pin(command: str, line: str, *, pinned: bool) -> None:
    options = parser(command)
    options.add_argument("model")
    body = {"model": options.parse(line).model, "pinned": pinned}
    answer = connection.connect().post("mlx/models/pin", body)
    state = "is pinned: it stays in memory" if answer["pinned"] else "is no longer pinned"
    print(f"{answer['model']} {state}.")


def _answering(chat: Chat) -> str | None:
    """Return the model that answers the notebook's `%%chat` cells."""
    return chat.model or connection.default_model()


def catalog(server: Server) -> list[dict[str, Any]]:
    """Return all models that the server knows, as in `mlx/models`."""
    models: list[dict[str, Any]] = server.get("mlx/models", timeout=30)["models"]
    return models


def adapters(server: Server, model: str) -> list[str]:
    """Return the names of a model's adapters."""
    models = catalog(server)
    bases = {m["id"] for m in models if model in (m["id"], *m["aliases"])}
    named = [m["id"].partition("+") for m in models if "+" in m["id"]]
    return [adapter for base, _, adapter in named if base in bases]


def _can_be_downloaded(server: Server, name: str) -> bool:
    """Return whether a model that is not on this machine may be on Hugging Face.

    Raises
    ------
    DoesNotFit
        If it is known not to fit this machine.
    """
    for model in catalog(server):
        if name in (model["id"], *model["aliases"]):
            if model["fits"] is False:
                raise DoesNotFit(
                    f"{model['id']} would not run here. {model['why_not']} "
                    f"`%mlx pull {name}` downloads it anyway."
                )
            return model["state"] in ("downloadable", "incomplete", "downloading")
    return "/" in name


def _pull(server: Server, name: str, revision: str | None) -> None:
    def describe_result(answer: dict[str, Any]) -> str:
        if not answer["fetched"]:
            return f"{answer['model']} was already downloaded: {format_bytes(answer['bytes'])}."
        took = f"{format_bytes(answer['fetched'])} in {format_duration(answer['seconds'])}"
        return f"{answer['model']} is downloaded: {took}."

    _follow(server, "download", {"model": name, "revision": revision}, describe_result)


def _follow(
    server: Server,
    what: str,
    body: dict[str, Any],
    describe_result: Callable[[dict[str, Any]], str],
) -> dict[str, Any]:
    """Send an order and show its progress; `describe_result` makes a sentence of the result."""
    name = body["model"]
    shown_bar: ProgressBar | None = None
    try:
        with (
            LastingInterrupt(),
            server.stream(f"mlx/models/{what}", {**body, "stream": True}) as events,
        ):
            for event in events:
                if event["phase"] == "done":
                    (shown_bar.end if shown_bar is not None else print)(describe_result(event))
                    return event
                if event["total"]:
                    shown_bar = shown_bar or progress_bar(name)
                    shown_bar.update(event)
        raise EngineFailed(f"The server stopped answering while it worked on {name}.")
    except KeyboardInterrupt:
        if shown_bar is not None:
            shown_bar.end(f"{name}: stopped.")
        raise Interrupted(
            "loading was stopped."
            if what == "load"
            else "the download was stopped. Anything already downloaded is kept: "
            f"`%mlx pull {name}` continues from there."
        ) from None
    except NotebookError:
        if shown_bar is not None:
            shown_bar.end(f"{name}: failed.")
        raise


def _row(model: dict[str, Any], chat: Chat) -> tuple[str, ...]:
    context = model["context_length"]
    memory = model["memory_bytes"]
    about = "about " if model["approximate"] else ""
    notes = [
        "answers here" if model["id"] == _answering(chat) else "",
        "server default" if model["default"] else "",
        "pinned" if model["pinned"] else "",
        "demonstration" if model["source"] == "embedded" else "",
        f"also {', '.join(model['aliases'])}" if model["aliases"] else "",
        f"download {format_bytes(model['download_bytes'])}" if model["download_bytes"] else "",
        model["description"] or "",
        model["error"] or "",
        "does not fit this machine" if model["fits"] is False and not model["error"] else "",
    ]
    return (
        model["id"],
        model_state_name(model["state"]),
        f"{context:,}" if context else "",
        ", ".join(model["capabilities"]),
        f"{about}{format_bytes(memory)}" if memory else "",
        "; ".join(note for note in notes if note),
    )
