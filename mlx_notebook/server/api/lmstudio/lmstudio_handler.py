"""Share what LM Studio's routes need: the errors of `api/v1`, and its unknown routes."""

import msgspec

from mlx_notebook.server.api.foreign.local_access import LocalAccessHandler
from mlx_notebook.server.api.http.unknown_route import UnknownRouteHandler
from mlx_notebook.server.errors import ApiError
from mlx_notebook.server.wire.lmstudio.lmstudio_chat_answer import LmStudioError, LmStudioErrorBody


def lmstudio_error(error: ApiError) -> bytes:
    """Return an error in the format of `api/v1`, as JSON."""
    return msgspec.json.encode(LmStudioErrorBody(LmStudioError.of(error)))


class LmStudioV0Handler(LocalAccessHandler):
    """Base of the routes of `api/v0`, which have OpenAI's errors."""

    api_name = "lmstudio"
    key_variable = "LM_API_TOKEN"


class LmStudioHandler(LmStudioV0Handler):
    """Base of the routes of `api/v1`."""

    is_openai = False

    def encoded_error(self, error: ApiError) -> bytes:
        """Return LM Studio's error object."""
        return lmstudio_error(error)


class LmStudioUnknownRouteHandler(LmStudioHandler, UnknownRouteHandler):
    """Answer requests for routes that LM Studio does not have either."""
