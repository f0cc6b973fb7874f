"""Errors about models: one that is not there, or that cannot do what a request asks for."""

from collections.abc import Sequence

from mlx_notebook.server.errors import InvalidRequest, NotFound

# What models do that can be used so, as of `CatalogEntry.serves`.
_DOES = {
    "text": "answers prompts",
    "embeddings": "makes embeddings",
    "rerank": "ranks documents",
    "speech": "reads texts aloud",
    "transcription": "writes down speech",
    "translation": "translates speech",
}


def model_not_found(
    name: str, names: Sequence[str], *, use: str | None = None, hint: str = ""
) -> NotFound:
    """Return the error for an unknown model. Its message lists the models that can be used.

    Parameters
    ----------
    name
        Name in the request.
    names
        Names of the models that can be used in its place.
    use
        What the request uses a model for; None for all kinds of models.
    hint
        How to get others.
    """
    shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    others = f"Use one of: {shown}." if names else f"No model here {_DOES.get(use or '', 'fits')}."
    return NotFound(
        " ".join(filter(None, (f"There is no model {name[:200]!r} here.", others, hint))),
        param="model",
        code="model_not_found",
    )


def model_is_upstream(name: str, why: str) -> InvalidRequest:
    """Return the error for loading, unloading or downloading a model of an upstream.

    Parameters
    ----------
    name
        The model.
    why
        What cannot be done, as a sentence without its dot.
    """
    return InvalidRequest(
        f"The model {name[:200]!r} runs at an upstream, which loads it itself. {why}: name it in a "
        "request.",
        param="model",
        code="model_is_upstream",
    )


def vision_not_supported(
    name: str, where: str, vision_models: Sequence[str], hint: str = ""
) -> InvalidRequest:
    """Return the error for an image in a request to a model without vision.

    Parameters
    ----------
    name
        The model.
    where
        Place of the image in the request.
    vision_models
        Models on this machine that take images, resident ones first.
    hint
        What else helps.
    """
    return InvalidRequest(
        " ".join(
            filter(None, (f"The model {name!r} takes no images.", hint, _that_do(vision_models)))
        ),
        param=where,
        code="vision_not_supported",
    )


def images_not_embedded(name: str, where: str, able: Sequence[str]) -> InvalidRequest:
    """Return the error for an image in a request to a model that embeds texts only.

    Parameters
    ----------
    name
        The model.
    where
        Place of the image in the request.
    able
        Models on this machine that embed images.
    """
    return InvalidRequest(
        f"The model {name!r} embeds no images. {_that_do(able)}",
        param=where,
        code="vision_not_supported",
    )


def rerank_not_supported(name: str, rerankers: Sequence[str]) -> InvalidRequest:
    """Return the error for documents to rank in a request to a model that does not rank.

    Parameters
    ----------
    name
        The model.
    rerankers
        Models on this machine that rank documents.
    """
    return InvalidRequest(
        f"The model {name!r} does not rank documents. {_that_do(rerankers)}",
        param="model",
        code="rerank_not_supported",
    )


def generation_not_supported(
    name: str, chat_models: Sequence[str], route: str = "v1/embeddings"
) -> InvalidRequest:
    """Return the error for a request for text from a model that generates none.

    Parameters
    ----------
    name
        The model.
    chat_models
        Models on this machine that generate text, resident ones first.
    route
        The route that the model is for.
    """
    return InvalidRequest(
        f"The model {name!r} is for {route} and generates no text. {_that_do(chat_models)}",
        param="model",
        code="generation_not_supported",
    )


def audio_not_supported(
    name: str, lacks: str, able: Sequence[str], where: str = "model"
) -> InvalidRequest:
    """Return the error for a request with sound to a model that cannot do what it asks for.

    Parameters
    ----------
    name
        The model.
    lacks
        What it does not do, such as "writes down no speech".
    able
        Models on this machine that do, resident ones first.
    where
        Place of the sound, or the parameter that names the model.
    """
    return InvalidRequest(
        f"The model {name!r} {lacks}. {_that_do(able)}", param=where, code="audio_not_supported"
    )


def _that_do(names: Sequence[str]) -> str:
    if not names:
        return "No model on this machine does."
    return f"Models that do: {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}."
