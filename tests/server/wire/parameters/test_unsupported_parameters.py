from typing import Any

import msgspec
import pytest

from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.openai import chat_request, embedding_types
from mlx_notebook.server.wire.parameters.unsupported_parameters import EMBEDDING, Unsupported
from tests.server.wire.smallest_requests import GENERATING, asked


@pytest.mark.parametrize("kind", GENERATING)
def test_a_parameter_that_would_change_an_answer_is_refused_with_advice(
    kind: type[msgspec.Struct],
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        asked(kind, n_predict=5)
    assert caught.value.param == "n_predict"
    assert caught.value.code == "unsupported_parameter"
    assert "use 'max_tokens'" in caught.value.message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mirostat", 2),
        ("use_beam_search", True),
        ("skip_special_tokens", False),
        ("chat_template", "{{ messages }}"),
        ("documents", [{"text": "x"}]),
        ("dry_multiplier", 0.8),
        ("samplers", ["top_k"]),
        ("transforms", ["middle-out"]),
        ("options", {"temperature": 0}),
        ("think", False),
        ("reasoning_format", "none"),
        ("stop_sequences", ["x"]),
        ("truncation", "auto"),
    ],
)
def test_parameters_of_other_servers_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        asked(chat_request.ChatCompletionRequest, **{name: value})
    assert caught.value.param == name


@pytest.mark.parametrize(
    "neutral",
    [
        {"mirostat": 0},
        {"use_beam_search": False},
        {"skip_special_tokens": True},
        {"top_n_sigma": -1},
        {"length_penalty": 1.0},
        {"truncation": "disabled"},
        {"options": {}},
        {"samplers": None},
    ],
)
def test_values_without_effect_are_ignored(neutral: dict[str, Any]) -> None:
    assert asked(chat_request.ChatCompletionRequest, **neutral) == [*neutral]


def test_a_zero_is_not_taken_for_false() -> None:
    with pytest.raises(InvalidRequest):
        asked(chat_request.ChatCompletionRequest, use_beam_search=1)


@pytest.mark.parametrize(
    ("parameters", "param"),
    [
        ({"input_type": "query"}, "input_type"),
        ({"normalize": False}, "normalize"),
        ({"output_dimension": 8}, "output_dimension"),
        ({"pooling": "mean"}, "pooling"),
    ],
)
def test_parameters_that_would_change_an_embedding_are_refused(
    parameters: dict[str, Any], param: str
) -> None:
    assert param in EMBEDDING
    with pytest.raises(InvalidRequest) as caught:
        asked(embedding_types.EmbeddingRequest, **parameters)
    assert caught.value.param == param


def test_false_has_an_effect_on_a_switch_that_is_on_by_default() -> None:
    assert not Unsupported().has_effect(False)
    assert Unsupported(on_by_default=True).has_effect(False)
    assert not Unsupported(on_by_default=True).has_effect(None)
