"""Download one model into the Hugging Face cache, in a process that can be killed at any moment.

Run as `python -m mlx_notebook.server.models.downloads.hub_download`. It reads one JSON line from
its standard input, `{"repository": ..., "revision": ...}`. It writes JSON lines:
`{"done": ..., "total": ...}` in bytes while it downloads, and at the end
`{"commit": ..., "bytes": ..., "fetched": ...}` or `{"code": ..., "message": ...}`. It ends when its
standard input closes.

An interrupted file continues where it stopped. Another process cannot continue the partial files of
huggingface_hub, so each blob is fetched into a partial file of ours, under the library's lock. The
library then finds all blobs and links them.
"""

import errno
import hashlib
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

# Weights, configuration, templates and vocabularies: no files that run code when they are read.
ALLOWED = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken")
# Copies of the weights in other formats.
IGNORED = ("consolidated*", "original/*", "onnx/*", "openvino/*", "metal/*")
_WEIGHTS = ".safetensors"
PARTIAL = ".mlx-notebook.incomplete"
_AT_ONCE = 4
# The library's 10 MB take a minute on a slow line, without progress, and are lost if it breaks.
_CHUNK = 256 * 1024
_REPORT_SECONDS = 0.2
_STALE_SECONDS = 24 * 3600
_SPARE_BYTES = 64 * 1024 * 1024
_SHA256_DIGITS = 64


class DownloadError(Exception):
    """The download is not possible. `code` is the error code, the message one sentence."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


class ByteCounter:
    """Count downloaded bytes from several threads."""

    def __init__(self) -> None:
        self.done = 0
        self.fetched = 0
        self._lock = threading.Lock()

    def add(self, there: int, fetched: int) -> None:
        """Add bytes that were on the disk already, and bytes from the network."""
        with self._lock:
            self.done += there + fetched
            self.fetched += fetched

    def bar(self) -> type:
        """Return a class that huggingface_hub uses as its progress bar."""
        counter = self

        class Bar:
            def __init__(self, *_: Any, initial: int = 0, **__: Any) -> None:
                counter.add(initial, 0)

            def __enter__(self) -> "Bar":
                return self

            def __exit__(self, *_: object) -> None:
                pass

            def update(self, count: int = 1) -> None:
                counter.add(0, count)

        return Bar


class HubDownload:
    """Download one model: choose the files, fetch them, link them into a snapshot."""

    def __init__(self, repository: str, revision: str | None) -> None:
        from huggingface_hub import constants, snapshot_download
        from huggingface_hub.file_download import repo_folder_name

        constants.DOWNLOAD_CHUNK_SIZE = _CHUNK
        self.repository = repository
        self.revision = revision
        self.counter = ByteCounter()
        self._cache = Path(constants.HF_HUB_CACHE)
        self._name = repo_folder_name(repo_id=repository, repo_type="model")
        files = snapshot_download(
            repository,
            revision=revision,
            allow_patterns=list(ALLOWED),
            ignore_patterns=list(IGNORED),
            dry_run=True,
        )
        names = {file.filename for file in files}
        if "config.json" not in names or not any(name.endswith(".safetensors") for name in names):
            raise DownloadError(
                "not_a_model",
                f"{repository} contains no model in MLX's format: it lacks "
                f"{'safetensors weights' if 'config.json' in names else 'a config.json'}.",
            )
        self.commit = files[0].commit_hash
        self.bytes = sum(file.file_size or 0 for file in files)
        self._wanted = [file for file in files if file.will_download]
        self.total = sum(file.file_size or 0 for file in self._wanted)

    def run(self) -> Iterator[None]:
        """Fetch all files. Yield regularly, so that the caller can report progress.

        Raises
        ------
        DownloadError
            If the disk has too little space.
        OSError
            If the network, the hub or the disk failed; see `explained`.
        """
        self._blobs.mkdir(parents=True, exist_ok=True)
        self._check_space()
        names = [file.filename for file in self._wanted]
        yield from self._files(name for name in names if not name.endswith(_WEIGHTS))
        if not (self._cache / self._name / "snapshots").exists():
            # With a config.json the catalog can list a model whose download is interrupted.
            self._link([pattern for pattern in ALLOWED if not pattern.endswith(_WEIGHTS)])
        yield from self._files(name for name in names if name.endswith(_WEIGHTS))
        self._link(list(ALLOWED))
        for part in self._blobs.glob(f"*{PARTIAL}"):
            # A partial file of an older commit, whose download nobody has continued.
            if time.time() - part.lstat().st_mtime > _STALE_SECONDS:
                part.unlink(missing_ok=True)

    def _files(self, names: Iterable[str]) -> Iterator[None]:
        """Fetch files, a few at a time."""
        # No `with`: after an error the process ends without waiting for the threads.
        pool = ThreadPoolExecutor(_AT_ONCE)
        pending = {pool.submit(self._file, name) for name in names}
        while pending:
            done, pending = wait(pending, _REPORT_SECONDS, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
            yield

    def _link(self, patterns: list[str]) -> None:
        """Let the library make the snapshot's folder from the blobs on the disk."""
        from huggingface_hub import snapshot_download

        snapshot_download(
            self.repository,
            revision=self.revision,
            allow_patterns=patterns,
            ignore_patterns=list(IGNORED),
        )

    @property
    def _blobs(self) -> Path:
        return self._cache / self._name / "blobs"

    def _check_space(self) -> None:
        need = self.total - sum(part.stat().st_size for part in self._blobs.glob(f"*{PARTIAL}"))
        free = shutil.disk_usage(self._blobs).free
        if need > 0 and need + _SPARE_BYTES > free:
            raise DownloadError(
                "disk_full",
                f"{self.repository} needs {need / 1e9:,.1f} GB more on the disk, and "
                f"{free / 1e9:,.1f} GB are free. Free some space, or set HF_HOME to another disk.",
            )

    def _file(self, name: str) -> None:
        """Fetch one file into the cache's blobs."""
        from huggingface_hub import get_hf_file_metadata, hf_hub_url
        from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

        url = hf_hub_url(self.repository, name, revision=self.commit)
        metadata = get_hf_file_metadata(url)
        if not metadata.etag or os.sep in metadata.etag:
            raise DownloadError(
                "download_failed", f"The hub does not say which version of {name} it has."
            )
        lock = self._cache / ".locks" / self._name / f"{metadata.etag}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(lock):
            blob = self._blobs / metadata.etag
            if blob.exists():
                self.counter.add(metadata.size or 0, 0)
                return
            part = blob.with_name(blob.name + PARTIAL)
            resumed = part.exists()
            self._transfer(url, part, metadata.size)
            if resumed and not _has_hash(part, metadata.etag):
                self.counter.add(-(metadata.size or 0), 0)
                part.unlink()
                self._transfer(url, part, metadata.size)
            part.replace(blob)

    def _transfer(self, url: str, part: Path, size: int | None) -> None:
        from huggingface_hub.file_download import http_get
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
        bar: Any = self.counter.bar()
        with part.open("ab") as file:
            there = file.tell()
            if size is not None and there > size:
                file.truncate(0)
                there = 0
            if there == size:
                self.counter.add(there, 0)
            http_get(
                url,
                file,
                resume_size=there,
                headers=headers,
                expected_size=size,
                tqdm_class=bar,
            )


