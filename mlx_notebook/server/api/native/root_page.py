"""Serve a page for people who open the address of `jupyter mlx-notebook` in a browser."""

import html

from jupyter_server.auth.decorator import allow_unauthenticated
from jupyter_server.base.handlers import JupyterHandler

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>mlx-notebook</title></head>
<body style="max-width: 40em; margin: 3em auto; padding: 0 1em; font-family: sans-serif">
<h1>mlx-notebook</h1>
<p>This server runs local models with OpenAI's API. It is for programs and has no other page.</p>
<p>Base URL: <code>{url}v1</code><br>
API key: the token that you set, or the one that <code>jupyter mlx-notebook</code> printed when it
started.</p>
<p><a href="v1/models">v1/models</a> lists the models,
<a href="v1/openapi.json">v1/openapi.json</a> describes every endpoint, and
<a href="mlx/status">mlx/status</a> shows what the server is doing. They need the token: add
<code>?token=...</code> to the address of this page to log in.</p>
</body>
</html>
"""


class RootHandler(JupyterHandler):
    """Say what this server is. The page contains nothing secret."""

    @allow_unauthenticated
    def get(self) -> None:
        """Answer with the page."""
        url = f"{self.request.protocol}://{self.request.host}{self.base_url}"
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(_PAGE.format(url=html.escape(url)))

    @allow_unauthenticated
    def head(self) -> None:
        """Answer without the page: Ollama's command line asks so whether there is a server."""
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish()
