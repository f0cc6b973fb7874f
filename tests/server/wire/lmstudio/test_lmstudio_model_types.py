import pytest

from mlx_notebook.server.wire.lmstudio.lmstudio_model_types import (
    DOWNLOAD_DECODER,
    params_string,
)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (8_000_000_000, "8B"),
        (1_540_000_000, "1.5B"),
        (270_000_000, "270M"),
        (900_000, "900K"),
    ],
)
def test_numbers_of_parameters_are_short(count: int, text: str) -> None:
    assert params_string(count) == text


@pytest.mark.parametrize(
    "given",
    [
        "org/model",
        "https://huggingface.co/org/model",
        "https://huggingface.co/org/model/tree/main",
        "https://hf.co/org/model",
    ],
)
def test_a_model_to_download_has_a_name_or_an_address(given: str) -> None:
    request = DOWNLOAD_DECODER.decode(f'{{"model": "{given}"}}')
    assert request.name == "org/model"
