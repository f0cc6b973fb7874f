"""`%mlx connect`: use a server on another machine, and remember it."""

import argparse
import getpass
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from urllib.parse import urlsplit

from mlx_notebook.notebook.chat.chat import Chat
from mlx_notebook.notebook.connection import connection, known_servers
from mlx_notebook.notebook.connection.client_configurations import CLIENT_CONFIGURATIONS
from mlx_notebook.notebook.connection.configured_model import NO_TOKEN, ConfiguredModel
from mlx_notebook.notebook.connection.keyring_process import KeyringUnusable
from mlx_notebook.notebook.connection.known_servers import KnownServer
from mlx_notebook.notebook.connection.named_server import TOKEN_VARIABLE, variable_token
from mlx_notebook.notebook.connection.recognition import recognise, tunnel
from mlx_notebook.notebook.errors import (
    BadMagic,
    Interrupted,
    NoServer,
    NotAuthorized,
    NotebookError,
)
from mlx_notebook.notebook.magics.greeting import greeting
from mlx_notebook.notebook.magics.subcommands.arguments import parser
from mlx_notebook.notebook.magics.subcommands.tables import show_table
from mlx_notebook.notebook.recording import replayer
from mlx_notebook.notebook.server import presence
from mlx_notebook.notebook.server.server import Server, split_token
from mlx_notebook.notebook.shell import can_ask, discard_typed_input

_COLUMNS = ("name", "address", "state", "token")
_MOST_QUESTIONS = 3
_LIST_SECONDS = 3.0

OPTIONS = {
    "--name": "call the server so",
    "--default": "new notebooks use it",
    "--local": "use this machine's server; with --default, new notebooks do too",
    "--forget": "forget the server and its token",
    "--allow-http": "send the token without encryption to another machine",
    "--print": "show what another program needs to use this server",
    "--with-token": "with --print: show the token too",
}


def connect(line: str, chat: Chat) -> None:
    """Use a server, list the known ones, forget one, or print settings of another program."""
    options = parser("connect")
    options.add_argument("server", nargs="?")
    options.add_argument("--name")
    options.add_argument("--print", dest="program")
    options.add_argument("--with-token", action="store_true")
    for flag in ("--default", "--local", "--forget", "--allow-http"):
        options.add_argument(flag, action="store_true")
    given = options.parse(line)
    if replayer.is_replayed():
        raise BadMagic("This notebook replays a recording: `%mlx replay stop` ends that first.")
    if given.program is not None or given.with_token:
        _print(given, chat)
    elif given.local:
        if given.server or given.name or given.forget:
            raise BadMagic("%mlx connect: --local takes no server: it is this machine's.")
        _use_local(is_default=given.default)
    elif given.server is None:
        if given.name or given.default or given.forget or given.allow_http:
            raise BadMagic("%mlx connect: name a server; `%mlx connect` lists the known ones.")
        _list()
    elif given.forget:
        _forget(given.server)
    else:
        _Connecting(given.server, given.name, given.default, given.allow_http).run()


