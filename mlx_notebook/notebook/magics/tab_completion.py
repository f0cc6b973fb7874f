"""Tab completion after `%mlx`, `%chat`, `%%chat` and `%%map`: subcommands, options and values."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import FunctionType
from typing import Any

from IPython.core.completer import (
    CompletionContext,
    SimpleCompletion,
    SimpleMatcherResult,
    context_matcher,
)

from mlx_notebook.notebook.connection import connection, known_servers
from mlx_notebook.notebook.connection.client_configurations import CLIENT_CONFIGURATIONS
from mlx_notebook.notebook.errors import NotebookError
from mlx_notebook.notebook.inputs.as_text import from_library
from mlx_notebook.notebook.inputs.attachments import is_sound
from mlx_notebook.notebook.inputs.images import is_image
from mlx_notebook.notebook.magics.chat_options import CHAT_HELP, FLAGS
from mlx_notebook.notebook.magics.map_options import MAP_FLAGS, MAP_HELP
from mlx_notebook.notebook.magics.subcommands import model_commands
from mlx_notebook.notebook.magics.subcommands.commands import (
    COMMAND_OPTIONS,
    COMMANDS,
    TAKE_A_MODEL,
)
from mlx_notebook.notebook.server.state_names import model_state_name

_LINE = re.compile(r"^\s*(?P<magic>%mlx|%chat|%%chat|%%map)\s(?P<rest>.*)$", re.DOTALL)
_WORD = re.compile(r"[^\s,=]*$")
# "-m, --model        the model that answers": the names of an option, and what it does.
_HELP = re.compile(r"^(?P<names>-\S+(?:, -\S+)*)\s{2,}(?P<text>\S.*)$", re.MULTILINE)
_IMAGES = frozenset(
    {".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".pdf", ".mp4", ".mov"}
    | {".webm", ".mkv", ".avi"}
)
_MAX_FILES = 200
IDENTIFIER = "mlx_notebook"

Completion = tuple[str, str]
"""A completion, and a few words about it."""


class MagicsCompleter:
    """Completes the lines of our magics in one shell.

    Parameters
    ----------
    shell
        The IPython shell. Its variables complete images, schemas and tools.
    threads
        The names of the conversations, `""` among them.
    """

    def __init__(self, shell: Any, threads: Iterable[str]) -> None:
        self._shell, self._threads = shell, threads
        # IPython adds attributes to a matcher, which a bound method does not take.
        self.matcher = context_matcher(identifier=IDENTIFIER)(lambda context: self._of(context))

    def _of(self, context: CompletionContext) -> SimpleMatcherResult:
        line = context.text_until_cursor
        found = _LINE.match(line)
        if found is None or (found["magic"].startswith("%%") and context.cursor_line > 0):
            return {"completions": []}
        word = _WORD.search(line)
        assert word is not None  # it matches an empty word, too
        words = found["rest"][: len(found["rest"]) - len(word[0])].replace("=", " ").split()
        if found["magic"] == "%mlx":
            completions = self._mlx(words, word[0])
        elif found["magic"] == "%%map" and not words and not word[0].startswith("-"):
            completions = self._variables(_is_table, "table")
        elif found["magic"] == "%%map":
            completions = self._of_options(MAP_OPTIONS, MAP_FLAGS, words, word[0])
        else:
            completions = self._of_options(CHAT_OPTIONS, FLAGS, words, word[0])
        return {
            "completions": [
                SimpleCompletion(text, type=help)
                for text, help in completions
                if text.startswith(word[0])
            ],
            "matched_fragment": word[0],
            "suppress": True,
            "ordered": True,
        }

    def _mlx(self, words: Sequence[str], word: str) -> Iterable[Completion]:
        """Return the subcommands; after one, the models that it takes and its options."""
        if not words:
            return _SUBCOMMANDS
        options = COMMAND_OPTIONS.get(words[0], {})
        if words[0] == "connect" and words[-1] == "--print":
            return [(name, "program") for name in CLIENT_CONFIGURATIONS]
        if words == ["connect"] and not word.startswith("-"):
            return _servers()
        if word.startswith("-") or words[0] not in TAKE_A_MODEL:
            return options.items()
        if words[-1] == "--adapter":
            return _adapters(words[1])
        return [*_models(to_download=words[0] in ("load", "pull", "show")), *options.items()]

    def _of_options(
        self, options: Mapping[str, str], flags: Collection[str], words: Sequence[str], word: str
    ) -> Iterable[Completion]:
        """Return the options, or the values of the option before the cursor."""
        if word.startswith("-"):
            return options.items()
        option = _option_before(words, flags)
        match option:
            case "-m" | "--model":
                return _models(to_download=False)
            case "--tools":
                return [*self._variables(_is_function, "function"), ("none", "no tools")]
            case "--schema":
                return self._variables(_is_class, "class")
            case "--image":
                sounds = self._variables(is_sound, "sound")
                return [*self._variables(is_image, "image"), *sounds, *_image_files(word)]
            case "--thread":
                return [(name, "conversation") for name in self._threads if name]
        return [] if option else options.items()

    def _variables(self, matches: Any, kind: str) -> list[Completion]:
        names = self._shell.user_ns.items()
        hidden = self._shell.user_ns_hidden
        return [
            (name, kind)
            for name, value in list(names)
            if not name.startswith("_") and name not in hidden and matches(value)
        ]


def _option_before(words: Sequence[str], flags: Collection[str]) -> str | None:
    """Return the option whose value is being written, if any."""
    last = words[-1] if words else ""
    # `--tools add, weather` has spaces between its values.
    if last.endswith(",") and len(words) > 1:
        last = words[-2]
    return last if last.startswith("-") and last not in flags else None


def _models(*, to_download: bool) -> list[Completion]:
    """Return the models on this machine, then those available to download."""
    try:
        models = model_commands.catalog(connection.connect())
    except NotebookError:
        return []
    models = sorted(models, key=lambda model: bool(model["state"] == "downloadable"))
    return [
        (name, model_state_name(model["state"]))
        for model in models
        if to_download or model["state"] != "downloadable"
        for name in (model["id"], *model["aliases"])
    ]


def _adapters(model: str) -> list[Completion]:
    try:
        names = model_commands.adapters(connection.connect(), model)
    except NotebookError:
        return []
    return [(name, "adapter") for name in names]


def _servers() -> list[Completion]:
    """Return the servers that the user has connected to."""
    try:
        return [(server.name, server.url) for server in known_servers.read().servers]
    except NotebookError:
        return []


def _image_files(word: str) -> list[Completion]:
    """Return the image files and folders whose path begins with `word`."""
    head, slash, _ = word.rpartition("/")
    folder = Path(f"{head}{slash}" or ".").expanduser()
    try:
        entries = sorted(folder.iterdir())[:_MAX_FILES]
    except OSError:
        return []
    return [
        (f"{head}{slash}{entry.name}{'/' if entry.is_dir() else ''}", "file")
        for entry in entries
        if not entry.name.startswith(".") and (entry.is_dir() or entry.suffix.lower() in _IMAGES)
    ]


def _is_function(value: Any) -> bool:
    return isinstance(value, FunctionType) and value.__module__ == "__main__"


def _is_class(value: Any) -> bool:
    return (
        isinstance(value, type)
        and value.__module__ == "__main__"
        and not issubclass(value, BaseException)
    )


def _is_table(value: Any) -> bool:
    return from_library(value, "pandas", "polars") or isinstance(value, list)


def _options(help: str) -> dict[str, str]:
    """Return every option of a magic with the first words of its help."""
    return {
        name: found["text"].partition(";")[0].partition(":")[0]
        for found in _HELP.finditer(help)
        for name in found["names"].split(", ")
        if name.startswith("--")
    }


CHAT_OPTIONS, MAP_OPTIONS = _options(CHAT_HELP), _options(MAP_HELP)
_SUBCOMMANDS = [
    (name, text.partition(";")[0])
    for usage, text in COMMANDS.items()
    for name in re.findall(r"(?:^|, )(\w+)", usage)
]