def _has_hash(file: Path, etag: str) -> bool:
    """Whether the content of a file has the hash in an etag; True if the etag is no hash."""
    if len(etag) != _SHA256_DIGITS:
        return True
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest() == etag


def explained(error: BaseException, repository: str, revision: str | None) -> DownloadError:
    """Return the download error for an exception of any library."""
    import httpx2
    from huggingface_hub import constants
    from huggingface_hub import errors as hub

    chain = list(_chain(error))

    def found(*kinds: type[BaseException]) -> BaseException | None:
        return next((link for link in chain if isinstance(link, kinds)), None)

    if isinstance(failure := found(DownloadError), DownloadError):
        return failure
    place = constants.ENDPOINT.partition("://")[2]
    if found(hub.GatedRepoError):
        return DownloadError(
            "model_gated",
            f"{repository} is gated: accept its terms at {constants.ENDPOINT}/{repository}, then "
            "log in with `hf auth login` or set HF_TOKEN.",
        )
    if found(hub.RevisionNotFoundError):
        return DownloadError("revision_not_found", f"{repository} has no revision {revision!r}.")
    if found(hub.RepositoryNotFoundError, hub.DisabledRepoError, hub.HFValidationError):
        return DownloadError(
            "model_not_found",
            f"There is no model {repository!r} at {place}, or it is private. For private ones, "
            "log in with `hf auth login` or set HF_TOKEN.",
        )
    if found(hub.OfflineModeIsEnabled):
        return DownloadError(
            "offline", "Nothing can be downloaded, since HF_HUB_OFFLINE is set for the server."
        )
    answer = found(hub.HfHubHTTPError)
    if isinstance(answer, hub.HfHubHTTPError):
        return _http_error(answer.response.status_code, place)
    if found(httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError):
        return DownloadError(
            "hub_unreachable",
            f"{place} cannot be reached. Is this machine on the network? Anything already "
            "downloaded is kept.",
        )
    if found(httpx2.HTTPError):
        return DownloadError(
            "download_interrupted",
            f"The connection to {place} broke off. Anything already downloaded is kept: start the "
            "download again to continue.",
        )
    return _disk_error(chain, repository)


def _http_error(status: int, place: str) -> DownloadError:
    if status in (401, 403):
        return DownloadError(
            "hub_refused", f"{place} refuses the token of `hf auth login` or HF_TOKEN."
        )
    if status == 429:
        return DownloadError(
            "hub_busy", f"{place} accepts no more requests for now. Try again later."
        )
    return DownloadError(
        "hub_failed", f"{place} failed with HTTP status {status}. Try again later."
    )


def _disk_error(chain: list[BaseException], repository: str) -> DownloadError:
    for link in chain:
        if not isinstance(link, OSError):
            continue
        if link.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return DownloadError(
                "disk_full",
                f"The disk is full before all of {repository} was downloaded. Anything already "
                "downloaded is kept: free some space and start the download again.",
            )
        if link.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return DownloadError(
                "cache_not_writable", f"The Hugging Face cache cannot be written: {link}."
            )
    first = str(chain[0]).strip().splitlines() or [type(chain[0]).__name__]
    return DownloadError("download_failed", f"{repository} could not be downloaded: {first[0]}")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _write(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def main() -> int:
    """Download the model that standard input names."""
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    repository, revision = request["repository"], request["revision"]
    try:
        download = HubDownload(repository, revision)
        _write({"done": 0, "total": download.total})
        for _ in download.run():
            _write({"done": download.counter.done, "total": download.total})
    except Exception as error:
        failure = explained(error, repository, revision)
        _write({"code": failure.code, "message": str(failure)})
        return 1
    _write(
        {"commit": download.commit, "bytes": download.bytes, "fetched": download.counter.fetched}
    )
    return 0


if __name__ == "__main__":
    code = main()
    # Do not wait for threads that still use the network.
    os._exit(code)
