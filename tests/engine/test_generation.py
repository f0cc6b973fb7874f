"""What a request gets, alone and among others."""

from pathlib import Path

import pytest

from mlx_notebook import protocol
from tests.engine.process import EngineProcess, running

GREEDY = {"temperature": 0.0, "ignore_eos": True}


def ask(engine: EngineProcess, model: Path, text: str | protocol.Prompt, **options: object) -> str:
    """The whole raw answer, thinking included, of one request."""
    request = engine.start("random", model, text, **options)
    (end,) = engine.finish(request)
    assert isinstance(end, protocol.Done), end
    return everything(engine, request)


def everything(engine: EngineProcess, request: str, row: int = 0) -> str:
    return "".join(
        e.text
        for e in engine.events
        if isinstance(e, protocol.Text | protocol.Reasoning) and e.id == request and e.row == row
    )


def test_a_cached_prompt_gives_the_same_greedy_text_as_a_cold_one(model: Path) -> None:
    prompt = "Tell me about the sea, the land and the sky. " * 8
    with running() as cold:
        expected = ask(cold, model, prompt, max_tokens=60, **GREEDY)
    with running() as warm:
        ask(warm, model, prompt[:200], max_tokens=20, **GREEDY)
        ask(warm, model, prompt + "And more.", max_tokens=20, **GREEDY)
        request = warm.start("random", model, prompt, max_tokens=60, **GREEDY)
        (end,) = warm.finish(request)
        assert isinstance(end, protocol.Done)
        assert end.usage.cached > 300
        assert everything(warm, request) == expected


def test_an_exact_repetition_still_feeds_one_token(engine: EngineProcess, model: Path) -> None:
    first = ask(engine, model, "again and again", max_tokens=20, **GREEDY)
    request = engine.start("random", model, "again and again", max_tokens=20, **GREEDY)
    (end,) = engine.finish(request)
    assert isinstance(end, protocol.Done)
    assert 0 < end.usage.cached < end.usage.prompt
    assert everything(engine, request) == first


def test_a_seed_gives_the_same_text_alone_and_beside_fifteen_others(
    engine: EngineProcess, model: Path
) -> None:
    options = {"temperature": 1.0, "top_p": 0.95, "ignore_eos": True, "max_tokens": 50}
    alone = [ask(engine, model, f"seeded {i}", seed=i, **options) for i in range(4)]
    mixed = [engine.start("random", model, f"seeded {i}", seed=i, **options) for i in range(4)]
    mixed += [
        engine.start("random", model, f"other {i}", temperature=i / 10, max_tokens=10 + 3 * i)
        for i in range(12)
    ]
    engine.finish(*mixed)
    assert [everything(engine, request) for request in mixed[:4]] == alone


def test_different_seeds_give_different_texts(engine: EngineProcess, model: Path) -> None:
    texts = {
        ask(engine, model, "seeds", seed=i, temperature=1.0, max_tokens=30, ignore_eos=True)
        for i in range(3)
    }
    assert len(texts) == 3


def test_n_rows_share_one_prefill_and_differ(engine: EngineProcess, model: Path) -> None:
    before = engine.stats().totals.prompt_tokens
    request = engine.start(
        "random", model, "several answers", n=3, seed=7, temperature=1.0, max_tokens=20
    )
    (end,) = engine.finish(request)
    assert isinstance(end, protocol.Done)
    assert engine.stats().totals.prompt_tokens - before == end.usage.prompt
    assert len({everything(engine, request, row) for row in range(3)}) == 3
    first = ask(engine, model, "several answers", seed=7, temperature=1.0, max_tokens=20)
    assert everything(engine, request, 0) == first


def test_stop_strings_end_the_text_before_them_wherever_tokens_end(
    engine: EngineProcess, model: Path
) -> None:
    whole = ask(engine, model, "stop me", max_tokens=40, **GREEDY)
    word = whole[12:15]
    request = engine.start("random", model, "stop me", max_tokens=40, stop=[word], **GREEDY)
    engine.finish(request)
    assert everything(engine, request) == whole[: whole.index(word)]
    assert engine.reason(request) == "stop"


def test_max_tokens_is_exact_and_says_length(engine: EngineProcess, model: Path) -> None:
    request = engine.start("random", model, "count", max_tokens=17, **GREEDY)
    (end,) = engine.finish(request)
    assert isinstance(end, protocol.Done)
    assert end.usage.completion == 17
    assert engine.reason(request) == "length"


def test_an_end_token_stops_and_is_not_shown(engine: EngineProcess, model: Path) -> None:
    end_id = 258  # <|im_end|> of the byte tokenizer
    request = engine.start(
        "random", model, "end", temperature=0.0, max_tokens=20, logit_bias={end_id: 100.0}
    )
    (end,) = engine.finish(request)
    assert isinstance(end, protocol.Done)
    assert engine.reason(request) == "stop"
    assert everything(engine, request) == ""
    assert end.usage.completion == 1


def test_a_bias_and_penalties_change_only_their_own_row(engine: EngineProcess, model: Path) -> None:
    plain = ask(engine, model, "beside", max_tokens=30, **GREEDY)
    free = engine.start("random", model, "beside", max_tokens=30, **GREEDY)
    biased = engine.start(
        "random", model, "beside", max_tokens=30, logit_bias={66: 100.0}, **GREEDY
    )
    varied = engine.start("random", model, "beside", max_tokens=30, frequency_penalty=2.0, **GREEDY)
    engine.finish(free, biased, varied)
    assert everything(engine, free) == plain
    assert len(set(everything(engine, biased))) == 1
    assert everything(engine, varied) != plain


