"""What `Chat` and `AsyncChat` share: the conversation and its settings, and how it is saved."""

import copy
import json
import os
import warnings
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from mlx_notebook.notebook import signing
from mlx_notebook.notebook.answers.answer import Answer
from mlx_notebook.notebook.answers.tool_call import pending
from mlx_notebook.notebook.chat import saved_chat
from mlx_notebook.notebook.chat.request_settings import request_settings
from mlx_notebook.notebook.chat.turn import Message, Turn
from mlx_notebook.notebook.chat.usage import Usage
from mlx_notebook.notebook.connection import connection
from mlx_notebook.notebook.errors import NotebookError
from mlx_notebook.notebook.human_units import plural
from mlx_notebook.notebook.inputs.attachments import content_part
from mlx_notebook.notebook.recording import replayer
from mlx_notebook.notebook.schemas.reply_schema import response_format
from mlx_notebook.notebook.server import notebook_model
from mlx_notebook.notebook.server.server import Server
from mlx_notebook.notebook.tools.tool import Tools, tools_by_name
from mlx_notebook.notebook.tools.tool_runner import Approve, Hook, ToolRunner


class Conversation:
    """A conversation and its settings.

    Parameters
    ----------
    model
        Name of the model. `None` stands for the notebook's model, which `%load_ext` prints and
        `%mlx load` changes.
    system
        The system message.
    tools
        What the model may call: functions (decorated with `tool` or not) and MCP servers.
    max_steps
        The most requests in one turn. If the model asks for more tool calls then, they are not made
        and the answer is `paused`; `resume` continues it.
    before_call
        A function, which may be async. It gets each `ToolCall` with valid arguments before the call
        is made. It returns `None` to make the call, a dict of arguments to use instead, or `False`
        or a reason (a `str`, which the model gets) to refuse it. It may raise `Pause`.
    approve
        Which tool calls the user must approve: `True` for all, or names of tools. The question
        appears in the cell (yes, no, always). If nobody can answer it, the answer is `paused`. A
        function decides in place of the user. It may be async. It gets the `ToolCall` and returns
        `True` to allow it, `"always"` to allow this tool from now on, or what `before_call` may
        return.
    settings
        Other parameters of the chat completions endpoint for every turn, such as `temperature`,
        `max_tokens`, `seed` or `top_k`. The model and the server choose those that are left out.

    Attributes
    ----------
    messages
        The conversation as OpenAI's messages, without the system message. It holds only what is
        final. A prompt that failed is not in it. An interrupted answer is in it as far as it came.
        A turn that was stopped during its tool calls can be resumed.
    last
        The latest `Answer`, also if it was interrupted.
    usage
        Requests and tokens so far.
    untrusted_calls
        Ids of tool calls from files that this user did not write on this machine. The user is asked
        before they are made, whatever `approve` says, unless `approve` is a function.
    """

    def __init__(
        self,
        model: str | None = None,
        system: str | None = None,
        tools: Tools = (),
        *,
        max_steps: int = 20,
        before_call: Hook | None = None,
        approve: Approve = False,
        **settings: Any,
    ) -> None:
        self.model = model
        self.system = system
        self.tools = tools_by_name(tools)
        self.max_steps = max_steps
        self.before_call = before_call
        self._approve = approve
        self.settings = settings
        self.messages: list[Message] = []
        self.last: Answer | None = None
        self.usage = Usage()
        self.untrusted_calls: set[str] = set()
        self._allowed: set[str] = set()
        # The message of an answer whose connection was lost.
        self.cut_off: Message | None = None

    def __repr__(self) -> str:
        tools = f", may call {', '.join(self.tools)}" if self.tools else ""
        model = self.model or connection.default_model() or "no model yet"
        return (
            f"<{type(self).__name__} with {model}: {plural(len(self.messages), 'message')}{tools}>"
        )

    @property
    def doubtful(self) -> set[str]:
        """The former name of `untrusted_calls`."""
        warnings.warn(
            "`doubtful` is now called `untrusted_calls`.", DeprecationWarning, stacklevel=2
        )
        return self.untrusted_calls

    @property
    def approve(self) -> Approve:
        """Which calls the person must allow; setting it takes back every "always"."""
        return self._approve

    @approve.setter
    def approve(self, approve: Approve) -> None:
        """Which tool calls the user must approve. Setting it revokes every "always"."""
        self._approve = approve
        self._allowed = set()

    def reset(self, *, system: bool = False) -> None:
        """Delete the messages and keep the settings.

        Parameters
        ----------
        system
            Whether to delete the system message too.
        """
        if system:
            self.system = None
        self.messages = []
        self.last = None
        self.usage = Usage()
        self.untrusted_calls = set()

    @property
    def unfinished(self) -> bool:
        """Whether the last turn was stopped during its tool calls, or lost its connection.

        `resume` continues it.
        """
        if not self.messages:
            return False
        if self.messages[-1] is self.cut_off:
            return True
        return self.messages[-1]["role"] == "tool" or bool(pending(self.messages))

    def fork(self, at: int | None = None) -> Self:
        """Return a copy of the conversation that continues independently.

        The server has cached the common messages, so the copy's next answer starts as fast as this
        one's would (see `Answer.cached_tokens`).

        Parameters
        ----------
        at
            How many of `messages` to copy; negative counts from the end. All by default.

        Returns
        -------
        Chat or AsyncChat
            The copy.
        """
        other = copy.copy(self)
        other.settings = dict(self.settings)
        other.messages = copy.deepcopy(self.messages[:at])
        other.untrusted_calls = set(self.untrusted_calls)
        other._allowed = set(self._allowed)
        was_cut = at is None and self.messages and self.messages[-1] is self.cut_off
        other.cut_off = other.messages[-1] if was_cut else None
        other.last = None
        other.usage = Usage()
        return other

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the messages, model, system message and settings to a JSON file.

        Tools are functions and are not saved.

        Parameters
        ----------
        path
            The file. It is overwritten.

        Raises
        ------
        NotebookError
            If a setting cannot be written as JSON.
        """
        kept = {
            "format": saved_chat.FORMAT,
            "model": self.model,
            "system": self.system,
            "settings": self.settings,
            "usage": asdict(self.usage),
            "messages": self.messages,
        }
        try:
            text = json.dumps(kept, ensure_ascii=False, indent=1)
        except (TypeError, ValueError) as error:
            raise NotebookError(f"The chat cannot be saved as JSON: {error}.") from None
        waiting = {call.id for call in pending(self.messages)}
        # Signing the file would make its untrusted tool calls trusted.
        text = text + "\n" if waiting & self.untrusted_calls else signing.signed(text)
        Path(path).write_text(text, encoding="utf-8")

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        tools: Tools = (),
        *,
        trust: bool = False,
        **options: Any,
    ) -> Self:
        """Read a conversation that `save` wrote.

        Parameters
        ----------
        path
            The file.
        tools
            As for a new conversation.
        trust
            Whether to make the tool calls that wait in the file without asking. By default,
            `resume` asks if this user did not write the file on this machine or it was changed
            since.
        options
            Other parameters of a new conversation, in place of the saved ones.

        Returns
        -------
        Chat or AsyncChat
            The conversation.

        Raises
        ------
        NotebookError
            If the file cannot be read or is not a saved chat.
        """
        saved, is_ours = saved_chat.read(Path(path))
        options = {"model": saved.model, "system": saved.system, **options}
        chat = cls(tools=tools, **options)
        chat.settings = {**saved.settings, **chat.settings}
        chat.messages = saved.messages
        chat.usage = Usage(**saved.usage)
        if not (is_ours or trust):
            chat.untrusted_calls = {call.id for call in pending(chat.messages)}
        return chat

    def _begin_turn(
        self,
        prompt: str | None,
        images: Iterable[Any],
        tools: Tools | None,
        schema: Any,
        settings: dict[str, Any],
    ) -> tuple[Server, Turn, ToolRunner]:
        """Connect to the server and prepare one turn."""
        pages, model = settings.pop("pages", None), settings.pop("model", None)
        always, settings = (request_settings(one, "Chat") for one in (self.settings, settings))
        message = None if prompt is None else user_message(prompt, images, pages)
        if message is None and not self.unfinished:
            raise NotebookError("There is nothing to resume: the last turn is complete.")
        turn_tools = self.tools if tools is None else tools_by_name(tools)
        if turn_tools:
            settings = {"tools": [tool.definition for tool in turn_tools.values()], **settings}
        if schema is not None:
            settings = {"response_format": response_format(schema), **settings}
        server = connection.connect()
        self._print_notice()
        model = model or self.model or connection.default_model()
        if model is None:
            raise NotebookError(
                "The server has no default model: `%mlx models` lists what there is, "
                "`%mlx load NAME` loads one."
            )
        is_remote = server.may_be_remote and not replayer.is_replayed()
        answer = Answer(model, schema=schema, crosses_network=is_remote)
        # Merge both: the turn's setting must not remove the chat's other ones.
        extra = {**always.get("extra_body", {}), **settings.pop("extra_body", {})}
        settings = {**always, **settings, **({"extra_body": extra} if extra else {})}
        turn = Turn(self, message, answer, settings)
        return (
            server,
            turn,
            ToolRunner(
                turn_tools, self.before_call, self.approve, self._allowed, self.untrusted_calls
            ),
        )

    def _print_notice(self) -> None:
        """Print that another model answers than before, if nobody in the notebook chose it."""
        if notice := notebook_model.take_notice():
            print(notice)

    def _accepts_images(self, server: Server, model: str) -> bool:
        """Return whether the model accepts images; asks the server only if a tool returned one."""
        if all(isinstance(m["content"], str) for m in self.messages if m["role"] == "tool"):
            return False
        return "vision" in server.get(f"v1/models/{quote(model)}")["capabilities"]


def user_message(prompt: str, images: Iterable[Any], pages: str | None = None) -> Message:
    """Return a user's message with images, PDFs, videos and sounds, in OpenAI's format.

    Raises
    ------
    NotebookError
        If one of them cannot be read, or `pages` is given without a PDF.
    """
    if isinstance(images, str | bytes) or not isinstance(images, Iterable):
        images = [images]
    parts = [content_part(image, pages) for image in images]
    if pages is not None and not any(part["type"] == "file" for part in parts):
        raise NotebookError(f"There is no PDF whose pages {pages!r} could be shown.")
    if not parts:
        return {"role": "user", "content": prompt}
    return {"role": "user", "content": [*parts, {"type": "text", "text": prompt}]}