class _Connecting:
    """One `%mlx connect SERVER`: recognise it, find or ask its token, check and store that."""

    def __init__(self, written: str, name: str | None, is_default: bool, allow_http: bool) -> None:
        servers = known_servers.read()
        if name is not None and known_servers.under_a_hub():
            raise BadMagic("Under JupyterHub no servers are stored, so they have no names.")
        if is_default and known_servers.under_a_hub():
            raise BadMagic(
                "Under JupyterHub no default is stored: set MLX_NOTEBOOK_URL for new notebooks."
            )
        self._written = written
        known = servers.find(written)
        if known is None and "://" not in written and ":" not in written and "/" not in written:
            raise BadMagic(
                f"There is no server called {written!r}: write its address, http://... or "
                "https://..., once. `%mlx connect` lists the known ones."
            )
        url, self._token_in_url = split_token(written) if known is None else (known.url, "")
        self._url = recognise(url)
        self._known = known or servers.find(self._url)
        # Before the question, because the answer to that should not be lost.
        servers.free_name(self._url, name)
        self._name, self._is_default = name, is_default
        self._stored_token: str | None = None
        self._allow_http = allow_http or bool(self._known and self._known.allow_http)

    def run(self) -> None:
        """Connect, store the server, and print what happened."""
        server = Server(self._url, "", self._found(self._name), is_chosen=True)
        if server.is_in_the_clear and not self._allow_http:
            raise BadMagic(
                f"{server.url} has no encryption, so others on the network could read the token "
                f"and all texts. Use https://, or a tunnel: {tunnel(server.url)} "
                "`--allow-http` connects nevertheless."
            )
        if given := variable_token(server.url):
            # Scripts and containers get their token so: nothing is asked or stored.
            self._connect(replace(server, token=given), TOKEN_VARIABLE)
            return
        server = self._with_token(server)
        note = ""
        if not known_servers.under_a_hub():
            kept = self._keep(server)
            server = replace(server, found=self._found(kept.name))
            note = self._note(kept)
        connection.use(server)
        print(greeting(server))
        if note:
            print(note)

    def _connect(self, server: Server, variable: str) -> None:
        try:
            connection.check(server)
        except NotAuthorized:
            raise NotAuthorized(
                f"The server at {server.url} refused the token of {variable}. Change or delete "
                "that variable."
            ) from None
        connection.use(server)
        print(greeting(server))
        if self._is_default or self._name:
            print(f"Nothing is stored, because the token comes from {variable}.")

    def _found(self, name: str | None) -> str:
        return name or (self._known.name if self._known else "given")

    def _with_token(self, server: Server) -> Server:
        """Return the server with a token that it accepts.

        Raises
        ------
        NotAuthorized
            If there is none, and none was given.
        """
        for token, what in self._tokens_at_hand():
            checked = replace(server, token=token)
            if _accepts(checked):
                return checked
            if token:
                print(f"{server.url} refused {what}.")
        if _accepts(server):  # It needs none.
            return server
        for _ in range(_MOST_QUESTIONS):
            checked = replace(server, token=_ask_token(server))
            if _accepts(checked):
                return checked
            print(f"{server.url} refused this token.")
        raise NotAuthorized(
            f"{server.url} refused {_MOST_QUESTIONS} tokens. `jupyter server list` there shows "
            "the right one."
        )

    def _tokens_at_hand(self) -> list[tuple[str, str]]:
        """Return the tokens that need no question, and what to call each."""
        found = [(self._token_in_url, "the token in the address")] if self._token_in_url else []
        if self._known is not None:
            try:
                self._stored_token = self._known.read_token()
            except KeyringUnusable as error:
                print(f"The stored token cannot be read: {error}.")
        if self._stored_token:
            found.append((self._stored_token, "the stored token"))
        return found

    def _keep(self, server: Server) -> KnownServer:
        """Store the server and its token, if they are new."""
        known = self._known
        if (
            known is not None
            and server.token == self._stored_token
            and self._name in (None, known.name)
            and self._allow_http == known.allow_http
            and not self._is_default
        ):
            return known
        with known_servers.changed() as servers:
            kept = servers.add(
                server.url, server.token, name=self._name, allow_http=self._allow_http
            )
            if self._is_default:
                servers.default_url = server.url
            return kept

    def _note(self, kept: KnownServer) -> str:
        """Return what is said below the greeting."""
        lines = []
        if self._token_in_url:
            lines.append("The token stands in this cell: delete it there, it is stored now.")
        if self._known is None:
            place = (
                "in the keyring"
                if kept.kept_in == "keyring"
                else f"in {known_servers.file_of_servers()}, which only you can read"
            )
            lines.append(
                f"Its token is {place}. From now on `%mlx connect {kept.name}` is enough"
                + ("." if self._is_default else "; with --default new notebooks use it.")
            )
        if self._is_default:
            lines.append(
                "New notebooks use this server. `%mlx connect --local --default` ends that."
            )
        return "\n".join(lines)


def _accepts(server: Server) -> bool:
    """Whether the server accepts the token, also for requests that change something."""
    try:
        connection.check(server)
        server.post(presence.KEEP, {}, timeout=connection.PARENT_SECONDS)
    except NotAuthorized as error:
        if "without a token" in str(error):
            raise
        return False
    return True


