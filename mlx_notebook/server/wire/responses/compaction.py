"""The body and the answer of `POST v1/responses/compact`.

Format: https://platform.openai.com/docs/api-reference/responses/compact and
https://www.openresponses.org/specification.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.openai.chat_request import CacheRetention
from mlx_notebook.server.wire.parameters.parameters import RequestParameters, unsupported_parameter
from mlx_notebook.server.wire.parameters.unsupported_parameters import Unsupported
from mlx_notebook.server.wire.responses.response_items import ItemDict
from mlx_notebook.server.wire.responses.response_object import IncompleteDetails, ResponseUsage
from mlx_notebook.server.wire.responses.responses_request import ReasoningOptions, ResponsesRequest

LONGEST_SUMMARY = 2048
"""Most tokens of a summary, if the request does not say."""
ASK = (
    "Write a summary of this conversation. It will replace everything but the user's own messages. "
    "Keep what is needed to go on: decisions, facts, names, numbers, paths, results of tool calls, "
    "and what is still to be done. Write in the language of the conversation. Write only the "
    "summary."
)
"""The message that asks the model for the summary."""


class CompactRequest(RequestParameters, kw_only=True):
    """A conversation to compact. The model writes a summary of `max_output_tokens` at most."""

    input: str | list[ItemDict] | None = None
    model: Annotated[str, Meta(max_length=512)] | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    max_output_tokens: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: CacheRetention | None = None
    service_tier: Literal["auto", "default", "fast", "flex", "priority"] | None = None
    # Refused if it would have an effect.
    image: Any = None

    @classmethod
    def unsupported_parameters(cls) -> Mapping[str, Unsupported]:
        """Return the parameters of responses that would change the answer."""
        return {
            "conversation": Unsupported("send its items as 'input'"),
            "stream": Unsupported(),
            "background": Unsupported(),
        }

    def unused(self) -> frozenset[str]:
        """Return the parameters that are validated and then ignored."""
        return frozenset(("prompt_cache_options", "prompt_cache_retention", "service_tier"))

    def as_request(self) -> ResponsesRequest:
        """Return the request for a response that has the same conversation.

        Raises
        ------
        InvalidRequest
            If the request needs what this server does not support.
        """
        if self.image is not None:
            raise unsupported_parameter("image")
        return ResponsesRequest(
            input=self.input,
            model=self.model,
            instructions=self.instructions,
            previous_response_id=self.previous_response_id,
            max_output_tokens=self.max_output_tokens or LONGEST_SUMMARY,
            reasoning=ReasoningOptions(effort="none"),
        )


class CompactedResponse(msgspec.Struct, kw_only=True):
    """The messages that stay, and the item that stands for the rest.

    `status` is `incomplete` if the summary was cut off at the token limit.
    """

    id: str
    created_at: int
    output: list[dict[str, Any]]
    usage: ResponseUsage
    status: Literal["completed", "incomplete"] = "completed"
    incomplete_details: IncompleteDetails | None = None
    object: Literal["response.compaction"] = "response.compaction"


def kept_items(items: list[ItemDict]) -> list[ItemDict]:
    """Return the items that stay as they are: all messages but those of the model.

    Raises
    ------
    InvalidRequest
        If a function call has no output yet, which then could not follow.
    """
    answered = {item.get("call_id") for item in items if item["type"] == "function_call_output"}
    for item in items:
        if item["type"] == "function_call" and item["call_id"] not in answered:
            raise InvalidRequest(
                f"The call {item['call_id'][:200]!r} of {item['name'][:200]!r} has no output yet. "
                "Send its output first, and compact then.",
                param="input",
                code="call_without_output",
            )
    return [item for item in items if item["type"] == "message" and item["role"] != "assistant"]


DECODER = msgspec.json.Decoder(CompactRequest)
