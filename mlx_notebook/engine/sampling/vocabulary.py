"""The bytes of a tokenizer's tokens, for log probabilities in OpenAI's format."""

from functools import lru_cache
from typing import Any

from mlx_notebook.protocol import TokenLogprob


@lru_cache(maxsize=1)
def _byte_of() -> dict[str, int]:
    """Return the byte of each character that GPT-2's byte-level BPE uses.

    Printable bytes are their own characters. The others, in order, are the characters from code
    point 256 on.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    table = {chr(byte): byte for byte in printable}
    others = (byte for byte in range(256) if byte not in printable)
    return table | {chr(256 + i): byte for i, byte in enumerate(others)}


class Vocabulary:
    """The bytes of each token of one tokenizer."""

    def __init__(self, tokenizer: Any):
        self._tokenizer = tokenizer
        backend = getattr(tokenizer._tokenizer, "backend_tokenizer", None)
        self._byte_level = "ByteLevel" in str(getattr(backend, "decoder", ""))
        self._special = set(getattr(tokenizer, "all_special_ids", []))
        self._special |= set(getattr(tokenizer, "added_tokens_decoder", {}))

    def token_bytes(self, token: int) -> bytes:
        """Return the bytes of a token; for a special token, those of its name."""
        name = self._tokenizer.convert_ids_to_tokens(token)
        if name is None:
            return b""
        if token in self._special:
            return str(name).encode()
        if self._byte_level:
            table = _byte_of()
            if all(character in table for character in name):
                return bytes(table[character] for character in name)
            return str(name).encode()
        if name.startswith("<0x") and name.endswith(">") and len(name) == 6:
            return bytes([int(name[3:5], 16)])
        return str(name).replace("\u2581", " ").encode()

    def logprob(self, token: int, logprob: float, best: list[tuple[int, float]]) -> TokenLogprob:
        """Return a token's log probability and its alternatives, as in OpenAI's API.

        Parameters
        ----------
        best
            Ids and log probabilities of the most likely tokens.
        """

        def shown(other: int, value: float) -> tuple[str, float, list[int]]:
            data = self.token_bytes(other)
            return data.decode(errors="replace"), value, list(data)

        text, value, data = shown(token, logprob)
        return TokenLogprob(text, value, data, [shown(*other) for other in best])
