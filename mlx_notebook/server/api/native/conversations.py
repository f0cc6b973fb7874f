"""Handle `mlx/conversations`: what JupyterLab's sidebar keeps of its conversations."""

from jupyter_server.auth.decorator import authorized
from tornado import web

from mlx_notebook.server.api.http.base import ApiHandler
from mlx_notebook.server.identity import owner
from mlx_notebook.server.wire.native import conversation_types as wire


class ConversationsHandler(ApiHandler):
    """List conversations."""

    _track_activity = False

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer with the user's conversations, about one `notebook` or about all."""
        notebook = self.get_query_argument("notebook", None)
        found = await self.services.conversations.list(await owner(self), notebook)
        self.answer(wire.ConversationList(found))


class ConversationHandler(ApiHandler):
    """Show, save, change and delete one conversation."""

    @web.authenticated
    @authorized
    async def get(self, id: str) -> None:
        """Answer with the conversation."""
        self.answer(await self.services.conversations.get(await owner(self), id))

    @web.authenticated
    @authorized
    async def put(self, id: str) -> None:
        """Save it as a whole."""
        saved = self.decoded(wire.SAVE_DECODER)
        self.answer(await self.services.conversations.save(await owner(self), id, saved))

    @web.authenticated
    @authorized
    async def patch(self, id: str) -> None:
        """Change its title or its notebook."""
        change = self.decoded(wire.CHANGE_DECODER)
        self.answer(await self.services.conversations.change(await owner(self), id, change))

    @web.authenticated
    @authorized
    async def delete(self, id: str) -> None:
        """Delete it."""
        await self.services.conversations.delete(await owner(self), id)
        self.answer(wire.DeletedConversation(id))
