"""Write the references from the code, in place of comments such as `<!-- generated: settings -->`.

Nothing that is written here is stored: a page says what the code says when the site is built.
"""

import html
import inspect
import math
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import docstring_parser
import msgspec
import traitlets

import mlx_notebook
from mlx_notebook.notebook.answers.answer import Answer, Delta, Reply
from mlx_notebook.notebook.answers.tool_call import ToolCall
from mlx_notebook.notebook.chat.conversation import Conversation
from mlx_notebook.notebook.chat.usage import Usage
from mlx_notebook.notebook.errors import Interrupted
from mlx_notebook.notebook.magics.chat_options import CHAT_HELP
from mlx_notebook.notebook.magics.map_options import MAP_HELP
from mlx_notebook.notebook.magics.subcommands.commands import COMMAND_OPTIONS, COMMANDS
from mlx_notebook.notebook.server.server import Server
from mlx_notebook.notebook.tools.tool import FunctionTool
from mlx_notebook.notebook.training.finetune import FinetunedModel
from mlx_notebook.panels.base.panel import Panel
from mlx_notebook.panels.chat.chat_panel import ChatPanel
from mlx_notebook.server.models.settings.model_settings import ModelSettings
from mlx_notebook.server.standalone import StandaloneServer

_JUPYTERHUB_CONFIG = Path(__file__).parents[1] / "operations" / "jupyterhub_config.py"
_PLACE = re.compile(r"^<!-- generated: (?P<what>[\w-]+) -->$", re.MULTILINE)
_KINDS = {
    traitlets.Bool: "true or false",
    traitlets.Float: "number",
    traitlets.Integer: "whole number",
    traitlets.Unicode: "text",
}
# What the public names share, return and hold. Of some, these are the members for notebooks.
_BEHIND: dict[type, list[str] | None] = {
    Conversation: None,
    Answer: None,
    Reply: None,
    Delta: None,
    ToolCall: None,
    Usage: None,
    FunctionTool: None,
    FinetunedModel: None,
    Server: ["api", "get", "post", "stream"],
    Panel: ["close"],
    ChatPanel: [],
}
_OPTION = re.compile(r"^(?P<names>-\S.*?) {2,}(?P<text>\S.*)$")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace each place of a page by what it names."""
    return _PLACE.sub(lambda match: _WRITERS[match["what"]](), markdown)


# --- settings -----------------------------------------------------------------------------------


def settings() -> str:
    """Write every trait of the extension with its type, default and help."""
    (extension,) = mlx_notebook._jupyter_server_extension_points()
    return _traits(extension["app"])


def jupyterhub_config() -> str:
    """Write the example of a Hub's configuration, which the tests use too."""
    code = _JUPYTERHUB_CONFIG.read_text(encoding="utf-8")
    return f'```python title="jupyterhub_config.py"\n{code}```'


def server_settings() -> str:
    """Write the traits that only `jupyter mlx-notebook` has."""
    return _traits(StandaloneServer)


def _traits(cls: type[traitlets.HasTraits]) -> str:
    own = [base for base in cls.__mro__ if base.__module__.startswith("mlx_notebook")]
    traits = {
        name: trait
        for base in own
        for name, trait in vars(base).items()
        if isinstance(trait, traitlets.TraitType) and trait.metadata.get("config")
    }
    parts: list[str] = []
    for name, trait in traits.items():
        about = _linked(_flowing(trait.help), traits.keys() - {name})
        parts += [f"### {name}", f"{_kind(trait)}. Default: {_default(name, trait)}.", about]
    return "\n\n".join(parts)


def _linked(text: str, names: Iterable[str]) -> str:
    """Link every setting that a help text names."""
    longest_first = sorted(names, key=len, reverse=True)
    pattern = rf"(?<![\w`])(?:{'|'.join(longest_first)})(?![\w`])"
    return re.sub(pattern, lambda match: f"[`{match[0]}`](#{match[0]})", text)


def _default(name: str, trait: traitlets.TraitType[Any, Any]) -> str:
    value = trait.default()
    size = f" ({value / 2**20:,g} MiB)" if name.endswith("_bytes") and value else ""
    return f"`{value!r}`{size}"


def _kind(trait: traitlets.TraitType[Any, Any]) -> str:
    """Describe the values that a trait takes."""
    match trait:
        case traitlets.Enum():
            return "One of " + ", ".join(f"`{value!r}`" for value in trait.values)
        case traitlets.List():
            return f"List; each entry: {_kind(trait._trait)[0].lower()}{_kind(trait._trait)[1:]}"
        case traitlets.Dict():
            return "Dictionary"
    kind = next(name for cls, name in _KINDS.items() if isinstance(trait, cls)).capitalize()
    low, high = getattr(trait, "min", None), getattr(trait, "max", None)
    if low is not None and high not in (None, math.inf):
        return f"{kind} from {low:,} to {high:,}"
    return kind if low is None else f"{kind}, at least {low:,}"


