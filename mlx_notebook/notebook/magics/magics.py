"""The magics `%%chat`, `%chat`, `%%map` and `%mlx`."""

import importlib
import re
import threading
from pathlib import Path
from typing import Any

from IPython.core.magic import (
    Magics,
    cell_magic,
    line_cell_magic,
    line_magic,
    magics_class,
    no_var_expand,
)

from mlx_notebook.notebook.answers.answer import Answer
from mlx_notebook.notebook.answers.code_blocks import extract_code
from mlx_notebook.notebook.chat.chat import Chat
from mlx_notebook.notebook.connection import connection
from mlx_notebook.notebook.errors import BadMagic, Interrupted, NotebookError
from mlx_notebook.notebook.inputs.attachments import is_sound
from mlx_notebook.notebook.inputs.images import is_image
from mlx_notebook.notebook.inputs.prompt_templates import fill
from mlx_notebook.notebook.magics.chat_options import CHAT_HELP, ChatOptions
from mlx_notebook.notebook.magics.greeting import greeting
from mlx_notebook.notebook.magics.map_options import MAP_HELP, MapOptions
from mlx_notebook.notebook.magics.subcommands.commands import COMMANDS, run
from mlx_notebook.notebook.magics.tab_completion import IDENTIFIER, MagicsCompleter
from mlx_notebook.notebook.rendering.cell_renderer import AnswerRenderer, choose_renderer
from mlx_notebook.notebook.rendering.text_renderers import RawRenderer, TerminalRenderer
from mlx_notebook.notebook.tools.tool import tools_by_name

# For an option whose value the notebook does not have.
_MISSING = {
    "--image": "neither a variable nor a file",
    "--schema": "not a class in this notebook",
    "--tools": "not a function in this notebook",
}


@magics_class
class MlxMagics(Magics):
    """The magics of one shell, and their conversations."""

    shell: Any

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        self.conversation = Chat()
        self.threads: dict[str, Chat] = {"": self.conversation}
        self._tools: dict[str, list[str]] = {}

    def thread(self, name: str) -> Chat:
        """Return the conversation of a thread; a new one has the model of the unnamed thread."""
        if name not in self.threads:
            self.threads[name] = Chat(self.conversation.model)
        return self.threads[name]

    @no_var_expand
    @line_cell_magic
    def chat(self, line: str, cell: str | None = None) -> Any:
        """Run a `%%chat` cell or a `%chat` line. `CHAT_HELP` replaces this text."""
        shell = self.shell
        options = ChatOptions.parse(line, is_line=cell is None)
        thread = options.thread or ""
        chat = self.thread(thread)
        images = [self._image(written) for written in options.image]
        prompt = self._prompt(options.prompt if cell is None else cell, images)
        if options.resume and (prompt or images):
            raise BadMagic("--resume continues the last answer and takes no prompt.")
        if not prompt and not options.resume:
            raise BadMagic("The prompt is empty: write it below the %%chat line.")
        schema = None if options.schema is None else self._value(options.schema, "--schema")
        names = options.tools if options.tools is not None else self._tools.get(thread, [])
        tools = tools_by_name([self._value(name, "--tools") for name in names])
        if options.new:
            chat.reset(system=True)
        kept, before = (chat.model, chat.system, chat.tools), chat.last
        names_before = self._tools.get(thread, [])
        shown = _renderer(options)
        try:
            chat.tools, self._tools[thread] = tools, names
            if options.model is not None:
                chat.model = fill(options.model, shell.ev)
            if options.system is not None:
                chat.system = fill(options.system, shell.ev) or None
            if options.resume:
                answer = chat.resume(show=shown, **options.settings())
            else:
                settings = options.settings()
                answer = chat.ask(prompt, images=images, schema=schema, show=shown, **settings)
        except NotebookError:
            # The conversation must not keep a model that does not exist.
            if not chat.unfinished:
                chat.model, chat.system, chat.tools = kept
                self._tools[thread] = names_before
            raise
        except Interrupted:
            raise
        except KeyboardInterrupt:
            # The interrupt came before the request or after the answer.
            raise Interrupted("stopped.") from None
        finally:
            if options.var is not None and chat.last is not None and chat.last is not before:
                shell.user_ns[options.var] = chat.last.text
        return self._outcome(answer, options)

    def _outcome(self, answer: Answer, options: ChatOptions) -> Any:
        """Use the complete answer as the options ask, and return the value of the cell."""
        if answer.outcome != "complete":
            return None
        if options.format == "code":
            self.shell.set_next_input(extract_code(answer.text), replace=False)
        if options.schema is None and options.format != "json":
            return None
        value = answer.parsed
        if options.var is not None:
            self.shell.user_ns[options.var] = value
            return None
        return value if options.schema is not None else None

    def _prompt(self, written: str, images: list[Any]) -> str:
        """Fill in a prompt.

        An image or a sound among its values is added to `images` and named by its number.
        """

        def evaluate(expression: str) -> Any:
            value = self.shell.ev(expression)
            heard = is_sound(value)
            if not heard and not is_image(value):
                return value
            images.append(value)
            return f"({'sound' if heard else 'image'} {len(images)})"

        return fill(written, evaluate).strip()

    def _image(self, written: str) -> Any:
        """Return the image of an `--image` option: the value of an expression, or a path."""
        if not written.isidentifier() and Path(written).is_file():
            return Path(written)
        return self._value(written, "--image")

    def _value(self, written: str, option: str, *, of: str = "") -> Any:
        """Evaluate the expression of an option, or of something else of the magic `of`."""
        option = f"{of} {option}".strip()
        try:
            return self.shell.ev(written)
        except Exception as error:
            if isinstance(error, NameError) and written.isidentifier():
                missing = _MISSING.get(option, "not a variable in this notebook")
                raise BadMagic(f"{option}: {written!r} is {missing}.") from None
            raise BadMagic(
                f"{option}: {written!r} cannot be evaluated: {type(error).__name__}: {error}."
            ) from None

    @no_var_expand
    @cell_magic
    def map(self, line: str, cell: str) -> Any:
        """Run a `%%map` cell. `MAP_HELP` replaces this text."""
        from mlx_notebook.notebook.tables import table_map

        options = MapOptions.parse(line)
        if not cell.strip():
            raise BadMagic("The prompt is empty: write it below the %%map line.")
        data = self._value(options.data, "data", of="%%map")
        schema = None if options.schema is None else self._value(options.schema, "--schema")
        tools = [self._value(name, "--tools") for name in options.tools or ()]
        made = table_map.map(
            data,
            cell.strip(),
            schema=schema,
            model=None if options.model is None else fill(options.model, self.shell.ev),
            system=None if options.system is None else fill(options.system, self.shell.ev),
            tools=tools or None,
            images=options.images,
            cache=options.cache,
            retry=options.retry,
            details=options.details,
            **options.settings(),
        )
        if options.var is None:
            return made
        self.shell.user_ns[options.var] = made
        return None

    @no_var_expand
    @line_magic
    def mlx(self, line: str) -> None:
        """Run a `%mlx` line. The list of subcommands replaces this text."""
        run(fill(line, self.shell.ev), self.conversation)


