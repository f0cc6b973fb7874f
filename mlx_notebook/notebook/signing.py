"""Sign files, to tell those that this user wrote on this machine from others.

The signature is the last member of the JSON object. Only this user can read its key, as
with the notebooks that Jupyter trusts. A file from elsewhere, or one that was edited, has no valid
signature.
"""

import hashlib
import hmac
import os
import secrets
import warnings
from contextlib import suppress
from pathlib import Path

_MEMBER = ',\n "signature": "'
_KEY_BYTES = 32


def signed(text: str) -> str:
    """Add a signature to the text of a non-empty JSON object.

    If the key can neither be read nor created, the text stays as it is and a warning is issued.
    """
    try:
        key = _key()
    except OSError as error:
        warnings.warn(
            f"The file is not signed, so it counts as a file from elsewhere: {error}.", stacklevel=2
        )
        return text
    body = text.rstrip().removesuffix("}").rstrip()
    return f"{body}{_MEMBER}{_code(key, body)}"


def is_signed(text: str) -> bool:
    """Return whether this user signed the text on this machine and nobody has changed it since."""
    body, member, code = text.rpartition(_MEMBER)
    try:
        return bool(member) and hmac.compare_digest(code.encode(), _code(_key(), body).encode())
    except OSError:
        return False


def _code(key: bytes, body: str) -> str:
    """Return the text between the opening quotation mark of a signature and the end of the file."""
    return hmac.new(key, body.encode(errors="replace"), hashlib.sha256).hexdigest() + '"\n}\n'


def _key() -> bytes:
    """Read this user's key, or create it.

    Raises
    ------
    OSError
        If it can neither be read nor created.
    """
    from jupyter_core.paths import jupyter_data_dir

    file = Path(jupyter_data_dir()) / "mlx_notebook" / "file_key"
    try:
        key = file.read_bytes()
    except FileNotFoundError:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = _create(file)
    if len(key) != _KEY_BYTES:
        raise OSError(f"{file} is not a key")
    return key


def _create(file: Path) -> bytes:
    """Create the key. If two kernels do so at once, both get the same one."""
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as written:
            written.write(secrets.token_bytes(_KEY_BYTES))
        with suppress(FileExistsError):
            os.link(draft, file)
    finally:
        draft.unlink()
    return file.read_bytes()
