"""What `Chat` and `AsyncChat` share: the conversation itself, and how it is kept."""

import copy
import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from mlx_notebook.notebook import signing
from mlx_notebook.notebook.answers.answer import Answer
from mlx_notebook.notebook.answers.tool_call import pending
from mlx_notebook.notebook.chat import saved_chat
from mlx_notebook.notebook.chat.turn import Message, Turn
from mlx_notebook.notebook.chat.usage import Usage
from mlx_notebook.notebook.connection import connection
from mlx_notebook.notebook.errors import NotebookError
from mlx_notebook.notebook.human_units import plural
from mlx_notebook.notebook.inputs.images import EncodedImage
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
        Name of the model; `None` takes the notebook's, which `%load_ext` tells and `%mlx load`
        chooses.
    system
        Instructions that stand before the conversation.
    tools
        What the model may call: functions (with `tool` or as they are), MCP servers.
    max_steps
        The most requests in one turn. Where the model still wants calls then, the answer is
        `paused`, the calls are not made, and `resume` goes on.
    before_call
        Called with each `ToolCall` whose arguments are valid, before it is made; may be async.
        It returns `None` to let it be made, a dict of arguments to use instead, `False` or a
        reason (`str`) to refuse it, which the model is told; or raises `Pause`.
    approve
        Which calls the person must allow: `True` for all, or names of tools. They are asked in
        the cell (yes, no, always); where nobody can be asked, the answer is `paused`. Or a
        function that decides, which may be async: it takes the `ToolCall` and returns `True` to
        allow it, `"always"` to allow this tool from now on, anything else as `before_call`.
    settings
        Anything else that the chat completions endpoint takes (`temperature`, `max_tokens`,
        `seed`, ...), for every turn. What is left out the model and the server choose.

    Attributes
    ----------
    messages
        The conversation in OpenAI's shape, without the system message. It holds what is done for
        good: a prompt that failed leaves no trace, an interrupted answer stays as far as it came,
        and a turn that was stopped among its tool calls can be resumed.
    last
        The latest `Answer`, also one that was interrupted.
    usage
        Tokens so far.
    doubtful
        Ids of calls from files that this user did not write on this machine: the person is asked
        before they are made, whatever `approve` says, unless it is a function.
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

    def __repr__(self) -> str:
        tools = f", may call {', '.join(self.tools)}" if self.tools else ""
        model = self.model or connection.default_model() or "no model yet"
        return (
            f"<{type(self).__name__} with {model}: {plural(len(self.messages), 'message')}{tools}>"
        )

    @property
    def approve(self) -> Approve:
        """Which calls the person must allow; setting it takes back every "always"."""
        return self._approve

    @approve.setter
    def approve(self, approve: Approve) -> None:
        self._approve = approve
        self._allowed = set()

    def reset(self, *, system: bool = False) -> None:
        """Forget the conversation and keep its settings; with `system` forget that message, too."""
        if system:
            self.system = None
        self.messages = []
        self.last = None
        self.usage = Usage()
        self.untrusted_calls = set()

    @property
    def unfinished(self) -> bool:
        """Whether a turn was stopped among its tool calls, and `resume` would go on with it."""
        if not self.messages:
            return False
        return self.messages[-1]["role"] == "tool" or bool(pending(self.messages))

    def fork(self, at: int | None = None) -> Self:
        """Make a second conversation that goes its own way from here.

        The server has computed what both begin with, so the fork's next answer starts as fast as
        this one's would (`Answer.cached_tokens` shows it).

        Parameters
        ----------
        at
            How many of `messages` it begins with; negative counts from the end. All by default.
        """
        other = copy.copy(self)
        other.settings = dict(self.settings)
        other.messages = copy.deepcopy(self.messages[:at])
        other.untrusted_calls = set(self.untrusted_calls)
        other._allowed = set(self._allowed)
        other.last = None
        other.usage = Usage()
        return other

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the conversation, its model, system message and settings to a JSON file.

        Tools are functions, and are not saved.

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
        # What waits for an answer as a file of others must not become this user's own.
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
        """Read a conversation that `save` wrote; `tools` and `options` are as for a new one.

        Where this user did not write the file on this machine, or it was changed since, `resume`
        asks before it makes a call that waits in it; with `trust` it does not.

        Raises
        ------
        NotebookError
            If the file holds something else.
        """
        kept, is_ours = saved_chat.read(Path(path))
        options = {"model": kept.model, "system": kept.system, **options}
        chat = cls(tools=tools, **options)
        chat.settings = {**kept.settings, **chat.settings}
        chat.messages = kept.messages
        chat.usage = Usage(**kept.usage)
        if not (is_ours or trust):
            chat.untrusted_calls = {call.id for call in pending(chat.messages)}
        return chat

    def _turn(
        self,
        prompt: str | None,
        images: Iterable[Any],
        tools: Tools | None,
        schema: Any,
        settings: dict[str, Any],
    ) -> tuple[Server, Turn, ToolRunner]:
        """Find the server and make ready what one turn needs."""
        message = None if prompt is None else _message(prompt, images)
        if message is None and not self.unfinished:
            raise NotebookError("There is nothing to resume: the last turn is complete.")
        box = self.tools if tools is None else tools_by_name(tools)
        if box:
            settings = {"tools": [tool.definition for tool in box.values()], **settings}
        if schema is not None:
            settings = {"response_format": response_format(schema), **settings}
        server = connection.connect()
        self._announce()
        model = settings.pop("model", None) or self.model or connection.default_model()
        if model is None:
            raise NotebookError(
                "The server has no default model: `%mlx models` lists what there is, "
                "`%mlx load NAME` loads one."
            )
        answer = Answer(model, schema=schema)
        # One turn's wish must not take away what the whole chat passes on beside it.
        extra = {**self.settings.get("extra_body", {}), **settings.pop("extra_body", {})}
        settings = {**self.settings, **settings, **({"extra_body": extra} if extra else {})}
        turn = Turn(self, message, answer, settings)
        return (
            server,
            turn,
            ToolRunner(box, self.before_call, self.approve, self._allowed, self.untrusted_calls),
        )

    def _announce(self) -> None:
        """Say that another model answers than before, where nobody in the notebook chose it."""
        if said := notebook_model.notice():
            print(said)

    def _accepts_images(self, server: Server, model: str) -> bool:
        """Whether the model takes images; asked only where a tool has returned one."""
        if all(isinstance(m["content"], str) for m in self.messages if m["role"] == "tool"):
            return False
        return "vision" in server.get(f"v1/models/{quote(model)}")["capabilities"]


def _message(prompt: str, images: Iterable[Any]) -> Message:
    if isinstance(images, str | bytes) or not isinstance(images, Iterable):
        images = [images]
    parts = [EncodedImage.of(image).part for image in images]
    if not parts:
        return {"role": "user", "content": prompt}
    return {"role": "user", "content": [*parts, {"type": "text", "text": prompt}]}
