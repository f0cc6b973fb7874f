"""Answer requests below our prefixes for which there is no route."""

from jupyter_server.auth.decorator import authorized
from tornado import web

from mlx_notebook.server.api.http.base import ApiHandler
from mlx_notebook.server.errors import ApiError, NotFound


class UnknownRouteHandler(ApiHandler):
    """Answer 404 in the API's error format."""

    @web.authenticated
    @authorized
    async def get(self, *args: str) -> None:
        """Answer 404."""
        raise self._unknown()

    @web.authenticated
    @authorized
    async def post(self, *args: str) -> None:
        """Answer 404."""
        raise self._unknown()

    @web.authenticated
    @authorized
    async def put(self, *args: str) -> None:
        """Answer 404."""
        raise self._unknown()

    @web.authenticated
    @authorized
    async def patch(self, *args: str) -> None:
        """Answer 404."""
        raise self._unknown()

    @web.authenticated
    @authorized
    async def delete(self, *args: str) -> None:
        """Answer 404."""
        raise self._unknown()

    def _unknown(self) -> ApiError:
        return NotFound(
            f"There is no route {self.request.method} {self.request.path}. "
            "GET v1/openapi.json lists all routes.",
            code="unknown_route",
        )
