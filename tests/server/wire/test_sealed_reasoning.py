import base64
import zlib

import pytest

from mlx_notebook.server.wire.sealed_reasoning import seal, unseal


@pytest.mark.parametrize("text", ["", "Hmm.", "na\u00efve \U0001f600", "long " * 10_000])
def test_sealed_text_is_opaque_and_can_be_unsealed(text: str) -> None:
    sealed = seal(text)
    assert sealed.isascii()
    assert not text or text not in sealed
    assert unseal(sealed) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "EmwKAh",
        "mlxnb1.",
        "mlxnb1.not base64!",
        "mlxnb1.AAAA",
        "mlxnb1." + base64.urlsafe_b64encode(zlib.compress(b"\xff\xfe")).decode(),
    ],
)
def test_text_of_another_server_is_not_unsealed(text: str) -> None:
    assert not unseal(text)


def test_a_small_text_cannot_unseal_to_gigabytes() -> None:
    packed = zlib.compress(b"a" * (64 * 1024 * 1024))
    text = unseal("mlxnb1." + base64.urlsafe_b64encode(packed).decode())
    assert text is not None
    assert len(text) == 4 * 1024 * 1024
