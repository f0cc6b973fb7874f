"""Names the blocks of token sequences, for the prefix cache on disk.

A block is `BLOCK` tokens of a sequence. Its name is a hash of the model's identity, the salt and
all tokens up to the block's end. So sequences with the same beginning have the same first names.
"""

import hashlib
from array import array

BLOCK = 128

STATE = "state "
"""How the names of arrays begin that belong to one length, not to tokens."""


def block_names(identity: str, tokens: list[int], salt: str = "") -> list[str]:
    """Return the names of a sequence's whole blocks, in order.

    Parameters
    ----------
    identity
        A name for everything that the model's KV caches depend on (`identify`).
    tokens
        Any whole numbers. Those of images may be larger than 64 bits.
    """
    name = _hashed(f"{len(identity)}:{identity}{salt}".encode())
    names = []
    for end in range(BLOCK, len(tokens) + 1, BLOCK):
        name = _hashed(name.encode() + _packed(tokens[end - BLOCK : end]))
        names.append(name)
    return names


def checkpoint_name(block: str, rest: list[int]) -> str:
    """Return the name of a checkpoint `rest` tokens after a block."""
    return _hashed(block.encode() + b"checkpoint" + _packed(rest))


def _hashed(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=20).hexdigest()


def _packed(tokens: list[int]) -> bytes:
    try:
        return b"q" + array("q", tokens).tobytes()
    except OverflowError:
        return b"r" + repr(tokens).encode()
