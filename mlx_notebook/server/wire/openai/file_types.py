"""Files: the types of `v1/files`.

Format: https://platform.openai.com/docs/api-reference/files.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

FilePurpose = Literal["batch", "batch_output", "user_data", "vision"]
# A client can upload these. `batch_output` is what the server makes of a batch.
UploadPurpose = Literal["batch", "user_data", "vision"]

# How long a file may be kept, in seconds.
LEAST_SECONDS, MOST_SECONDS = 3600, 30 * 24 * 3600
ExpirySeconds = Annotated[int, Meta(ge=LEAST_SECONDS, le=MOST_SECONDS)]


class FileUpload(Struct, kw_only=True):
    """The fields of the form that uploads a file."""

    file: Annotated[str, Meta(extra_json_schema={"format": "binary"})]
    purpose: UploadPurpose
    anchor: Literal["created_at"] | None = field(name="expires_after[anchor]", default=None)
    seconds: ExpirySeconds | None = field(name="expires_after[seconds]", default=None)


class FileObject(Struct, kw_only=True):
    """A file, without its bytes."""

    id: str
    bytes: int
    created_at: int
    filename: str
    purpose: FilePurpose
    expires_at: int | None = None
    object: Literal["file"] = "file"
    status: Literal["processed"] = "processed"
    status_details: None = None


class FilePage(Struct):
    """A page of files, the newest first by default."""

    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool
    object: Literal["list"] = "list"


class DeletedFile(Struct):
    """The answer to a DELETE request."""

    id: str
    object: Literal["file"] = "file"
    deleted: bool = True