@pytest.mark.parametrize(
    "options",
    [{"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}],
    ids=["top_k", "top_p", "min_p"],
)
def test_the_narrowest_filter_is_greedy(
    engine: EngineProcess, model: Path, options: dict[str, float]
) -> None:
    greedy = ask(engine, model, "narrow", max_tokens=20, **GREEDY)
    hot = ask(engine, model, "narrow", max_tokens=20, temperature=1.5, ignore_eos=True, **options)
    assert hot == greedy


def test_a_repetition_penalty_counts_the_prompt_too(engine: EngineProcess, model: Path) -> None:
    plain = ask(engine, model, "aaaa bbbb", max_tokens=12, **GREEDY)
    assert plain != ask(engine, model, "aaaa bbbb", max_tokens=12, repetition_penalty=1.8, **GREEDY)


def test_logprobs_are_those_of_the_model(engine: EngineProcess, model: Path) -> None:
    request = engine.start("random", model, "likely", max_tokens=5, logprobs=4, **GREEDY)
    engine.finish(request)
    reported = [
        p
        for e in engine.events
        if isinstance(e, protocol.Text | protocol.Reasoning) and e.id == request
        for p in e.logprobs or []
    ]
    assert len(reported) == 5
    for token in reported:
        assert token.top[0][0] == token.token  # greedy: the chosen one is the likeliest
        assert token.top[0][1] == pytest.approx(token.logprob)
        values = [value for _, value, _ in token.top]
        assert values == sorted(values, reverse=True)
        assert len(values) == 4


def test_a_prompt_longer_than_the_context_is_refused_with_both_counts(
    engine: EngineProcess, model: Path
) -> None:
    request = engine.start("random", model, "x" * 3000, max_tokens=5)
    (end,) = engine.finish(request)
    assert isinstance(end, protocol.Failed)
    assert end.code == "context_length_exceeded"
    assert "2048" in end.message
    assert "30" in end.message


def test_without_max_tokens_the_rest_of_the_context_is_allowed(
    engine: EngineProcess, model: Path
) -> None:
    request = engine.start("random", model, "y" * 1950, **GREEDY)
    (end,) = engine.finish(request)
    assert isinstance(end, protocol.Done)
    assert end.usage.prompt + end.usage.completion == 2048
    assert engine.reason(request) == "length"


def test_raw_text_and_token_ids_are_fed_as_they_are(engine: EngineProcess, model: Path) -> None:
    text = ask(engine, model, protocol.TextPrompt(text="AB"), max_tokens=9, **GREEDY)
    ids = ask(engine, model, protocol.TextPrompt(text=[32, 33]), max_tokens=9, **GREEDY)
    assert text == ids
    request = engine.start("random", model, protocol.TextPrompt(text=[5, 99999]), max_tokens=9)
    (end,) = engine.finish(request)
    assert isinstance(end, protocol.Failed)
    assert end.code == "invalid_request"


def test_a_prompt_can_be_scored_without_generating(engine: EngineProcess, model: Path) -> None:
    text = "score this text " * 30  # longer than one chunk
    command = protocol.Generate(
        id="score",
        model="random",
        path=str(model),
        prompt=protocol.TextPrompt(text=text),
        sampling=protocol.Sampling(max_tokens=0),
        prompt_logprobs=2,
    )
    engine.send(command)
    (end,) = engine.finish("score")
    assert isinstance(end, protocol.Done)
    assert end.usage.completion == 0
    found = [e for e in engine.events if isinstance(e, protocol.PromptLogprobs)]
    (scores,) = [event for event in found if event.id == "score"]  # others use this engine too
    assert len(scores.tokens) == len(text)
    assert scores.tokens[0] is None
    assert all(t is not None and t.logprob <= 0 and len(t.top) == 2 for t in scores.tokens[1:])
    assert "".join(t.token for t in scores.tokens[1:] if t) == text[1:]


def test_embeddings_are_unit_vectors_that_depend_on_the_text(
    engine: EngineProcess, model: Path
) -> None:
    import struct

    inputs: list[str | list[int]] = ["one text", "another", "one text"]
    engine.send(
        protocol.Embed(id="e", model="random", path=str(model), inputs=inputs, dimensions=16)
    )
    answer = engine.wait(lambda e: isinstance(e, protocol.Embedded | protocol.Failed))
    assert isinstance(answer, protocol.Embedded), answer
    vectors = [struct.unpack("<16f", data) for data in answer.vectors]
    assert all(abs(sum(x * x for x in vector) - 1) < 1e-5 for vector in vectors)
    assert vectors[0] == pytest.approx(vectors[2], abs=1e-5)
    assert vectors[0] != pytest.approx(vectors[1], abs=1e-2)


def test_tokens_are_shown_as_they_would_be_fed(engine: EngineProcess, model: Path) -> None:
    prompt = protocol.ChatPrompt(messages=[{"role": "user", "content": "hé"}])
    engine.send(
        protocol.Tokenize(id="t", model="random", path=str(model), prompt=prompt, pieces=True)
    )
    answer = engine.wait(lambda e: isinstance(e, protocol.Tokenized))
    assert isinstance(answer, protocol.Tokenized)
    assert answer.text == "<|im_start|>user\nhé<|im_end|>\n<|im_start|>assistant\n"
    assert len(answer.tokens) == len(answer.pieces)
    assert answer.pieces[0] == "<|im_start|>"
