"""Answers that go on with a message, prompts that are cut, tokens and scores of a prompt."""

import math
from pathlib import Path
from typing import Any

import pytest

from mlx_notebook import protocol
from tests.engine.process import EngineProcess
from tests.engine.test_generation import everything
from tests.tiny_models.models import qwen3

GREEDY = protocol.Sampling(temperature=0.0, ignore_eos=True, max_tokens=20)
# A random model would write marks now and then.
PLAIN = protocol.Sampling(
    temperature=0.0, ignore_eos=True, max_tokens=20, allowed_token_ids=[*range(94)]
)
THINKING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}"
    "{% if m.content %}\n</think>\n\n{% endif %}{% endif %}"
    "{{ m.content | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
counter = iter(range(10**6))


def run(engine: EngineProcess, path: Path, prompt: protocol.Prompt, **options: Any) -> str:
    """The id of a request that has ended well."""
    id = f"p{next(counter)}"
    options = {"sampling": GREEDY, **options}
    engine.send(protocol.Generate(id=id, model=path.name, path=str(path), prompt=prompt, **options))
    (end,) = engine.finish(id)
    assert isinstance(end, protocol.Done), end
    return id


def refused(
    engine: EngineProcess, path: Path, prompt: protocol.Prompt, **options: Any
) -> protocol.Failed:
    id = f"p{next(counter)}"
    options = {"sampling": GREEDY, **options}
    engine.send(protocol.Generate(id=id, model=path.name, path=str(path), prompt=prompt, **options))
    (end,) = engine.finish(id)
    assert isinstance(end, protocol.Failed)
    return end


def of(engine: EngineProcess, id: str, kind: type[Any]) -> list[Any]:
    return [event for event in engine.events if isinstance(event, kind) and event.id == id]


def begun(text: str, **message: Any) -> protocol.ChatPrompt:
    said = {"role": "assistant", "content": text, **message}
    return protocol.ChatPrompt(
        messages=[{"role": "user", "content": "Go"}, said],
        add_generation_prompt=False,
        continues=True,
    )


@pytest.fixture(scope="module")
def thinker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return qwen3(tmp_path_factory.mktemp("models") / "thinker", template=THINKING)


def test_an_answer_goes_on_with_the_last_message(engine: EngineProcess, model: Path) -> None:
    prompt = "<|im_start|>user\nGo<|im_end|>\n<|im_start|>assistant\nOnce upon"
    expected = everything(engine, run(engine, model, protocol.TextPrompt(text=prompt)))
    continued = run(engine, model, begun("Once upon"), trace=True)
    assert of(engine, continued, protocol.Traced)[0].prompt == prompt
    assert everything(engine, continued) == expected


def test_a_trailing_blank_is_kept_and_a_trimming_template_does_no_harm(
    engine: EngineProcess, thinker: Path
) -> None:
    continued = run(engine, thinker, begun("Once upon "), trace=True)
    assert of(engine, continued, protocol.Traced)[0].prompt.endswith(
        "<|im_start|>assistant\nOnce upon "
    )


def test_thinking_that_has_begun_goes_on_as_thinking(engine: EngineProcess, thinker: Path) -> None:
    prompt = begun("", reasoning_content="Let me")
    continued = run(engine, thinker, prompt, trace=True, sampling=PLAIN)
    assert of(engine, continued, protocol.Traced)[0].prompt.endswith("<think>\nLet me")
    (done,) = of(engine, continued, protocol.Done)
    assert done.usage.reasoning == done.usage.completion == 20
    assert not any(event.text for event in of(engine, continued, protocol.Text))


def test_a_mark_that_the_message_itself_holds_opens_its_thinking(
    engine: EngineProcess, model: Path
) -> None:
    for text, reasoning in (("<think>\nLet me", 20), ("<think>x</think>So", 0)):
        continued = run(engine, model, begun(text), sampling=PLAIN)
        assert of(engine, continued, protocol.Done)[0].usage.reasoning == reasoning
    asked = {"role": "user", "content": "What is <think>?"}
    said = {"role": "assistant", "content": "A mark"}
    prompt = protocol.ChatPrompt(
        messages=[asked, said], add_generation_prompt=False, continues=True
    )
    continued = run(engine, model, prompt, sampling=PLAIN)
    assert of(engine, continued, protocol.Done)[0].usage.reasoning == 0


def test_thinking_that_has_ended_is_followed_by_content(
    engine: EngineProcess, thinker: Path
) -> None:
    prompt = begun("So", reasoning_content="Let me")
    continued = run(engine, thinker, prompt, trace=True, sampling=PLAIN)
    assert of(engine, continued, protocol.Traced)[0].prompt.endswith("</think>\n\nSo")
    (done,) = of(engine, continued, protocol.Done)
    assert done.usage.reasoning == 0


