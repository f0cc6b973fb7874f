"""A local Hugging Face hub with the routes and headers that huggingface_hub uses.

As on the hub, files of more than a kilobyte are in LFS: their etag is their SHA-256, and they are
served from another host name by a redirect. No token may be sent to that host.
"""

import hashlib
import json
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import mlx_notebook

TINY_CHAT = Path(mlx_notebook.__file__).parent / "demo_models" / "tiny-chat"
TOKEN = "hf_secret"
_LFS = 1024
_RESOLVE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")
_API = re.compile(
    r"/api/models/(?P<repo>[^/]+/[^/]+?)(?:/(?P<what>revision|tree)/(?P<revision>[^/]+))?"
)


def tiny_chat() -> dict[str, bytes]:
    """Return the real files of the embedded model."""
    return {file.name: file.read_bytes() for file in TINY_CHAT.iterdir()}


@dataclass
class Repository:
    """A model on the hub: its files by commit, and the names of commits."""

    commits: dict[str, dict[str, bytes]]
    refs: dict[str, str]
    gated: bool = False
    claimed: dict[str, int] = field(default_factory=dict)
    """Sizes that are claimed of files, where they are not the true ones."""

    @classmethod
    def of(cls, *versions: dict[str, bytes]) -> "Repository":
        """Return a repository with one commit per version: `v1`, `v2`, ...; `main` is the last."""
        commits = {commit(files): files for files in versions}
        names = {f"v{number}": commit(files) for number, files in enumerate(versions, 1)}
        return cls(commits, {**names, "main": commit(versions[-1])})


def commit(files: dict[str, bytes]) -> str:
    return hashlib.sha1(b"".join(sorted(files.values()))).hexdigest()


def etag(content: bytes) -> str:
    if len(content) > _LFS:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Hub:
    """A running hub.

    Attributes
    ----------
    models
        The models, by name.
    hold_after
        Each transfer stops after so many bytes of a file until `released` is set.
    break_after
        Each connection is reset after so many bytes of a file.
    fails_with
        HTTP status of every answer; 0 turns this off.
    sent
        Bytes of content that were sent, by file.
    seen
        Requested paths, in order.
    tokens
        Tokens in requests to the hub, and to its storage.
    """

    def __init__(self) -> None:
        self.models: dict[str, Repository] = {}
        self.hold_after: int | None = None
        self.break_after: int | None = None
        self.fails_with = 0
        self.released = threading.Event()
        self.sent: Counter[str] = Counter()
        self.seen: list[str] = []
        self.tokens: dict[str, set[str]] = {"127.0.0.1": set(), "localhost": set()}
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def env(self, home: Path) -> dict[str, str]:
        """Return environment variables for a process that uses this hub."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_TOKEN": TOKEN,
            "HF_HUB_OFFLINE": "0",
            "NO_PROXY": "127.0.0.1,localhost",
        }

    def stop(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def hub() -> Iterator[Hub]:
    """Start a hub with two versions of `org/tiny`: tiny-chat, and files that are not needed."""
    running = Hub()
    first = {**tiny_chat(), "evil.py": b"import os", "weights.bin": b"pickle"}
    second = {**first, "generation_config.json": b'{"temperature": 0.1}'}
    running.models["org/tiny"] = Repository.of(first, second)
    try:
        yield running
    finally:
        running.stop()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub, path = self.hub, unquote(urlsplit(self.path).path)
        hub.seen.append(path)
        host = self.headers.get("Host", "").partition(":")[0]
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        hub.tokens[host].add(token)
        if hub.fails_with:
            self._json({"error": "no"}, hub.fails_with)
        elif path.startswith("/storage/"):
            _, _, repo, revision, file = path.split("/", 4)
            self._content(self._file(repo.replace("--", "/"), revision, file)[1], file)
        elif found := _RESOLVE.fullmatch(path):
            self._resolve(**found.groupdict())
        elif found := _API.fullmatch(path):
            self._api(**found.groupdict())
        else:
            self._json({"error": "no such page"}, 404)

    def _repository(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        repository = self.hub.models.get(name)
        if repository is None:
            self._json({"error": "not found"}, 404, {"X-Error-Code": "RepoNotFound"})
            return None
        commit = repository.refs.get(revision, revision)
        if commit not in repository.commits:
            self._json({"error": "not found"}, 404, {"X-Error-Code": "RevisionNotFound"})
            return None
        return commit, repository.commits[commit]

    def _api(self, repo: str, what: str | None, revision: str | None) -> None:
        if (found := self._repository(repo, revision or "main")) is None:
            return
        commit, files = found
        if what != "tree":
            siblings = [{"rfilename": name} for name in files]
            self._json({"id": repo, "modelId": repo, "sha": commit, "siblings": siblings})
            return
        listed = []
        for name, content in files.items():
            size = self._size(repo, name, content)
            entry = {"type": "file", "path": name, "size": size, "oid": etag(content)[:40]}
            if len(content) > _LFS:
                entry["lfs"] = {"oid": etag(content), "size": size, "pointerSize": 130}
            listed.append(entry)
        self._json(listed)

    def _size(self, repo: str, name: str, content: bytes) -> int:
        return self.hub.models[repo].claimed.get(name, len(content))

    def _file(self, repo: str, revision: str, file: str) -> tuple[str, bytes]:
        repository = self.hub.models[repo]
        commit = repository.refs.get(revision, revision)
        return commit, repository.commits[commit][file]

    def _resolve(self, repo: str, revision: str, file: str) -> None:
        if (found := self._repository(repo, revision)) is None:
            return
        if self.hub.models[repo].gated:
            self._json({"error": "gated"}, 403, {"X-Error-Code": "GatedRepo"})
            return
        commit, files = found
        content = files[file]
        about = {"X-Repo-Commit": commit, "ETag": f'"{etag(content)}"', "Accept-Ranges": "bytes"}
        if len(content) <= _LFS:
            self._content(content, file, about)
            return
        about["X-Linked-Etag"] = f'"{etag(content)}"'
        about["X-Linked-Size"] = str(self._size(repo, file, content))
        place = f"/storage/{repo.replace('/', '--')}/{commit}/{file}"
        about["Location"] = f"http://localhost:{self.hub.port}{place}"
        self._send(302, about, b"")

    def _content(self, content: bytes, file: str, about: dict[str, str] | None = None) -> None:
        status, start = 200, 0
        headers = dict(about or {})
        if wanted := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            status, start = 206, int(wanted[1])
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._send(status, headers, content[start:], file)

    def _json(
        self, value: object, status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        about = {"Content-Type": "application/json", **(headers or {})}
        self._send(status, about, json.dumps(value).encode())

    def _send(self, status: int, headers: dict[str, str], body: bytes, file: str = "") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        try:
            for at in range(0, len(body), 65536):
                if file and self._stopped(at):
                    return
                self.wfile.write(body[at : at + 65536])
                if file:
                    self.hub.sent[file] += len(body[at : at + 65536])
        except OSError:
            self.close_connection = True  # the client closed the connection

    def _stopped(self, at: int) -> bool:
        """Stop or reset the transfer if the test asks for it. Return True if it was reset."""
        hub = self.hub
        if hub.hold_after is not None and at >= hub.hold_after and not hub.released.wait(60):
            return True
        if hub.break_after is None or at < hub.break_after:
            return False
        self.wfile.flush()
        # A reset discards what the client has received but not read.
        time.sleep(0.5)
        # A reset, not a normal end.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True
        return True
