"""The Jupyter server below `jupyter mlx-notebook`, which runs by itself."""

import os
import signal

from jupyter_server.serverapp import ServerApp
from traitlets import Float, Integer, default

_PORT = 1234


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

    def announce(self, model: str | None) -> None:
        """Print how to use the server with a model of that name, ready to paste."""
        if self.asked_port not in (0, self.port):
            print(
                f"\nPort {self.asked_port} is in use by another program: this server took "
                f"{self.port}. Stop the other one, or choose a port with --port.",
                flush=True,
            )
        provider = self.identity_provider
        url = self.connection_url
        if not provider.token:
            self.log.warning("The server has no token: OpenAI clients will be refused.")
            return
        # A token that was given may be worth more than this server: it is not shown.
        key = provider.token if provider.token_generated else "<the token that you gave>"
        print(
            f"""
mlx-notebook serves local models at {url}v1
API key: {key}

    from openai import OpenAI

    client = OpenAI(base_url="{url}v1", api_key="{key}")
    answer = client.chat.completions.create(
        model="{model}", messages=[{{"role": "user", "content": "Hello!"}}]
    )
    print(answer.choices[0].message.content)

    curl {url}v1/chat/completions -H "Authorization: Bearer {key}" \\
      -d '{{"messages": [{{"role": "user", "content": "Hello!"}}]}}'

Control-C stops it.
""",
            flush=True,
        )