def test_a_message_that_the_template_drops_cannot_be_gone_on_with(
    engine: EngineProcess, model: Path
) -> None:
    end = refused(engine, model, begun("", reasoning_content="Let me"))
    assert (end.code, end.param) == ("invalid_request", "messages")


def test_a_format_and_a_beginning_exclude_each_other(engine: EngineProcess, model: Path) -> None:
    format = protocol.OutputFormat(kind="json_object")
    end = refused(engine, model, begun('{"a":'), output_format=format)
    assert (end.code, end.param) == ("invalid_request", "continue_final_message")


def test_allowed_tokens_and_a_format_exclude_each_other(engine: EngineProcess, model: Path) -> None:
    end = refused(
        engine,
        model,
        protocol.TextPrompt(text="x"),
        output_format=protocol.OutputFormat(kind="json_object"),
        sampling=protocol.Sampling(max_tokens=3, allowed_token_ids=[1, 2]),
    )
    assert (end.code, end.param) == ("invalid_request", "allowed_token_ids")


def test_a_cut_prompt_is_fed_as_its_end_alone(engine: EngineProcess, model: Path) -> None:
    whole = "".join(chr(65 + i % 26) for i in range(400))
    expected = everything(engine, run(engine, model, protocol.TextPrompt(text=whole[-50:])))
    cut = run(engine, model, protocol.TextPrompt(text=whole), truncate_prompt=50, trace=True)
    assert everything(engine, cut) == expected
    assert of(engine, cut, protocol.Done)[0].usage.prompt == 50
    assert of(engine, cut, protocol.Traced)[0].prompt == whole[-50:]


def test_a_prompt_beyond_the_context_is_cut_to_leave_room(
    engine: EngineProcess, model: Path
) -> None:
    cut = run(engine, model, protocol.TextPrompt(text="x" * 5000), truncate_prompt=-1)
    usage = of(engine, cut, protocol.Done)[0].usage
    assert (usage.prompt, usage.completion) == (2048 - 20, 20)
    end = refused(engine, model, protocol.TextPrompt(text="x" * 5000), truncate_prompt=2049)
    assert (end.code, end.param) == ("invalid_request", "truncate_prompt_tokens")


def test_token_ids_are_those_that_were_fed_and_made(engine: EngineProcess, model: Path) -> None:
    sampling = protocol.Sampling(temperature=1.0, seed=1, ignore_eos=True, max_tokens=9)
    id = run(engine, model, protocol.TextPrompt(text="ABC"), token_ids=True, n=2, sampling=sampling)
    (prompt,) = of(engine, id, protocol.PromptTokenIds)
    assert prompt.ids == [32, 33, 34]
    for row in range(2):
        made = [
            i for event in of(engine, id, protocol.TokenIds) if event.row == row for i in event.ids
        ]
        assert len(made) == 9
        again = run(
            engine, model, protocol.TextPrompt(text=[*prompt.ids, *made[:4]]), token_ids=True
        )
        assert of(engine, again, protocol.PromptTokenIds)[0].ids[3:] == made[:4]


def test_an_end_token_is_among_the_token_ids(engine: EngineProcess, model: Path) -> None:
    sampling = protocol.Sampling(temperature=0.0, max_tokens=9, logit_bias={258: 100.0})
    id = run(engine, model, protocol.TextPrompt(text="ABC"), token_ids=True, sampling=sampling)
    assert [event.ids for event in of(engine, id, protocol.TokenIds)] == [[258]]


def test_a_prompt_is_scored_with_ranks(engine: EngineProcess, model: Path) -> None:
    text = "The quick brown fox. " * 20  # more than one chunk
    id = run(engine, model, protocol.TextPrompt(text=text), prompt_logprobs=3)
    (scored,) = of(engine, id, protocol.PromptLogprobs)
    count = len(text)
    assert len(scored.tokens) == len(scored.ids) == len(scored.ranks) == count > 256
    assert scored.tokens[0] is None
    for token, ids, rank in zip(scored.tokens[1:], scored.ids[1:], scored.ranks[1:], strict=True):
        assert len(token.top) == 3
        assert len(ids) == 4
        assert math.isfinite(token.logprob)
        better = sum(logprob > token.logprob for _, logprob, _ in token.top)
        assert rank == better + 1 if rank <= 3 else better == 3


def test_scores_are_bounded(engine: EngineProcess, model: Path) -> None:
    end = refused(engine, model, protocol.TextPrompt(text="x" * 1500), prompt_logprobs=200)
    assert (end.code, end.param) == ("invalid_request", "prompt_logprobs")
