"""The Jupyter server below `jupyter mlx-notebook`, which runs by itself."""

import os
import signal

from jupyter_server.serverapp import ServerApp
from traitlets import Float, Integer, default
from traitlets.config import Config

from mlx_notebook.server.models.catalog import EMBEDDED_DEFAULT

_PORT = 1234
# What of Jupyter's configuration holds here too. The rest, as its port, is Jupyter's own.
_JUPYTER_CONFIG = "jupyter_server_config"
_SHARED = ("MlxNotebookApp", "IdentityProvider")


class StandaloneServer(ServerApp):
    """The Jupyter server below `jupyter mlx-notebook`: port 1234, no browser, no questions."""

    name = "mlx-notebook-server"

    port = Integer(_PORT, help="The port to listen on (env: JUPYTER_PORT).").tag(config=True)

    idle_connection_seconds = Float(
        120.0,
        min=1.0,
        help="""Close a connection on which no whole request head arrived for so long. Inside
        Jupyter connections are Jupyter's: there it takes an hour.""",
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

    def load_config_file(self, suppress_errors: bool = True) -> None:  # type: ignore[override]
        """Read the configuration: Jupyter's where it is about models or the token, then our own.

        A file that is named on the command line stands in place of both.
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

    def init_httpserver(self) -> None:
        """Find a port, and remember which one was asked for."""
        self.asked_port = self.port
        super().init_httpserver()
        # Jupyter passes no such option on to Tornado's server.
        self.http_server.conn_params.header_timeout = self.idle_connection_seconds

    def init_signal(self) -> None:
        """Stop in order on Ctrl-C too, whether or not a terminal is there to ask."""
        super().init_signal()
        signal.signal(signal.SIGINT, self._signal_stop)

    def announce(self, model: str, *, is_here: bool) -> None:
        """Print how to use the server with its default model, ready to paste.

        `is_here` says whether that model is on this machine and can be used.
        """
        if self.asked_port not in (0, self.port):
            print(
                f"\nPort {self.asked_port} is in use by another program: this server took "
                f"{self.port}. Stop the other one, or choose a port with --port.",
                flush=True,
            )
        provider = self.identity_provider
        if not provider.token:
            self.log.warning("The server has no token: OpenAI clients will be refused.")
            return
        if not is_here:
            self.log.warning(
                "The default model %r is not on this machine: requests that name no model fail "
                "until it is downloaded, and the example below uses %s.",
                model,
                EMBEDDED_DEFAULT,
            )
            model = EMBEDDED_DEFAULT
        # A token that was given may be worth more than this server: it is not shown.
        key = provider.token if provider.token_generated else None
        print(_example(f"{self.connection_url}v1", model, key), flush=True)


def _example(url: str, model: str, key: str | None) -> str:
    """Write how to ask the server in Python and in a shell; without a key from the environment."""
    if key is None:
        told = "the token that you gave, which the examples read from the environment:"
        told += "\n\n    export OPENAI_API_KEY=...  # the token"
    else:
        told = key
    in_python = "" if key is None else f', api_key="{key}"'
    message = '{"role": "user", "content": "Hello!"}'
    return f"""
mlx-notebook serves local models at {url}
API key: {told}

    from openai import OpenAI

    client = OpenAI(base_url="{url}"{in_python})
    answer = client.chat.completions.create(
        model="{model}", messages=[{message}]
    )
    print(answer.choices[0].message.content)

    curl {url}/chat/completions -H "Authorization: Bearer {key or "$OPENAI_API_KEY"}" \\
      -H "Content-Type: application/json" \\
      -d '{{"model": "{model}", "messages": [{message}]}}'

Control-C stops it.
"""