def model_settings() -> str:
    """Write the settings of one model as a table."""
    schema = msgspec.json.schema(ModelSettings)["$defs"]["ModelSettings"]["properties"]
    about = {
        parameter.arg_name: parameter.description
        for parameter in docstring_parser.parse(inspect.getdoc(ModelSettings) or "").params
    }
    rows = [
        (f"`{name}`", _values(values), _flowing(about[name] or ""))
        for name, values in schema.items()
    ]
    return _table(("Setting", "Value", "Meaning"), rows)


def _values(schema: dict[str, Any]) -> str:
    schema = schema.get("anyOf", [schema])[0]
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    kind = {"number": "number", "integer": "whole number", "string": "text"}.get(
        schema["type"],
        {"boolean": "`True` or `False`", "array": "list of texts"}.get(schema["type"]),
    )
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum")
    if low is None:
        return str(kind)
    word = "above" if "exclusiveMinimum" in schema else "from"
    if high is None or high >= 2**31 - 1:
        return f"{kind} {word} {low}"
    return f"{kind} {word} {low} {'up ' if word == 'above' else ''}to {high}"


# --- magics -------------------------------------------------------------------------------------


def mlx_commands() -> str:
    """Write the subcommands of `%mlx` and their options."""
    rows = [(f"`%mlx {usage}`", _flowing(text)) for usage, text in COMMANDS.items()]
    options = [
        (f"`%mlx {command}`", f"`{option}`", _flowing(text))
        for command, offered in COMMAND_OPTIONS.items()
        for option, text in offered.items()
    ]
    return (
        _table(("Command", "What it does"), rows)
        + "\n\n"
        + _table(("Command", "Option", "Meaning"), options)
    )


def chat_options() -> str:
    """Write the options of `%%chat` in the sections of its own help."""
    parts = []
    for paragraph in CHAT_HELP.split("\n\n"):
        title, _, listed = paragraph.partition("\n")
        if listed.startswith("-"):
            parts += [f"### {title}", _options(listed)]
    return "\n\n".join(parts)


def map_options() -> str:
    """Write the options of `%%map`."""
    (listed,) = (part for part in MAP_HELP.split("\n\n") if part.startswith("-"))
    return _options(listed)


def _options(listed: str) -> str:
    """Write options, one a line with its text, as a table."""
    options: list[tuple[list[str], str]] = []
    for line in listed.splitlines():
        if (match := _OPTION.match(line)) is not None:
            options.append((match["names"].split(", "), match["text"]))
        else:
            names, text = options[-1]
            options[-1] = (names, f"{text} {line.strip()}")
    rows = [(", ".join(f"`{name}`" for name in names), _flowing(text)) for names, text in options]
    return _table(("Option", "Meaning"), rows)


# --- Python -------------------------------------------------------------------------------------


def api() -> str:
    """Name every public name for mkdocstrings, and the types that they return."""
    names = sorted(mlx_notebook._LAZY)
    parts = ["## Names of `mlx_notebook`", *(_entry(f"mlx_notebook.{name}") for name in names)]
    parts += ["## Classes behind them"]
    parts += [_entry(f"{cls.__module__}.{cls.__name__}", shown) for cls, shown in _BEHIND.items()]
    return "\n\n".join(
        [*parts, "## Errors", *_errors(mlx_notebook.NotebookError), *_errors(Interrupted)]
    )


def _entry(path: str, members: list[str] | None = None) -> str:
    options = "" if members is None else f"\n    options:\n      members: [{', '.join(members)}]"
    return f"::: {path}{options}"


def _errors(error: type[Exception], depth: int = 0) -> Iterator[str]:
    """Write an error and all that are kinds of it, as a list."""
    first = (inspect.getdoc(error) or "").partition("\n\n")[0]
    yield f"{'    ' * depth}- `{error.__name__}`: {_flowing(first)}"
    for kind in error.__subclasses__():
        yield from _errors(kind, depth + 1)


# --- text ---------------------------------------------------------------------------------------


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def _flowing(text: str) -> str:
    """Join the lines of a help text into one, and keep what looks like HTML as text."""
    parts = " ".join(text.split()).split("`")
    return "`".join(
        part if at % 2 else html.escape(part, quote=False) for at, part in enumerate(parts)
    )


_WRITERS: dict[str, Callable[[], str]] = {
    "settings": settings,
    "server-settings": server_settings,
    "jupyterhub-config": jupyterhub_config,
    "model-settings": model_settings,
    "mlx-commands": mlx_commands,
    "chat-options": chat_options,
    "map-options": map_options,
    "api": api,
}
