"""What `map` asks about a row: one prompt, answered by a chat model."""

from collections.abc import Sequence
from typing import Any

from mlx_notebook.notebook.chat.chat import AsyncChat
from mlx_notebook.notebook.chat.conversation import user_message
from mlx_notebook.notebook.chat.request_settings import request_settings
from mlx_notebook.notebook.connection import clients
from mlx_notebook.notebook.errors import NotebookError, NotParsed
from mlx_notebook.notebook.schemas.reply_schema import parsed, response_format
from mlx_notebook.notebook.server.server import Server
from mlx_notebook.notebook.tables.answer_cache import AnswerCache
from mlx_notebook.notebook.tables.row_loop import RowAnswer, RowRequest
from mlx_notebook.notebook.tools.tool import Tools, tools_by_name

_USED = ("tokens", "answer_tokens", "seconds")


class RowChat:
    """Asks a chat model about rows, one request for each.

    Parameters
    ----------
    server, model
        Who answers.
    system, schema, tools, settings
        As for `Chat`, the same for all rows.

    Attributes
    ----------
    format
        The format of the answers; None without a schema.

    Raises
    ------
    NotebookError
        If a setting, the schema or a tool cannot be used.
    """

    together = 1

    def __init__(
        self,
        server: Server,
        model: str,
        *,
        system: str | None,
        schema: Any,
        tools: Tools | None,
        settings: dict[str, Any],
    ) -> None:
        settings = request_settings(settings, "map")
        self._server, self._model, self._system, self._schema = server, model, system, schema
        self._tools = tools_by_name(tools) if tools is not None else {}
        self._settings = settings
        self.format = response_format(schema) if schema is not None else None
        self._client: Any = clients.async_client_of(server, max_retries=0, timeout=None)
        described = [self._tools[name].definition for name in sorted(self._tools)]
        # `temperature=0` and `temperature=0.0` ask the same.
        same = {
            name: int(value) if isinstance(value, float) and value.is_integer() else value
            for name, value in settings.items()
        }
        self._same = (model, system, self.format, described, same)

    def key(self, request: RowRequest) -> str:
        """Return the key of a row's answer, from everything that it depends on."""
        seed = () if request.seed is None else (request.seed,)
        return AnswerCache.key(*self._same, user_message(request.prompt, request.images), *seed)

    def kept(self, answer: RowAnswer) -> dict[str, Any]:
        """Return an answer as JSON values."""
        return {"text": answer.text, **{name: getattr(answer, name) for name in _USED}}

    def recalled(self, kept: dict[str, Any]) -> RowAnswer:
        """Return the answer that `kept` describes."""
        return self._of(kept["text"], **{name: kept[name] for name in _USED if name in kept})

    def is_final(self, error: NotebookError) -> bool:
        """Whether a failure would be the same again."""
        return isinstance(error, NotParsed) and self._settings.get("temperature") == 0

    async def ask(self, requests: Sequence[RowRequest], attempt: int) -> list[RowAnswer]:
        """Ask about one row."""
        (request,) = requests
        settings = dict(self._settings)
        if request.seed is not None:
            settings["seed"] = request.seed
        if attempt and "seed" in settings:  # the same seed would give the same answer
            settings["seed"] += attempt
        if self._tools:
            return [await self._ask_with_tools(request, settings)]
        message = user_message(request.prompt, request.images)
        system = [{"role": "system", "content": self._system}] if self._system else []
        if self.format is not None:
            settings["response_format"] = self.format
        with clients.translated_errors(self._server):
            completion = await self._client.chat.completions.create(
                model=self._model, messages=[*system, message], **settings
            )
        text, usage = completion.choices[0].message.content or "", completion.usage
        if usage is None:
            return [self._of(text)]
        return [self._of(text, tokens=usage.total_tokens, answer_tokens=usage.completion_tokens)]

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _ask_with_tools(self, request: RowRequest, settings: dict[str, Any]) -> RowAnswer:
        chat = AsyncChat(self._model, self._system, list(self._tools.values()), **settings)
        answer = await chat.ask(request.prompt, images=request.images, schema=self._schema)
        if answer.outcome == "paused":
            raise NotebookError("A tool call of this row needs an approval: map cannot ask.")
        written = answer.completion_tokens or 0
        tokens = (answer.prompt_tokens or 0) + written
        return self._of(answer.text, tokens=tokens, answer_tokens=written)

    def _of(self, text: str, **used: Any) -> RowAnswer:
        value = parsed(text, self._schema) if self._schema is not None else None
        return RowAnswer(text, value, **used)
