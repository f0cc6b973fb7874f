"""The gated delta rule with matrix products gives the results of the rule token by token."""

import sys
from itertools import product
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_notebook.engine.runtime import gated_delta
from mlx_notebook.engine.runtime.gated_delta import replace_token_loops, update


def inputs(
    length: int,
    *,
    rows: int = 2,
    heads: tuple[int, int] = (2, 4),
    vector: bool = False,
    seed: int = 0,
) -> dict[str, Any]:
    """Return random inputs; keys and queries have the length 1."""
    draw = np.random.default_rng(seed)
    key_heads, all_heads = heads
    gate = (rows, length, all_heads, *((16,) if vector else ()))
    q, k = draw.normal(size=(2, rows, length, key_heads, 16))
    return {
        "q": q / np.linalg.norm(q, axis=-1, keepdims=True),
        "k": k / np.linalg.norm(k, axis=-1, keepdims=True),
        "v": draw.normal(size=(rows, length, all_heads, 8)),
        "g": draw.uniform(0.2, 1, size=gate),
        "beta": draw.uniform(size=(rows, length, all_heads)),
        "state": draw.normal(size=(rows, all_heads, 8, 16)),
    }


def token_by_token(
    given: dict[str, Any], mask: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Apply the rule as it is defined, in double precision."""
    q, k, v, g, beta = (given[name] for name in ("q", "k", "v", "g", "beta"))
    state = given["state"].copy()
    output = np.zeros_like(v)
    for row, head in product(range(v.shape[0]), range(v.shape[2])):
        key_head = head * k.shape[2] // v.shape[2]
        for token in range(v.shape[1]):
            if mask is not None and not mask[row, token]:
                continue
            now = state[row, head] * g[row, token, head]
            key = k[row, token, key_head]
            delta = beta[row, token, head] * (v[row, token, head] - now @ key)
            state[row, head] = now + np.outer(delta, key)
            output[row, token, head] = state[row, head] @ q[row, token, key_head]
    return output, state


def run(given: dict[str, Any], mask: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    arrays = {name: mx.array(value, dtype=mx.float32) for name, value in given.items()}
    output, state = update(**arrays, mask=None if mask is None else mx.array(mask))
    return np.array(output), np.array(state)


def agree(one: np.ndarray, other: np.ndarray, tolerance: float = 2e-6) -> bool:
    return bool(np.abs(one - other).max() <= tolerance * np.abs(other).max())


@pytest.mark.parametrize("length", [1, 7, 8, 16, 17, 70])
@pytest.mark.parametrize("vector", [False, True], ids=["one gate a head", "a gate a width"])
@pytest.mark.parametrize("chunk", [None, 64], ids=["own chunks", "chunks of a GPU"])
def test_results_are_those_of_the_rule_token_by_token(
    length: int, vector: bool, chunk: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if chunk is not None:
        monkeypatch.setattr(gated_delta, "_chunk", lambda _: chunk)
    given = inputs(length, vector=vector, seed=length)
    for one, other in zip(run(given), token_by_token(given), strict=True):
        assert agree(one, other)


@pytest.mark.parametrize("heads", [(1, 1), (2, 2), (2, 6)])
def test_a_key_head_serves_adjacent_heads(heads: tuple[int, int]) -> None:
    given = inputs(20, heads=heads)
    for one, other in zip(run(given), token_by_token(given), strict=True):
        assert agree(one, other)


@pytest.mark.parametrize("vector", [False, True])
@pytest.mark.parametrize("length", [5, 40])
@pytest.mark.parametrize("side", ["left", "right"])
def test_masked_tokens_change_nothing(vector: bool, length: int, side: str) -> None:
    given = inputs(length, rows=3, vector=vector)
    padding = np.array([0, 3, length])[:, None]
    places = np.arange(length)[None]
    mask = places >= padding if side == "left" else places < length - padding
    output, state = run(given, mask)
    expected, after = token_by_token(given, mask)
    assert agree(np.where(mask[..., None, None], output, 0), expected)
    assert agree(state, after)
    assert np.array_equal(state[2], given["state"][2].astype(np.float32))


def test_a_prompt_in_parts_has_the_state_and_outputs_of_the_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = inputs(100)
    whole = run(given)
    first = run({name: v if name == "state" else v[:, :37] for name, v in given.items()})
    rest = {name: v[:, 37:] for name, v in given.items() if name != "state"}
    second = run({**rest, "state": first[1]})
    assert agree(np.concatenate([first[0], second[0]], axis=1), whole[0])
    assert agree(second[1], whole[1])
    monkeypatch.setattr(gated_delta, "_MOST_TOKENS", 64)
    for one, other in zip(run(given), whole, strict=True):
        assert agree(one, other)


@pytest.mark.parametrize("vector", [False, True])
@pytest.mark.parametrize("case", ["all forgotten", "tiny gates", "nothing forgotten", "one key"])
def test_extreme_inputs_stay_exact(vector: bool, case: str) -> None:
    given = inputs(80, vector=vector)
    if case == "all forgotten":
        given["g"][:, ::3] = 0
    elif case == "tiny gates":
        given["g"] **= np.linspace(1, 60, 4)[:, None] if vector else np.linspace(1, 60, 4)
    else:
        given["g"][:] = 1
    if case == "one key":
        given["k"][:] = given["k"][:, :1]
        given["beta"][:] = 1
    for one, other in zip(run(given), token_by_token(given), strict=True):
        assert agree(one, other, 1e-5)


def test_without_a_state_it_begins_with_zeros() -> None:
    given = inputs(20)
    given["state"][:] = 0
    zeros = run(given)
    del given["state"]
    for one, other in zip(run(given), zeros, strict=True):
        assert np.array_equal(one, other)


def test_the_output_has_the_type_of_the_queries_and_the_state_is_fp32() -> None:
    given = inputs(20)
    half = {name: mx.array(value).astype(mx.bfloat16) for name, value in given.items()}
    output, state = update(**half)
    assert (output.dtype, state.dtype) == (mx.bfloat16, mx.float32)
    rounded = {name: np.array(value.astype(mx.float32)) for name, value in half.items()}
    expected, after = token_by_token(rounded)
    assert agree(np.array(output.astype(mx.float32)), expected, 2**-8)
    assert agree(np.array(state), after)


def library(monkeypatch: pytest.MonkeyPatch, function: Any) -> SimpleNamespace:
    """Make a module with a function that goes token by token, and list it."""
    module = SimpleNamespace(loop=function)
    monkeypatch.setitem(sys.modules, "a_library", module)  # type: ignore[arg-type]
    monkeypatch.setattr(gated_delta, "_FUNCTIONS", (("a_library", "loop", True),))
    return module


def test_mlx_lms_function_is_replaced_once_and_gives_equal_results(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mlx_lm.models import gated_delta as theirs

    original = getattr(theirs.gated_delta_ops, "replaces", theirs.gated_delta_ops)
    module = library(monkeypatch, original)
    replace_token_loops()
    replaced = module.loop
    assert replaced.replaces is original
    replace_token_loops()
    assert module.loop is replaced
    given = {name: mx.array(v, dtype=mx.float32) for name, v in inputs(30).items()}
    for one, other in zip(replaced(**given), original(**given), strict=True):
        assert agree(np.array(one), np.array(other))


def test_a_function_with_other_results_stays(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def forgetful(*given: mx.array) -> tuple[mx.array, mx.array]:
        output, state = update(*given)
        return output, 0.99 * state

    module = library(monkeypatch, forgetful)
    replace_token_loops()
    assert module.loop is forgetful
    assert "a_library.loop stays, token by token" in caplog.text


def test_on_metal_nothing_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    module = library(monkeypatch, update)
    monkeypatch.setattr(mx.metal, "is_available", lambda: True)
    replace_token_loops()
    assert module.loop is update


def test_states_between_tokens_come_from_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def with_states(*given: Any, state_steps: int | None = None) -> Any:
        return ("all states", state_steps) if state_steps else update(*given)

    module = library(monkeypatch, with_states)
    replace_token_loops()
    given = [mx.array(v, dtype=mx.float32) for v in inputs(9).values()]
    assert module.loop(*given, None, state_steps=4) == ("all states", 4)
    assert module.loop(*given)[0].shape == (2, 9, 4, 8)
