"""Telling files that this user wrote on this machine from files of others.

A file's last member is a signature with a key that only this user can read, as Jupyter signs
notebooks that it trusts. A file from elsewhere has none that fits, and neither has one that was
changed by other means than ours.
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
    """Add a signature to a text that is a JSON object with members.

    Where the key can be neither read nor made the text stays as it is: it will count as a file of
    others.
    """
    try:
        key = _key()
    except OSError as error:
        warnings.warn(
            f"The file is not signed, and will count as one of others: {error}.", stacklevel=2
        )
        return text
    body = text.rstrip().removesuffix("}").rstrip()
    return f"{body}{_MEMBER}{_code(key, body)}"


def is_signed(text: str) -> bool:
    """Say whether this user signed the text on this machine, and it is as it was then."""
    body, member, code = text.rpartition(_MEMBER)
    try:
        return bool(member) and hmac.compare_digest(code.encode(), _code(_key(), body).encode())
    except OSError:
        return False


def _code(key: bytes, body: str) -> str:
    """What stands behind the opening quotation mark of a signature, to the file's end."""
    return hmac.new(key, body.encode(errors="replace"), hashlib.sha256).hexdigest() + '"\n}\n'


def _key() -> bytes:
    """Read this user's key, or make it. Raises `OSError` where neither can be done."""
    from jupyter_core.paths import jupyter_data_dir

    file = Path(jupyter_data_dir()) / "mlx_notebook" / "file_key"
    try:
        key = file.read_bytes()
    except FileNotFoundError:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = _made(file)
    if len(key) != _KEY_BYTES:
        raise OSError(f"{file} is not a key")
    return key


def _made(file: Path) -> bytes:
    """Make the key; of two kernels that do so at once, both get the same one."""
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
