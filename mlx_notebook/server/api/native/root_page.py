"""The page at the address of `jupyter mlx-notebook`, for people who open it in a browser."""

import html

from jupyter_server.auth.decorator import allow_unauthenticated
from jupyter_server.base.handlers import JupyterHandler

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>mlx-notebook</title></head>
<body style="max-width: 40em; margin: 3em auto; padding: 0 1em; font-family: sans-serif">
<h1>mlx-notebook</h1>
<p>This is a server of local language models with OpenAI's API. It has no pages of its own: programs
use it.</p>
<p>Base URL: <code>{url}v1</code><br>
API key: the token that <code>jupyter mlx-notebook</code> printed when it started, with an example,
or the one that you gave it.</p>
<p><a href="v1/models">v1/models</a> lists the models,
<a href="v1/openapi.json">v1/openapi.json</a> describes every endpoint, and
<a href="mlx/status">mlx/status</a> says what the server is doing. They ask for the token:
<code>?token=...</code> behind this page's address signs this browser in.</p>
</body>
</html>
"""


class RootHandler(JupyterHandler):
    """Says what this server is; holds nothing that a stranger may not know."""

    @allow_unauthenticated
    def get(self) -> None:
        """Answer with the page."""
        url = f"{self.request.protocol}://{self.request.host}{self.base_url}"
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(_PAGE.format(url=html.escape(url)))
