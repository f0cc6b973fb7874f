"""Handle `v1/files`: upload, list, show, read and delete files."""

from typing import get_args
from urllib.parse import quote

from jupyter_server.auth.decorator import authorized
from tornado import web

from mlx_notebook.server.api.http.base import ApiHandler, ends_with_client
from mlx_notebook.server.api.http.query import one_of, whole_number
from mlx_notebook.server.api.http.upload import UploadForm, UploadHandler
from mlx_notebook.server.batches.file_store import NewFile
from mlx_notebook.server.errors import BodyTooLarge, InvalidRequest
from mlx_notebook.server.identity import owner
from mlx_notebook.server.wire.openai.file_types import (
    LEAST_SECONDS,
    MOST_SECONDS,
    DeletedFile,
    FilePage,
    FilePurpose,
    UploadPurpose,
)

_MAX_LIMIT = 10_000
_MAX_NAME = 255
_ANCHOR, _SECONDS = "expires_after[anchor]", "expires_after[seconds]"
_FIELDS = {"file", "purpose", _ANCHOR, _SECONDS}
_BINARY = "application/octet-stream"


class FilesHandler(UploadHandler):
    """Upload and list files."""

    endpoint = "v1/files"

    @web.authenticated
    @authorized
    @ends_with_client
    async def post(self) -> None:
        """Keep a file, and answer with what there is to say of it."""
        new = self._new_file(await self.form())
        self.answer(await self.services.batches.files.create(await owner(self), new))

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer with a page of the user's files, newest first unless `order` is `asc`."""
        limit = whole_number(self, "limit", _MAX_LIMIT, 1, _MAX_LIMIT)
        after = self.get_query_argument("after", "")
        found = await self.services.batches.files.page(
            await owner(self),
            purpose=one_of(self, "purpose", "", get_args(FilePurpose)),
            after=after,
            limit=limit,
            descending=one_of(self, "order", "desc", ("asc", "desc")) == "desc",
        )
        if found is None:
            raise InvalidRequest(f"There is no file {after[:200]!r} in it.", param="after")
        shown = found[:limit]
        self.answer(
            FilePage(
                data=shown,
                first_id=shown[0].id if shown else None,
                last_id=shown[-1].id if shown else None,
                has_more=len(found) > limit,
            )
        )

    def _new_file(self, form: UploadForm) -> NewFile:
        """Return the file of a form.

        Raises
        ------
        ApiError
            If a field is missing or wrong, or the file is too large.
        """
        self.report_ignored(*sorted({*form.fields, *form.files} - _FIELDS))
        file = form.files.get("file")
        if file is None:
            raise InvalidRequest(
                "The form needs a file in the field 'file', with a file name.",
                param="file",
                code="missing_parameter",
            )
        if not file.body:
            raise InvalidRequest("The file is empty.", param="file", code="invalid_value")
        if len(file.body) > (most := self.services.limits.max_file_bytes):
            raise BodyTooLarge(
                f"The file is larger than {most:,} bytes, the most that this server accepts "
                "(MlxNotebookApp.max_file_bytes).",
                param="file",
            )
        name = "".join(letter for letter in file.filename if letter.isprintable())
        return NewFile(
            filename=name[:_MAX_NAME] or "file",
            purpose=_purpose(form.fields.get("purpose")),
            content=file.body,
            seconds=_seconds(form.fields),
        )


class FileHandler(ApiHandler):
    """Show and delete one file."""

    endpoint = "v1/files/{id}"

    @web.authenticated
    @authorized
    async def get(self, id: str) -> None:
        """Answer with what there is to say of the file."""
        self.answer(await self.services.batches.files.get(await owner(self), id))

    @web.authenticated
    @authorized
    async def delete(self, id: str) -> None:
        """Delete it."""
        await self.services.batches.files.delete(await owner(self), id)
        self.answer(DeletedFile(id))


class FileContentHandler(ApiHandler):
    """Read one file."""

    endpoint = "v1/files/{id}/content"

    @web.authenticated
    @authorized
    async def get(self, id: str) -> None:
        """Answer with its bytes, as a download: a browser must not show it as a page."""
        file, content = await self.services.batches.files.content(await owner(self), id)
        name = quote(file.filename, safe="")
        self.set_header("Content-Disposition", f"attachment; filename*=UTF-8''{name}")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.finish(content, set_content_type=_BINARY)


def _purpose(given: str | None) -> UploadPurpose:
    """Return the purpose of an upload.

    Raises
    ------
    InvalidRequest
        If it is missing, or none that an upload can have.
    """
    if given is None:
        raise InvalidRequest(
            "The form needs 'purpose': batch, user_data or vision.",
            param="purpose",
            code="missing_parameter",
        )
    for purpose in get_args(UploadPurpose):
        if given == purpose:
            return purpose  # type: ignore[no-any-return]
    why = " Only the server makes such files." if given == "batch_output" else ""
    raise InvalidRequest(
        f"'purpose' must be batch, user_data or vision, and not {given[:100]!r}.{why}",
        param="purpose",
        code="invalid_value",
    )


def _seconds(fields: dict[str, str]) -> int | None:
    """Return how long to keep a file; None until it is deleted.

    Raises
    ------
    InvalidRequest
        If that is not valid.
    """
    anchor, seconds = fields.get(_ANCHOR), fields.get(_SECONDS)
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at":
        raise InvalidRequest(
            "'expires_after[anchor]' must be created_at.", param=_ANCHOR, code="invalid_value"
        )
    digits = seconds is not None and seconds.isascii() and seconds.isdecimal() and len(seconds) < 10
    if seconds is None or not digits or not LEAST_SECONDS <= int(seconds) <= MOST_SECONDS:
        raise InvalidRequest(
            f"'expires_after[seconds]' must be a whole number from {LEAST_SECONDS:,} to "
            f"{MOST_SECONDS:,}.",
            param=_SECONDS,
            code="invalid_value",
        )
    return int(seconds)
