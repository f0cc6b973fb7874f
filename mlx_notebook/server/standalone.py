"""Run the server without Jupyter: the command `jupyter mlx-notebook`."""

import os
import signal

from jupyter_server.serverapp import ServerApp
from traitlets import Float, Integer, default
from traitlets.config import Config

from mlx_notebook.server.models.catalog import EMBEDDED_DEFAULT
from mlx_notebook.server.users.hub_service import HubService, NotAService, hub_service

_PORT = 1234
# Only these parts of Jupyter's configuration apply here, and not its port, for example.
_JUPYTER_CONFIG = "jupyter_server_config"
_SHARED = ("MlxNotebookApp", "IdentityProvider", "HubOAuth")


class StandaloneServer(ServerApp):
    """Serve on port 1234, without a browser and without questions."""

    name = "mlx-notebook-server"
    # Set if JupyterHub runs this server as one of its services.
    hub_service: HubService | None = None

    port = Integer(_PORT, help="The port to listen on (env: JUPYTER_PORT).").tag(config=True)

    idle_connection_seconds = Float(
        120.0,
        min=1.0,
        help="""Close a connection on which the headers of a request have not arrived completely
        within this many seconds. Inside Jupyter this limit is an hour, and it cannot be set.""",
    ).tag(config=True)

    @default("port")
    def _port_default(self) -> int:
        return int(os.environ.get(self.port_env, _PORT))

    @default("answer_yes")
    def _answer_yes_default(self) -> bool:
        return True

    @default("no_browser_open_file")
    def _no_browser_open_file_default(self) -> bool:
        return True

    @default("reraise_server_extension_failures")
    def _reraise_server_extension_failures_default(self) -> bool:
        # Without a setting that cannot be used, it would be another server than the one asked for.
        return True

    def load_config_file(self, suppress_errors: bool = True) -> None:  # type: ignore[override]
        """Read the settings of models and token from Jupyter's configuration, then our own.

        A file that the command line names is read in place of both. As a service of JupyterHub the
        server listens where the Hub says and knows the Hub's users, whatever the files say.
        """
        if not self.config_file:
            shared = Config()
            for config, _ in self._load_config_files(
                _JUPYTER_CONFIG,
                path=self.config_file_paths,
                log=self.log,
                raise_config_file_errors=self.raise_config_file_errors or not suppress_errors,
            ):
                shared.merge({name: config[name] for name in _SHARED if name in config})
            self.update_config(shared)
        super().load_config_file(suppress_errors)
        try:
            self.hub_service = hub_service()
        except NotAService as error:
            raise SystemExit(str(error)) from None
        if self.hub_service is not None:
            self.update_config(self.hub_service.settings())

    def init_webapp(self) -> None:
        """Create the application."""
        super().init_webapp()
        if self.hub_service is not None:
            # Tornado would check before the user is known. Jupyter checks after that.
            self.web_app.settings["xsrf_cookies"] = False

    def init_httpserver(self) -> None:
        """Find a free port, and remember which port was asked for."""
        self.asked_port = self.port
        super().init_httpserver()
        # Jupyter has no option for this.
        self.http_server.conn_params.header_timeout = self.idle_connection_seconds

    def init_signal(self) -> None:
        """Stop on Ctrl-C without a question, also without a terminal."""
        super().init_signal()
        signal.signal(signal.SIGINT, self._signal_stop)

    def announce(self, model: str, *, is_here: bool) -> None:
        """Print an example of how to use the server.

        Parameters
        ----------
        model
            Name of the default model.
        is_here
            Whether that model is on this machine and usable.
        """
        if self.asked_port not in (0, self.port):
            print(
                f"\nPort {self.asked_port} is in use by another program. This server uses port "
                f"{self.port}. Stop the other program, or choose a port with --port.",
                flush=True,
            )
        if self.hub_service is not None:
            print(
                f"\nmlx-notebook is the service {self.hub_service.name!r} of JupyterHub and "
                f"listens at {self.connection_url}.",
                flush=True,
            )
            return
        provider = self.identity_provider
        if not provider.token:
            self.log.warning("The server has no token. It refuses OpenAI clients.")
            return
        if not is_here:
            self.log.warning(
                "The default model %r is not on this machine. Requests that name no model fail "
                "until it is downloaded. The example below uses %s.",
                model,
                EMBEDDED_DEFAULT,
            )
            model = EMBEDDED_DEFAULT
        # Do not print a token that the user has set: it may be used elsewhere too.
        key = provider.token if provider.token_generated else None
        print(_example(f"{self.connection_url}v1", model, key), flush=True)


def _example(url: str, model: str, key: str | None) -> str:
    """Return examples in Python and for a shell. Without `key` they read the environment."""
    if key is None:
        shown = "the token that you set. The examples read it from the environment:"
        shown += "\n\n    export OPENAI_API_KEY=...  # the token"
    else:
        shown = key
    in_python = "" if key is None else f', api_key="{key}"'
    message = '{"role": "user", "content": "Hello!"}'
    return f"""
mlx-notebook serves local models at {url}
API key: {shown}

    from openai import OpenAI

    client = OpenAI(base_url="{url}"{in_python})
    response = client.chat.completions.create(
        model="{model}", messages=[{message}]
    )
    print(response.choices[0].message.content)

    curl {url}/chat/completions -H "Authorization: Bearer {key or "$OPENAI_API_KEY"}" \\
      -H "Content-Type: application/json" \\
      -d '{{"model": "{model}", "messages": [{message}]}}'

Control-C stops it.
"""
