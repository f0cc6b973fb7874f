"""The subcommands of `%mlx` about tokens: those of a text, and of the last prompt."""

from collections.abc import Sequence
from urllib.parse import quote

from mlx_notebook.notebook.chat.chat import Chat
from mlx_notebook.notebook.connection import connection
from mlx_notebook.notebook.errors import BadMagic
from mlx_notebook.notebook.human_units import plural
from mlx_notebook.notebook.probabilities.look_inside import tokenize
from mlx_notebook.notebook.probabilities.scored_tokens import PromptToken
from mlx_notebook.notebook.probabilities.token_html import prompt_html
from mlx_notebook.notebook.shell import shows_rich_output


def tokens(line: str, chat: Chat) -> None:
    """Show the tokens of a text."""
    if not line:
        raise BadMagic("%mlx tokens needs a text: `%mlx tokens How many tokens is this?`")
    found = tokenize(connection.connect(), chat.model, content=line)
    _show(found, "Text")


def prompt(line: str, chat: Chat) -> None:
    """Show the prompt of the last answer as the model got it."""
    if line:
        raise BadMagic("%mlx prompt takes no arguments. It shows the prompt of the last answer.")
    reply = chat.last.replies[-1] if chat.last is not None and chat.last.replies else None
    if reply is None or reply.id is None:
        raise BadMagic("There is no answer yet: ask something with `%chat` first.")
    server = connection.connect()
    trace = server.get(f"mlx/traces/{quote(reply.id, safe='')}")
    text = trace["prompt"]
    if not isinstance(text, str):
        raise BadMagic(f"The prompt of {trace['model']} is not known here: an upstream renders it.")
    cached = (trace["usage"] or {}).get("cached_tokens", 0)
    _show(tokenize(server, trace["model"], content=text, cached=cached), "Prompt")


def _show(found: Sequence[PromptToken], title: str) -> None:
    cached = sum(token.is_cached for token in found)
    from_cache = f", {cached} of them from the prefix cache" if cached else ""
    text = "|".join(token.text for token in found)
    text = f"{text}\n{plural(len(found), 'token')}{from_cache}"
    if not shows_rich_output():
        print(text)
        return
    from IPython.display import display

    shown = {"text/plain": text, "text/html": prompt_html(found, title)}
    display(shown, raw=True)  # type: ignore[no-untyped-call]
