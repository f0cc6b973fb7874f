"""Reasoning as an opaque text, for APIs whose clients hand it back without showing it.

It is packed, not encrypted: the client it goes to may read the reasoning anyway.
"""

import base64
import binascii
import zlib

_MARK = "mlxnb1."
# What a client hands back is not trusted: a small text may unpack to gigabytes.
_MOST_BYTES = 4 * 1024 * 1024


def seal(text: str) -> str:
    """Return a text in opaque form."""
    return _MARK + base64.urlsafe_b64encode(zlib.compress(text.encode())).decode()


def unseal(sealed: str) -> str | None:
    """Return what `seal` took; None for text that is not of its making."""
    if not sealed.startswith(_MARK):
        return None
    try:
        packed = base64.urlsafe_b64decode(sealed.removeprefix(_MARK))
        return zlib.decompressobj().decompress(packed, _MOST_BYTES).decode()
    except (binascii.Error, zlib.error, UnicodeDecodeError):
        return None
