"""Embed texts and images for all endpoints: find the model, run it, count tokens."""

import struct
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

import msgspec

from mlx_notebook.protocol import ChatPrompt, Embed, Embedded
from mlx_notebook.server.api.http.base import ApiHandler
from mlx_notebook.server.api.model_lookup import find_model
from mlx_notebook.server.api.user_rules import begin_request, may_evict
from mlx_notebook.server.errors import ApiError
from mlx_notebook.server.identity import owner
from mlx_notebook.server.media.sources.user_files import UserFiles
from mlx_notebook.server.model_errors import audio_not_supported, images_not_embedded
from mlx_notebook.server.models.catalog_entry import CatalogEntry
from mlx_notebook.server.telemetry import metrics
from mlx_notebook.server.upstreams.upstream_request import not_at_upstream
from mlx_notebook.server.upstreams.upstream_settings import SEPARATOR
from mlx_notebook.server.wire.content import AudioSource, image_parts, media_sources
from mlx_notebook.server.wire.ids import new_id
from mlx_notebook.server.wire.parameters.parameters import unsupported_parameter

_EMBEDS_IMAGES = "image-embeddings"

# Bytes of a component of a vector.
_NUMBER_BYTES = 4


class TextEmbedding(NamedTuple):
    """Name the texts to embed, and how.

    Attributes
    ----------
    model
        Name of the model; None for the default model.
    inputs
        Texts or their token ids; or chats, which may hold images.
    dimensions
        Number of leading components of each vector; None for all.
    truncate
        Number of leading tokens of each input (-1: as many as the model takes); None for all.
    param
        Parameter of the request that holds the inputs, for errors.
    """

    model: str | None
    inputs: Sequence[str | list[int]] | Sequence[ChatPrompt]
    dimensions: int | None = None
    truncate: int | None = None
    param: str = "input"


async def embedded_texts(handler: ApiHandler, wanted: TextEmbedding) -> tuple[str, Embedded]:
    """Return the name of the model, and its vectors in the order of the inputs.

    Raises
    ------
    ApiError
        If there is no such model, it makes no embeddings, or an input is too long for it.
    """
    entry = await find_model(handler, wanted.model, use="embeddings")
    id = new_id("embd-")
    handler.set_header("x-request-id", id)
    with handler.report.operation("embeddings", entry.name, id) as operation:
        embedded = await _embedded(handler, id, entry, wanted)
        operation.attributes = {
            "gen_ai.usage.input_tokens": embedded.tokens,
            "gen_ai.embeddings.dimension.count": len(embedded.vectors[0]) // _NUMBER_BYTES,
        }
    begin_request(handler).take_tokens(embedded.tokens)
    metrics.EMBEDDED_TOKENS.labels(entry.name).inc(embedded.tokens)
    usage, user = handler.services.engine.usage, await owner(handler)
    usage.begin(user)
    usage.end(user, "finished", embedded.tokens, 0, 0)
    return entry.name, embedded


def _by_kind(
    inputs: Sequence[str | list[int]] | Sequence[ChatPrompt],
) -> tuple[list[str | list[int]], list[ChatPrompt]]:
    texts = [item for item in inputs if not isinstance(item, ChatPrompt)]
    return texts, [item for item in inputs if isinstance(item, ChatPrompt)]


async def _with_images(
    handler: ApiHandler, entry: CatalogEntry, chats: list[ChatPrompt], wanted: TextEmbedding
) -> list[ChatPrompt]:
    """Return chats with the images that they name.

    Raises
    ------
    ApiError
        If the model embeds no images, or one of them cannot be used.
    """
    messages = [message for chat in chats for message in chat.messages]
    sources = media_sources(messages)
    services = handler.services
    if _EMBEDS_IMAGES not in entry.facts.capabilities:
        able = [
            other.name
            for other in await services.catalog.entries()
            if _EMBEDS_IMAGES in other.facts.capabilities
        ]
        where = sources[0].where if sources else "messages"
        raise images_not_embedded(entry.name, where, able)
    if wanted.truncate is not None:
        name = "truncate_prompt_tokens"
        raise unsupported_parameter(name, "leave it out where there are images or messages")
    for source in sources:
        if isinstance(source, AudioSource):
            raise audio_not_supported(entry.name, "embeds no sound", [], source.where)
    files = UserFiles(lambda: services.batches.files, await owner(handler))
    # One prompt, so that the limits are those of the whole request.
    loaded = await services.images.load(ChatPrompt(messages=messages), files)
    handler.report_notices(loaded.notices)
    shown, images = iter(loaded.prompt.messages), iter(loaded.prompt.images)
    made = []
    for chat in chats:
        own = list(islice(shown, len(chat.messages)))
        count = sum(1 for _ in image_parts(own))
        made.append(msgspec.structs.replace(chat, messages=own, images=list(islice(images, count))))
    return made


def to_numbers(vector: bytes) -> list[float]:
    """Return the components of a vector."""
    return list(struct.unpack(f"<{len(vector) // _NUMBER_BYTES}f", vector))


async def _embedded(
    handler: ApiHandler, id: str, entry: CatalogEntry, wanted: TextEmbedding
) -> Embedded:
    """Return the embeddings that the engine or the upstream of a model makes.

    Raises
    ------
    ApiError
        If the model makes none, or an input is too long for it.
    """
    if entry.upstream is not None:
        return await _embedded_at_upstream(handler, id, entry, wanted)
    texts, chats = _by_kind(wanted.inputs)
    if _EMBEDS_IMAGES in entry.facts.capabilities and wanted.truncate is None:
        # Texts as the model has learnt them, so that their vectors are near those of images.
        words = [text for text in texts if isinstance(text, str)]
        chats += [ChatPrompt(messages=[{"role": "user", "content": text}]) for text in words]
        texts = [text for text in texts if not isinstance(text, str)]
    if chats:
        chats = await _with_images(handler, entry, chats, wanted)
    command = Embed(
        id=id,
        model=entry.name,
        path=str(entry.path),
        options=entry.options,
        inputs=texts,
        chats=chats,
        dimensions=wanted.dimensions,
        truncate=wanted.truncate,
        user=handler.user.name,
        evict=may_evict(handler, entry.name),
        patient=handler.is_patient,
    )
    try:
        return await handler.services.engine.embed(command, await owner(handler))
    except ApiError as error:
        if error.param == "prompt":
            error.param = wanted.param
        raise


async def _embedded_at_upstream(
    handler: ApiHandler, id: str, entry: CatalogEntry, wanted: TextEmbedding
) -> Embedded:
    """Return the embeddings that an upstream makes.

    Raises
    ------
    ApiError
        If it makes none, does not have a parameter, or fails.
    """
    assert entry.upstream is not None
    texts, chats = _by_kind(wanted.inputs)
    if chats:
        raise images_not_embedded(entry.name, wanted.param, [])
    client = handler.services.upstreams.client(entry.upstream)
    parameters = dict(handler.passed_on)
    if wanted.dimensions is not None:
        parameters["dimensions"] = wanted.dimensions
    if wanted.truncate is not None:
        if "truncate_prompt_tokens" not in client.settings.extra:
            name = "truncate_prompt_tokens"
            raise not_at_upstream(entry.upstream, name, listed=name)
        parameters["truncate_prompt_tokens"] = wanted.truncate
    name = entry.name.partition(SEPARATOR)[2]
    return await client.embed(id, name, texts, parameters, handler.report.context)