def _renderer(options: ChatOptions) -> AnswerRenderer:
    match options.format:
        case "text":
            return TerminalRenderer()
        case "raw":
            return RawRenderer(keep_control=options.keep_control)
    is_json = options.format == "json" or options.schema is not None
    return choose_renderer(language="json" if is_json else None)


def conversation(thread: str = "") -> Chat:
    """Return the conversation of the notebook's `%%chat` cells, or of a `--thread`.

    Parameters
    ----------
    thread
        Name of the thread; empty for cells without `--thread`.

    Returns
    -------
    Chat
        The conversation.

    Raises
    ------
    NotebookError
        If the extension is not loaded.

    Examples
    --------
    >>> mlx_notebook.conversation().messages[-1]["content"]
    """
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    magics = shell.magics_manager.registry.get("MlxMagics") if shell is not None else None
    if not isinstance(magics, MlxMagics):
        raise NotebookError("%%chat is not loaded: run %load_ext mlx_notebook first.")
    return magics.thread(thread)


def store_error(result: Any) -> None:
    """Store the exception of a cell as `_error`, for `{{ _error }}` in a prompt."""
    error = result.error_in_exec or result.error_before_exec if result is not None else None
    if error is None or isinstance(error, NotebookError | KeyboardInterrupt):
        return  # errors of the magics explain themselves
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    if shell is not None:
        shell.user_ns["_error"] = error
        shell.user_ns_hidden["_error"] = error


MlxMagics.chat.__doc__ = CHAT_HELP
MlxMagics.map.__doc__ = MAP_HELP
MlxMagics.mlx.__doc__ = "Control the model server.\n\n" + "\n".join(
    f"%mlx {name:<50} {text}" for name, text in COMMANDS.items()
)


def protect_questions(lines: list[str]) -> list[str]:
    """Keep `%chat What is this?` a prompt: IPython reads a final `?` as a request for help.

    The same holds for the text of `%mlx tokens`.
    """
    if lines and lines[0].startswith("%%"):
        return lines
    return [_QUESTION.sub(_call, line) for line in lines]


_QUESTION = re.compile(
    r"^(?P<indent>\s*)%(?P<magic>chat(?=[ \t])|mlx(?=[ \t]+tokens[ \t]))[ \t]+"
    r"(?P<text>\S.*\?)\s*$"
)


def _call(match: re.Match[str]) -> str:
    return f"{match['indent']}get_ipython().run_line_magic({match['magic']!r}, {match['text']!r})\n"


def register(shell: Any) -> None:
    """Register the magics, connect to the server, and print which one.

    If there is no server yet, print why. The next cell looks again.
    """
    magics = MlxMagics(shell)
    shell.register_magics(magics)
    if protect_questions not in shell.input_transformers_cleanup:
        shell.input_transformers_cleanup.append(protect_questions)
    _stop_completing(shell)
    shell.Completer.custom_matchers.append(MagicsCompleter(shell, magics.threads).matcher)
    if store_error not in shell.events.callbacks["post_run_cell"]:
        shell.events.register("post_run_cell", store_error)
    # The first answer then need not wait for it.
    threading.Thread(
        target=importlib.import_module, args=("openai",), name="import openai", daemon=True
    ).start()
    try:
        print(greeting(connection.connect()))
    except NotebookError as error:
        print(f"mlx_notebook: {error}")


def unregister(shell: Any) -> None:
    """Remove the magics and stop a private server."""
    for kind in ("line", "cell"):
        for name in ("chat", "map", "mlx"):
            shell.magics_manager.magics[kind].pop(name, None)
    if protect_questions in shell.input_transformers_cleanup:
        shell.input_transformers_cleanup.remove(protect_questions)
    _stop_completing(shell)
    if store_error in shell.events.callbacks["post_run_cell"]:
        shell.events.unregister("post_run_cell", store_error)
    connection.disconnect()


def _stop_completing(shell: Any) -> None:
    matchers = shell.Completer.custom_matchers
    matchers[:] = [m for m in matchers if getattr(m, "matcher_identifier", "") != IDENTIFIER]
