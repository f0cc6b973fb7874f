"""List the models of one upstream: the configured ones, or those of its `models` route."""

import asyncio
import time
from collections.abc import Callable
from logging import Logger
from typing import Annotated

import anyio
import msgspec
from msgspec import Meta, Struct

from mlx_notebook.server.errors import ApiError
from mlx_notebook.server.upstreams.upstream_connection import UpstreamConnection
from mlx_notebook.server.upstreams.upstream_settings import CAPABILITIES, UpstreamSettings

_FRESH_SECONDS = 60.0
# A name that is not listed is looked up again, but not at each request.
_AGAIN_SECONDS = 5.0
_LIST_SECONDS = 10.0
_MOST_MODELS = 1000
# What is assumed of a model that nothing is known about.
_ASSUMED = ("chat", "tools")


class UpstreamModel(Struct, frozen=True):
    """A model of an upstream.

    Attributes
    ----------
    name
        Its name there.
    capabilities
        What it can do; None if nobody says.
    context
        Context length in tokens, if the upstream tells it.
    created
        Unix time, 0 if the upstream does not tell it.
    """

    name: str
    capabilities: tuple[str, ...] | None = None
    context: int | None = None
    created: int = 0

    @property
    def shown_capabilities(self) -> tuple[str, ...]:
        """What it can do, as far as it is known or assumed."""
        return _ASSUMED if self.capabilities is None else self.capabilities

    def may(self, capability: str) -> bool:
        """Whether it has a capability. If nobody says, the upstream decides."""
        return self.capabilities is None or capability in self.capabilities


class _Listed(Struct):
    id: Annotated[str, Meta(min_length=1, max_length=400)]
    created: int | float | None = None
    capabilities: list[str] | dict[str, object] | None = None
    # Names that vLLM, OpenRouter, LM Studio and this server have for the same.
    max_model_len: int | None = None
    context_length: int | None = None
    max_context_length: int | None = None
    context_window: int | None = None
    # Of this server: where the model comes from.
    source: str | None = None


class _List(Struct):
    data: list[_Listed]


class UpstreamModels:
    """The models of one upstream, listed again in the background when the list is old.

    Parameters
    ----------
    connection
        Connection to the upstream.
    settings
        Its settings.
    changed
        Called when the list has changed.
    log
        Logger for an upstream that cannot list its models.
    """

    def __init__(
        self,
        connection: UpstreamConnection,
        settings: UpstreamSettings,
        changed: Callable[[], None],
        log: Logger,
    ) -> None:
        self._connection = connection
        self._changed = changed
        self._log = log
        configured = settings.models
        self._configured: dict[str, tuple[str, ...] | None] | None = None
        if configured is not None:
            named = configured if isinstance(configured, dict) else {}
            self._configured = {
                name: tuple(named[name]) if name in named else None for name in configured
            }
        self._models = {
            name: UpstreamModel(name, given) for name, given in (self._configured or {}).items()
        }
        self._listed = float("-inf")
        self._listing: asyncio.Task[None] | None = None
        self._awaited = False
        self._error: ApiError | None = None

    @property
    def problem(self) -> str | None:
        """Why the models could not be listed, None if they could."""
        return self._error.message if self._error is not None else None

    @property
    def known(self) -> dict[str, UpstreamModel]:
        """Models by name, as they were listed last."""
        return self._models

    async def find(self, name: str) -> UpstreamModel | None:
        """Return a model. List the models again if this one is not known.

        Raises
        ------
        ApiError
            If it is not known, and the upstream cannot list its models.
        """
        model = self._models.get(name)
        if model is not None or self._configured is not None:
            return model
        if time.monotonic() - self._listed > _AGAIN_SECONDS:
            await self._list()
        elif self._error is not None:
            raise self._error
        return self._models.get(name)

    async def refresh(self, patience: float) -> None:
        """List the models again in the background, if the list is old.

        Only the first list is awaited, for `patience` seconds at most. So an upstream that hangs
        delays nobody for long.
        """
        if time.monotonic() - self._listed < _FRESH_SECONDS:
            return
        if self._listing is None or self._listing.done():
            self._listing = asyncio.create_task(self._list_in_background())
        if not self._awaited:
            await asyncio.wait([self._listing], timeout=patience)
            self._awaited = True

    def close(self) -> None:
        """Stop listing."""
        if self._listing is not None:
            self._listing.cancel()

    async def _list_in_background(self) -> None:
        try:
            await self._list()
        except ApiError as error:
            self._log.warning("%s", error.message)

    async def _list(self) -> None:
        before = (self._models, self.problem)
        connection = self._connection
        try:
            with anyio.fail_after(_LIST_SECONDS):
                async with connection.answer("GET", "models") as response:
                    body = await connection.body(response)
            self._models = self._merged(_decoded(connection, body))
            self._error = None
        except TimeoutError:
            self._error = connection.late(
                f"has not listed its models within {_LIST_SECONDS:g} seconds"
            )
            raise self._error from None
        except ApiError as error:
            self._error = error
            raise
        finally:
            self._listed = time.monotonic()
            if (self._models, self.problem) != before:
                self._changed()

    def _merged(self, listed: list[_Listed]) -> dict[str, UpstreamModel]:
        """Return the models to show: those of the settings, with what the list says of them."""
        found = {model.id: _model(model) for model in listed[:_MOST_MODELS] if _is_usable(model.id)}
        if self._configured is None:
            # Two servers may be upstreams of each other. Their lists must not grow without end.
            others = {model.id for model in listed if model.source == "upstream"}
            return {name: model for name, model in found.items() if name not in others}
        return {
            name: msgspec.structs.replace(
                model, capabilities=model.capabilities if given is None else given
            )
            for name, given in self._configured.items()
            if (model := found.get(name, UpstreamModel(name)))
        }


def _decoded(connection: UpstreamConnection, body: bytes) -> list[_Listed]:
    try:
        return msgspec.json.decode(body, type=_List).data
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise connection.fault(f"sent a list of models that cannot be read: {error}") from None


def _is_usable(name: str) -> bool:
    return name.isprintable() and name == name.strip()


def _model(listed: _Listed) -> UpstreamModel:
    context = next(
        (
            value
            for value in (
                *(listed.max_model_len, listed.context_window),
                *(listed.context_length, listed.max_context_length),
            )
            if value is not None and value > 0
        ),
        None,
    )
    known = None
    if isinstance(listed.capabilities, list):
        known = tuple(name for name in CAPABILITIES if name in listed.capabilities)
    return UpstreamModel(listed.id, known or None, context, int(listed.created or 0))