def _ask_token(server: Server) -> str:
    """Ask for the token without showing it.

    Raises
    ------
    NotAuthorized
        If nobody can be asked.
    Interrupted
        If the cell is interrupted.
    """
    nobody = NotAuthorized(
        f"The server at {server.url} needs a token and nobody can be asked here: set "
        f"{TOKEN_VARIABLE}."
    )
    if not can_ask():
        raise nobody
    discard_typed_input()
    try:
        return getpass.getpass(f"Token of {urlsplit(server.url).netloc}: ").strip()
    except (EOFError, NotImplementedError):  # a kernel raises the second one
        raise nobody from None
    except KeyboardInterrupt:
        raise Interrupted("nothing was stored, and the server is the same as before.") from None


def _print(given: argparse.Namespace, chat: Chat) -> None:
    """Print what a program needs to use the server and the model of this notebook."""
    names = ", ".join(CLIENT_CONFIGURATIONS)
    if given.program is None:
        raise BadMagic(
            f"%mlx connect: --with-token belongs to --print, which takes one of: {names}."
        )
    if given.server or given.name or given.default or given.local or given.forget:
        raise BadMagic("%mlx connect: --print is about the server that this notebook uses.")
    configuration = CLIENT_CONFIGURATIONS.get(given.program)
    if configuration is None:
        raise BadMagic(f"%mlx connect: --print does not know {given.program!r}. It knows: {names}.")
    server = connection.connect()
    model = chat.model or connection.default_model()
    if model is None:
        raise BadMagic("There is no model yet: `%mlx models` lists what can be loaded.")
    cards = server.get("v1/models")["data"]
    context = next((card["context_window"] for card in cards if card["id"] == model), None)
    described = ConfiguredModel.of(server, model, context, with_token=given.with_token)
    print(configuration.place)
    if not given.with_token:
        print(
            f"Write the server's token in the place of {NO_TOKEN}; `jupyter server list` shows it "
            "on the server's machine. With --with-token it is printed here, and kept in this file."
        )
    print(f"\n{configuration.write(described)}")


def _use_local(*, is_default: bool) -> None:
    if is_default:
        with known_servers.changed() as servers:
            servers.default_url = None
    connection.use_local()
    print(greeting(connection.connect()))
    if is_default:
        print("New notebooks use a server of their own machine again.")


def _forget(written: str) -> None:
    with known_servers.changed() as servers:
        known = servers.find(written)
        if known is None:
            url = split_token(written)[0].rstrip("/") + "/"
            known = servers.find(url)
        if known is None:
            raise BadMagic(f"There is no known server {written!r}: `%mlx connect` lists them.")
        left = servers.remove(known)
    if left:
        print(f"{known.name} is forgotten, but its token is still in the keyring: {left}.")
    else:
        print(f"{known.name} and its token are forgotten.")


def _list() -> None:
    """Show the known servers and whether each answers."""
    try:
        current = connection.connect()
        print(f"connected to {current.url} ({current.found})")
    except NotebookError as error:
        current = None
        print(error)
    servers = known_servers.read()
    if not servers.servers:
        print(
            "Under JupyterHub no servers are stored."
            if known_servers.under_a_hub()
            else "No other server is known yet: `%mlx connect URL` adds one."
        )
        return
    with ThreadPoolExecutor(8) as pool:
        states = list(pool.map(_state, servers.servers))
    rows = []
    for server, state in zip(servers.servers, states, strict=True):
        notes = [
            *(["in use"] if current is not None and current.url == server.url else []),
            state,
            *(["default"] if server is servers.default else []),
        ]
        kept = "in the keyring" if server.kept_in == "keyring" else "in a file"
        clear = ", sent in the clear" if Server(server.url, "").is_in_the_clear else ""
        rows.append((server.name, server.url, ", ".join(notes), kept + clear))
    show_table(_COLUMNS, rows)


def _state(server: KnownServer) -> str:
    try:
        recognise(server.url, seconds=_LIST_SECONDS)
    except NoServer:
        return "another kind of server"
    except NotebookError:
        return "no answer"
    return "answers"
