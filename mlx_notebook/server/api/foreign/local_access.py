"""Let programs on this machine in without the token, where the settings say so."""

from typing import ClassVar

from mlx_notebook.server.api.foreign.local_programs import is_of_local_program
from mlx_notebook.server.api.http.base import ApiHandler
from mlx_notebook.server.errors import Forbidden
from mlx_notebook.server.identity import has_one_token


class LocalAccessHandler(ApiHandler):
    """Base of the routes of other programs' APIs, whose clients often know of no token."""

    # Name of the API in `Services.open_without_token`.
    api_name: ClassVar[str]
    # The variable in which clients of the API keep the token.
    key_variable: ClassVar[str]

    def initialize(self) -> None:
        """Initialize the state of a request."""
        super().initialize()
        # Whether the request came without a token, and was let in.
        self.is_without_token = False

    async def prepare(self) -> None:  # type: ignore[override]
        """Let programs on this machine in, if the settings say so. Then authenticate."""
        headers = self.request.headers
        if (
            self.api_name in self.services.open_without_token
            and has_one_token(self.identity_provider)
            and "Authorization" not in headers
            and "X-Api-Key" not in headers
            and is_of_local_program(self.request)
        ):
            # With the token, all of Jupyter's checks apply as they do to any program.
            headers["Authorization"] = f"Bearer {self.identity_provider.token}"
            self.is_without_token = True
        await super().prepare()

    def check_download(self, model: str) -> None:
        """Check that a model that is not here may be downloaded by this request.

        Raises
        ------
        Forbidden
            If it came without the token, and the server downloads nothing by itself.
        """
        if self.is_without_token and not self.services.auto_download:
            raise Forbidden(
                f"The model {model[:200]!r} is not here. Without the token, models are downloaded "
                f"only if MlxNotebookApp.auto_download is set. Send the token: {self.key_variable}."
            )
