"""Handle `POST v1/responses/compact`: the model writes a summary in place of its earlier items."""

import msgspec
from jupyter_server.auth.decorator import authorized
from tornado import web

from mlx_notebook import protocol
from mlx_notebook.server.api.http.base import ends_with_client
from mlx_notebook.server.api.responses.response_input import NAMES, ResponsesBase
from mlx_notebook.server.engine.request_stream import RequestStream
from mlx_notebook.server.errors import ApiError, InvalidRequest
from mlx_notebook.server.identity import owner
from mlx_notebook.server.responses.response_store import PREFIX
from mlx_notebook.server.wire.ids import new_id, now
from mlx_notebook.server.wire.responses.compaction import (
    ASK,
    DECODER,
    CompactedResponse,
    kept_items,
)
from mlx_notebook.server.wire.responses.response_items import listed_item
from mlx_notebook.server.wire.responses.response_object import IncompleteDetails, ResponseUsage
from mlx_notebook.server.wire.responses.responses_request import ResponsesRequest
from mlx_notebook.server.wire.sealed_reasoning import seal


class CompactHandler(ResponsesBase):
    """Compact conversations."""

    endpoint = "v1/responses/compact"

    @web.authenticated
    @authorized
    @ends_with_client
    async def post(self) -> None:
        """Answer with the messages that stay, and an item with the summary of the rest."""
        request = self.decoded(DECODER).as_request()
        try:
            await self._compact(await owner(self), request)
        except ApiError as error:
            error.param = NAMES.get(error.param or "", error.param)
            raise

    async def _compact(self, user: str, request: ResponsesRequest) -> None:
        asked = await self.read_input(user, request, request.offered_tools())
        kept = kept_items([*asked.before, *asked.items])
        question = {"role": "user", "content": ASK}
        prompt = msgspec.structs.replace(asked.prompt, messages=[*asked.prompt.messages, question])
        command = await self.command(
            new_id(PREFIX), request.model, prompt, request.sampling(), include_reasoning=False
        )
        async with self.running(command) as stream:
            summary, reason, usage = await _written(stream)
        item = {"id": new_id("cmp_"), "type": "compaction", "encrypted_content": seal(summary)}
        response = CompactedResponse(
            id=command.id,
            created_at=now(),
            output=[*kept, listed_item(item, new_id)],
            usage=ResponseUsage.of(usage),
        )
        if reason == "length":
            response.status = "incomplete"
            response.incomplete_details = IncompleteDetails("max_output_tokens")
        self.answer(response)


async def _written(stream: RequestStream) -> tuple[str, protocol.FinishReason, protocol.Usage]:
    """Return the text that the model writes, why it ends, and its token counts.

    Raises
    ------
    InvalidRequest
        If it writes nothing.
    """
    pieces: list[str] = []
    reason: protocol.FinishReason = "stop"
    usage = protocol.Usage(0, 0, 0, 0)
    async for events in stream.batches():
        for event in events:
            match event:
                case protocol.Text(text=text):
                    pieces.append(text)
                case protocol.Finished():
                    reason = event.reason
                case protocol.Done():
                    usage = event.usage
    summary = "".join(pieces).strip()
    if not summary:
        raise InvalidRequest(
            "The model wrote no summary, so nothing is compacted. Allow more 'max_output_tokens', "
            "or use another model.",
            code="empty_summary",
        )
    return summary, reason, usage
