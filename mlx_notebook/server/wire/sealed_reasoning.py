"""Encode reasoning as opaque text, for clients that send it back without showing it.

It is compressed, not encrypted: the client may read the reasoning anyway.
"""

import base64
import binascii
import zlib

_PREFIX = "mlxnb1."
# Text from a client is not trusted: a short one may decompress to gigabytes.
_MAX_BYTES = 4 * 1024 * 1024


def seal(text: str) -> str:
    """Return a text in opaque form."""
    return _PREFIX + base64.urlsafe_b64encode(zlib.compress(text.encode())).decode()


def unseal(sealed: str) -> str | None:
    """Return the text that `seal` encoded, or None if it did not make `sealed`."""
    if not sealed.startswith(_PREFIX):
        return None
    try:
        compressed = base64.urlsafe_b64decode(sealed.removeprefix(_PREFIX))
        return zlib.decompressobj().decompress(compressed, _MAX_BYTES).decode()
    except (binascii.Error, zlib.error, UnicodeDecodeError):
        return None
