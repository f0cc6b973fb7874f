"""Read uploads: bodies of the type multipart/form-data."""

import asyncio
from dataclasses import dataclass

from tornado.httputil import (
    HTTPFile,
    HTTPInputError,
    _parse_header,
    parse_multipart_form_data,
)

from mlx_notebook.server.api.http.base import ApiHandler
from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.body import RequestBody

# Room for the fields beside the file, and for the marks between them, in bytes.
FIELD_BYTES = 64 * 1024


class UploadBody(RequestBody):
    """The bytes of a form. They are not JSON, so there is nothing to count."""

    def take(self, piece: bytes) -> None:
        """Add a chunk of bytes."""
        self.content += piece


@dataclass(frozen=True)
class UploadForm:
    """The fields and the files of a form, by their names.

    A field whose name ends with `[]` may come several times: it is in `lists`, without the `[]`.
    """

    fields: dict[str, str]
    files: dict[str, HTTPFile]
    lists: dict[str, list[str]]


class UploadHandler(ApiHandler):
    """Base of the routes to which a file can be uploaded."""

    def initialize(self) -> None:
        """Initialize the state of a request."""
        super().initialize()
        self.body = UploadBody()

    @property
    def max_body_bytes(self) -> int:
        """The largest body, in bytes."""
        return self.services.limits.max_file_bytes + FIELD_BYTES

    @property
    def limit_of_bodies(self) -> str:
        """The setting that limits the body."""
        return "MlxNotebookApp.max_file_bytes"

    async def form(self) -> UploadForm:
        """Return the fields and the files of the request.

        Raises
        ------
        InvalidRequest
            If the body is not a form, or a field comes twice.
        """
        kind, options = _parse_header(self.request.headers.get("Content-Type", ""))
        if kind != "multipart/form-data" or not options.get("boundary"):
            raise InvalidRequest(
                "Send the file as a form: a body of the type multipart/form-data.",
                code="invalid_form",
            )
        content = self.body.content
        form = await asyncio.to_thread(_parsed, options["boundary"].encode(), content)
        self.body.clear()
        return form


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise InvalidRequest(
            f"The form's field {name!r} is not UTF-8. If it is a file, give it a file name.",
            param=name,
            code="invalid_form",
        ) from None


def _parsed(boundary: bytes, content: bytearray) -> UploadForm:
    fields: dict[str, list[bytes]] = {}
    files: dict[str, list[HTTPFile]] = {}
    try:
        parse_multipart_form_data(boundary, bytes(content), fields, files)
    except (HTTPInputError, ValueError) as error:
        raise InvalidRequest(f"The form is malformed: {error}.", code="invalid_form") from None
    texts = {name: [_text(name, one) for one in values] for name, values in fields.items()}
    twice = [
        name
        for name in {*fields, *files}
        if not name.endswith("[]")
        if len(fields.get(name, ())) + len(files.get(name, ())) > 1
    ]
    if twice:
        raise InvalidRequest(
            f"The form has {min(twice)!r} more than once.", param=min(twice), code="invalid_form"
        )
    return UploadForm(
        {name: values[0] for name, values in texts.items() if not name.endswith("[]")},
        {name: found[0] for name, found in files.items()},
        {name[:-2]: values for name, values in texts.items() if name.endswith("[]")},
    )
