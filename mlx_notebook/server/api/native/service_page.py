"""Serve the page of a JupyterHub's service: who is logged in, and how to use the models."""

import html
from typing import Any, cast

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import JupyterHandler
from tornado import web

from mlx_notebook.server.errors import ApiError
from mlx_notebook.server.services import Services
from mlx_notebook.server.users.request_user import request_user
from mlx_notebook.server.users.user import User

_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>mlx-notebook</title>
<style>
body { max-width: 42em; margin: 2em auto; padding: 0 1em; font: 1em/1.5 sans-serif;
       color: #222; background: #fff; }
code, pre { background: #f2f2f2; padding: .1em .3em; }
pre { padding: .7em 1em; overflow-x: auto; }
header { display: flex; justify-content: space-between; align-items: baseline; flex-wrap: wrap; }
a { color: #0b57d0; }
</style>
</head>
"""
_BODY = """<body>
<header>
<h1>mlx-notebook</h1>
<p>{who} · <a href="{base}logout">Log out</a></p>
</header>
<p>This service of JupyterHub runs models for all its users. {rights}</p>
<h2>In a notebook of this Hub</h2>
<pre>%load_ext mlx_notebook</pre>
<p>The notebook finds this service by itself.</p>
<h2>In other programs</h2>
<p>Any OpenAI client works.<br>
Base URL: <code>{url}v1</code><br>
API key: a token that you make on the Hub's page <a href="{tokens}">Token</a>.</p>
<h2>What there is</h2>
<ul>
<li><a href="{base}v1/models">v1/models</a> lists the models.</li>
<li><a href="{base}mlx/status">mlx/status</a> shows what the service is doing.</li>
<li><a href="{base}v1/openapi.json">v1/openapi.json</a> describes every endpoint.</li>
</ul>
</body>
</html>
"""
_ERROR = """<body>
<h1>mlx-notebook</h1>
<p>{message}</p>
<p><a href="{base}">Try again</a></p>
</body>
</html>
"""


class ServicePageHandler(JupyterHandler):
    """Show the page. A browser that is not logged in goes to the Hub first."""

    auth_resource = "mlx_notebook"

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer with the page."""
        services = cast(Services, self.settings["mlx_notebook"].services)
        user = await request_user(self, services.admin_groups)
        hub = cast(Any, self.identity_provider).hub_auth
        values = {
            "who": _described(user),
            "rights": "You may manage it: load, pin and unload models." if user.admin else "",
            "base": self.base_url,
            "url": f"{self.request.protocol}://{self.request.host}{self.base_url}",
            "tokens": f"{hub.hub_host}{hub.hub_prefix}token",
        }
        self._finish(_BODY, values)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Say in one sentence what is wrong."""
        error = kwargs.get("exc_info", (None, None))[1]
        message = (
            error.message
            if isinstance(error, ApiError)
            else f"The service failed on this request: {self._reason}."
        )
        self._finish(_ERROR, {"message": message, "base": self.base_url})

    def _finish(self, page: str, values: dict[str, str]) -> None:
        self.set_header("Content-Type", "text/html; charset=utf-8")
        escaped = {name: html.escape(text) for name, text in values.items()}
        self.finish(_HEAD + page.format(**escaped))


def _described(user: User) -> str:
    groups = f" ({', '.join(user.groups)})" if user.groups else ""
    return f"Logged in as {user.name}{groups}"
