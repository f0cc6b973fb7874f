"""`%%chat`, `%chat` and `%mlx`: talking to the model, and to the server, from cells."""

import importlib
import re
import threading
from typing import Any

from IPython.core.magic import Magics, line_cell_magic, line_magic, magics_class, no_var_expand

from mlx_notebook.notebook import connection
from mlx_notebook.notebook.chat import Chat
from mlx_notebook.notebook.commands import COMMANDS, complete, describe, run
from mlx_notebook.notebook.errors import BadMagic, Interrupted, NotebookError
from mlx_notebook.notebook.options import CHAT_HELP, ChatOptions
from mlx_notebook.notebook.templates import fill
from mlx_notebook.notebook.tools import toolbox


@magics_class
class MlxMagics(Magics):
    """The magics of one shell, and the one conversation that they carry on."""

    shell: Any

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        self.conversation = Chat()
        self._tools: list[str] = []

    @no_var_expand
    @line_cell_magic
    def chat(self, line: str, cell: str | None = None) -> None:
        """Doc: see `CHAT_HELP`."""
        shell, chat = self.shell, self.conversation
        options = ChatOptions.parse(line, is_line=cell is None)
        prompt = fill(options.prompt if cell is None else cell, shell.ev).strip()
        if not prompt:
            raise BadMagic("There is nothing to say: write the prompt below the %%chat line.")
        model, system, before = chat.model, chat.system, chat.last
        if options.model is not None:
            chat.model = fill(options.model, shell.ev)
        if options.system is not None:
            chat.system = fill(options.system, shell.ev)
        names = self._tools if options.tools is None else options.tools
        chat.tools = toolbox([self._function(name) for name in names])
        self._tools = names
        try:
            chat.ask(prompt, show=True, **options.settings())
        except NotebookError:
            # A model that does not exist must not stay the conversation's.
            chat.model, chat.system = model, system
            raise
        except Interrupted:
            raise
        except KeyboardInterrupt:
            # It struck before the question was on its way, or while the answer's end was shown.
            raise Interrupted("stopped.") from None
        finally:
            if options.var is not None and chat.last is not None and chat.last is not before:
                shell.user_ns[options.var] = chat.last.text

    def _function(self, name: str) -> Any:
        """Give the function that a name of `--tools` means now: cells may have changed it."""
        try:
            return self.shell.ev(name)
        except Exception as error:
            raise BadMagic(
                f"--tools: {name} is no function of this notebook "
                f"({type(error).__name__}: {error})."
            ) from None

    @no_var_expand
    @line_magic
    def mlx(self, line: str) -> None:
        """Doc: see `commands`."""
        run(fill(line, self.shell.ev), self.conversation)


MlxMagics.chat.__doc__ = CHAT_HELP
MlxMagics.mlx.__doc__ = "Ask and steer the model server.\n\n" + "\n".join(
    f"%mlx {name:<12} {text}" for name, text in COMMANDS.items()
)


def keep_questions(lines: list[str]) -> list[str]:
    """Keep `%chat What is this?` a question: IPython takes a final `?` for a wish for help."""
    if lines and lines[0].startswith("%%"):
        return lines
    return [_QUESTION.sub(_call, line) for line in lines]


_QUESTION = re.compile(r"^(?P<indent>\s*)%chat[ \t]+(?P<text>\S.*\?)\s*$")


def _call(match: re.Match[str]) -> str:
    return f"{match['indent']}get_ipython().run_line_magic('chat', {match['text']!r})\n"


def load(shell: Any) -> None:
    """Register the magics, connect, and say in one line to what.

    Where there is no server yet the line says why; the next cell looks again.
    """
    shell.register_magics(MlxMagics(shell))
    if keep_questions not in shell.input_transformers_cleanup:
        shell.input_transformers_cleanup.append(keep_questions)
    shell.set_hook("complete_command", complete, str_key="%mlx")
    # So that the first answer need not wait for it.
    threading.Thread(
        target=importlib.import_module, args=("openai",), name="import openai", daemon=True
    ).start()
    try:
        print(describe(connection.connect()))
    except NotebookError as error:
        print(f"mlx_notebook: {error}")


def unload(shell: Any) -> None:
    """Take the magics away and end a private server."""
    for kind in ("line", "cell"):
        for name in ("chat", "mlx"):
            shell.magics_manager.magics[kind].pop(name, None)
    if keep_questions in shell.input_transformers_cleanup:
        shell.input_transformers_cleanup.remove(keep_questions)
    shell.strdispatchers["complete_command"].strs.pop("%mlx", None)
    connection.disconnect()
