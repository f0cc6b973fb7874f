"""Read the file of a batch: one request a line, each with an id of its own.

Format: https://platform.openai.com/docs/guides/batch.
"""

import msgspec

from mlx_notebook.server.batches.batch_record import LineError, WaitingLine

MAX_LINES = 50_000
# Errors that are told; a file with more has the same mistake everywhere.
_MAX_ERRORS = 100
_MAX_ID = 512


class _InputLine(msgspec.Struct):
    custom_id: str
    method: str
    url: str
    body: msgspec.Raw


_DECODER = msgspec.json.Decoder(_InputLine)


def read_lines(content: bytes, endpoint: str) -> tuple[list[WaitingLine], list[LineError]]:
    """Return the lines of a file, and what is wrong with it.

    Parameters
    ----------
    content
        The file.
    endpoint
        The route to which all lines must go, for example `v1/chat/completions`.
    """
    lines: list[WaitingLine] = []
    errors: list[LineError] = []
    seen: set[str] = set()
    for number, text in enumerate(content.splitlines(), 1):
        if not text.strip():
            continue
        if len(lines) == MAX_LINES:
            message = f"The file has more than {MAX_LINES:,} requests. Divide it."
            errors.append(LineError("too_many_lines", message, number))
            break
        found = _line(text, number, endpoint, seen)
        if isinstance(found, WaitingLine):
            lines.append(found)
        else:
            errors.append(found)
        if len(errors) == _MAX_ERRORS:
            break
    if not lines and not errors:
        errors.append(LineError("empty_file", "The file has no requests."))
    return lines, errors


def _line(text: bytes, number: int, endpoint: str, seen: set[str]) -> WaitingLine | LineError:
    try:
        line = _DECODER.decode(text)
    except msgspec.ValidationError as error:
        message = f"The line is not a request of a batch: {error}."
        return LineError("invalid_line", message, number)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return LineError("invalid_json_line", f"The line is not JSON: {error}.", number)
    if line.method != "POST":
        message = f"'method' must be POST, and not {line.method[:20]!r}."
        return LineError("invalid_method", message, number, "method")
    if line.url != f"/{endpoint}":
        message = f"'url' must be /{endpoint}, the endpoint of the batch, not {line.url[:100]!r}."
        return LineError("invalid_url", message, number, "url")
    if not 0 < len(line.custom_id) <= _MAX_ID:
        message = f"'custom_id' must have 1 to {_MAX_ID} characters."
        return LineError("invalid_custom_id", message, number, "custom_id")
    if line.custom_id in seen:
        message = f"Another line has the custom_id {line.custom_id[:100]!r} too."
        return LineError("duplicate_custom_id", message, number, "custom_id")
    seen.add(line.custom_id)
    body = bytes(line.body)
    if not body.startswith(b"{"):
        return LineError("invalid_line", "'body' must be an object.", number, "body")
    return WaitingLine(number, line.custom_id, body)
