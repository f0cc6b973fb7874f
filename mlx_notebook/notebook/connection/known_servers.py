"""The servers that this user has connected to by `%mlx connect`, and their tokens.

The list is a file in Jupyter's data directory that only the user can read. A token is in the
system's keyring if there is one, and else in this file.
"""

import fcntl
import json
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from mlx_notebook.notebook.connection import keyring_process
from mlx_notebook.notebook.connection.keyring_process import KeyringUnusable
from mlx_notebook.notebook.errors import BadMagic, NoServer

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


@dataclass
class KnownServer:
    """A server that the user has connected to.

    Attributes
    ----------
    name
        A short name, unique among the user's servers.
    url
        The base URL, which ends in a slash.
    kept_in
        Where its token is.
    token
        The token, if it is in the file.
    allow_http
        Whether the user has allowed the token to cross a network without encryption.
    """

    name: str
    url: str
    kept_in: Literal["keyring", "file"] = "file"
    token: str | None = field(default=None, repr=False)
    allow_http: bool = False

    def read_token(self) -> str | None:
        """Return the token; `None` if the keyring has none.

        Raises
        ------
        KeyringUnusable
            If it is in a keyring that cannot be used now.
        """
        return self.token if self.kept_in == "file" else keyring_process.get(self.url)

    @classmethod
    def of(cls, kept: Any) -> Self:
        """Return the server of an entry of the file.

        Raises
        ------
        ValueError
            If the entry is damaged.
        """
        server = cls(**kept)
        if not (_NAME.fullmatch(server.name) and server.kept_in in ("keyring", "file")):
            raise ValueError(f"{server.name!r} is no server")
        return server


@dataclass
class KnownServers:
    """The list: read it with `read`, change it within `changed`."""

    servers: list[KnownServer] = field(default_factory=list)
    default_url: str | None = None

    @property
    def default(self) -> KnownServer | None:
        """The server that new notebooks use."""
        return self.find(self.default_url) if self.default_url else None

    def find(self, name_or_url: str) -> KnownServer | None:
        """Return the server with a name or a base URL."""
        return next((s for s in self.servers if name_or_url in (s.name, s.url)), None)

    def add(self, url: str, token: str, *, name: str | None, allow_http: bool) -> KnownServer:
        """Add a server, or change its name and token. The keyring is tried first.

        Raises
        ------
        BadMagic
            If the name is not usable, or another server has it.
        """
        before = self.find(url)
        name = self.free_name(url, name or (before.name if before else None))
        server = KnownServer(name, url, allow_http=allow_http or bool(before and before.allow_http))
        try:
            keyring_process.put(url, token)
            server.kept_in = "keyring"
        except KeyringUnusable:
            server.token = token
        self.servers = [*(s for s in self.servers if s is not before), server]
        return server

    def remove(self, server: KnownServer) -> str | None:
        """Remove a server and its token. Return why the token is still in the keyring, if so."""
        self.servers.remove(server)
        if self.default_url == server.url:
            self.default_url = None
        if server.kept_in == "keyring":
            try:
                keyring_process.remove(server.url)
            except KeyringUnusable as error:
                return str(error)
        return None

    def free_name(self, url: str, wanted: str | None) -> str:
        """Return the name for a server: the wanted one, or one made of its address.

        Raises
        ------
        BadMagic
            If the wanted name is not usable, or another server has it.
        """
        taken = {server.name for server in self.servers if server.url != url}
        if wanted is not None:
            if not _NAME.fullmatch(wanted):
                raise BadMagic(f"{wanted!r} is not a name: use letters, digits, '.', '-' and '_'.")
            if wanted in taken:
                raise BadMagic(f"Another server is called {wanted!r}: choose another --name.")
            return wanted
        parts = urlsplit(url)
        host = re.sub(r"[^\w.-]+", "-", parts.hostname or "").strip("-._") or "server"
        names = [host, f"{host}-{parts.port}" if parts.port else f"{host}-2"]
        names += [f"{host}-{number}" for number in range(2, len(taken) + 3)]
        return next(name for name in names if name not in taken)


def under_a_hub() -> bool:
    """Return whether JupyterHub started this kernel. Then its token is used, and none is stored."""
    return bool(os.environ.get("JUPYTERHUB_API_TOKEN"))


def file_of_servers() -> Path:
    """Return the path of the file."""
    from jupyter_core.paths import jupyter_data_dir

    return Path(jupyter_data_dir()) / "mlx_notebook" / "servers.json"


def read() -> KnownServers:
    """Return the user's servers; none under JupyterHub.

    Raises
    ------
    NoServer
        If the file is damaged, or others can read it.
    """
    if under_a_hub():
        return KnownServers()
    file = file_of_servers()
    try:
        handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return KnownServers()
    except OSError as error:
        raise NoServer(f"{file} cannot be read ({error.strerror}): delete it.") from None
    with os.fdopen(handle, encoding="utf-8") as opened:
        about = os.fstat(handle)
        if about.st_uid != os.geteuid():
            raise NoServer(f"{file} holds tokens but belongs to another user: delete it.")
        if mode := stat.S_IMODE(about.st_mode) & 0o077:
            raise NoServer(
                f"Other users of this machine can use {file}, which holds tokens "
                f"(mode {mode | 0o600:o}): run `chmod 600 {file}`, and change the tokens if "
                "somebody may have read them."
            )
        try:
            kept = json.load(opened)
            return KnownServers([KnownServer.of(one) for one in kept["servers"]], kept["default"])
        except (ValueError, TypeError, KeyError) as error:
            raise NoServer(f"{file} is damaged ({error}): delete it.") from None


@contextmanager
def changed() -> Iterator[KnownServers]:
    """Read the list, and write it after the block. Other kernels wait meanwhile.

    Raises
    ------
    NoServer
        If the file cannot be read or written, or JupyterHub started this kernel.
    """
    if under_a_hub():
        raise NoServer("Under JupyterHub no servers and no tokens are stored.")
    file = file_of_servers()
    try:
        _make_private_folder(file.parent)
        lock = os.open(file.with_name(".servers.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise NoServer(f"Nothing can be stored in {file.parent} ({error.strerror}).") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        servers = read()
        yield servers
        _write(file, servers)
    finally:
        os.close(lock)


def _write(file: Path, servers: KnownServers) -> None:
    kept = [
        {name: value for name, value in asdict(server).items() if value is not None}
        for server in servers.servers
    ]
    text = json.dumps({"default": servers.default_url, "servers": kept}, indent=1)
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as written:
            written.write(text + "\n")
        draft.replace(file)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise NoServer(f"Nothing can be stored in {file.parent} ({error.strerror}).") from None


def _make_private_folder(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if stat.S_IMODE(folder.stat().st_mode) & 0o077:
        folder.chmod(0o700)
