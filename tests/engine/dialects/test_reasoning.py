"""Reasoning marks of model families, and budgets that end the reasoning."""

import numpy as np
import pytest

from mlx_notebook.engine.dialects import reasoning
from mlx_notebook.engine.dialects.harmony_reader import HarmonyReader
from mlx_notebook.engine.dialects.output_events import Content, ReasoningContent
from mlx_notebook.engine.dialects.reasoning import (
    HARMONY,
    THINK,
    ReasoningBudget,
    infer,
    opens_reasoning,
)
from mlx_notebook.engine.prompts.output_grammar import GrammarCompiler
from mlx_notebook.protocol import OutputFormat
from tests.engine import vocabularies

START, END, NEWLINE = 7, 8, 9
CLOSING = [NEWLINE, END, NEWLINE]


def budget(limit: int, **options: object) -> ReasoningBudget:
    return ReasoningBudget(limit, CLOSING, [START], [END], **{"in_reasoning": True, **options})  # type: ignore[arg-type]


def only(row: ReasoningBudget, size: int = 64) -> int | None:
    """The one token that may come next; None if any may."""
    mask = np.full(size // 32, 0xFFFFFFFF, np.uint32)
    if not row.fill(mask):
        return None
    allowed = np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little"))
    assert len(allowed) == 1
    return int(allowed[0])


def run(row: ReasoningBudget, wishes: list[int]) -> list[int]:
    """What is written by a model that wants to write `wishes`, as long as it goes on."""
    out = []
    for wish in wishes:
        forced = only(row)
        out.append(wish if forced is None else forced)
        row.advance(out[-1])
    return out


def test_a_budget_that_is_used_up_writes_the_closing_mark() -> None:
    row = budget(3)
    assert run(row, [1, 2, 3, 4, 5, 6, 1, 2]) == [1, 2, 3, *CLOSING, 1, 2]
    assert row.exhausted
    assert not row.in_reasoning
    assert row.used == 3


def test_thinking_that_ends_in_time_is_left_alone() -> None:
    row = budget(5)
    wishes = [1, 2, END, 4, 5, 6, 1, 2, 3]
    assert run(row, wishes) == wishes
    assert not row.exhausted


def test_a_budget_of_nothing_closes_a_block_that_the_prompt_opened_at_once() -> None:
    assert run(budget(0), [1, 1, 1, 1]) == [*CLOSING, 1]


def test_a_block_that_the_model_opens_itself_is_counted_from_there() -> None:
    row = budget(2, in_reasoning=False)
    assert run(row, [5, START, 1, 2, 3, 3, 3, 4]) == [5, START, 1, 2, *CLOSING, 4]


def test_a_block_opened_again_after_the_budget_is_closed_again() -> None:
    row = budget(1)
    assert run(row, [1, 0, 0, 0, START, 2, 2, 2, 3]) == [1, *CLOSING, START, *CLOSING, 3]


def test_the_closing_mark_is_forced() -> None:
    row = budget(1)
    assert row.forced() == []
    row.advance(1)
    for written in range(3):
        assert row.forced() == CLOSING[written:]
        row.advance(CLOSING[written])
    assert row.forced() == []
    assert not row.in_reasoning


def test_what_a_grammar_forces_ends_where_the_budget_writes() -> None:
    class Says:
        failure = None

        def __init__(self, run: list[int]) -> None:
            self.run = run

        def advance(self, token: int) -> None:
            assert self.run.pop(0) == token

        def fill(self, mask: object) -> bool:
            raise AssertionError(mask)

        def forced(self) -> list[int]:
            return self.run.copy()

        def copy(self) -> "Says":
            return Says(self.run.copy())

    said = [1, START, 2, 3, 4]
    row = budget(2, in_reasoning=False, inner=Says(said.copy()))
    assert row.forced() == said[:4]
    twin = row.copy()
    for token in said[:4]:
        twin.advance(token)
    assert twin.forced() == CLOSING
    assert row.forced() == said[:4]
    row = ReasoningBudget(
        0, CLOSING, [START, 5], [END], in_reasoning=True, inner=Says([*CLOSING, 1, START, 5])
    )
    for token in row.forced():
        row.advance(token)
    assert row.forced() == [1, START]


def test_impossible_budgets_are_refused() -> None:
    with pytest.raises(ValueError, match="0 or more"):
        budget(-1)
    with pytest.raises(ValueError, match="no mark"):
        ReasoningBudget(3, [], [START], [], in_reasoning=True)


def test_the_answer_after_a_budget_still_obeys_its_grammar() -> None:
    tokenizer = vocabularies.byte_level()

    def encode(text: str) -> list[int]:
        return reasoning.token_ids(tokenizer.encode, text)

    grammar = GrammarCompiler(tokenizer, len(tokenizer), [tokenizer.eos_token_id]).compile(
        output=OutputFormat(kind="choice", value=["yes", "no"]),
        reasoning=THINK,
        reasoning_state="open",
    )
    assert grammar is not None
    row = ReasoningBudget(
        4,
        encode(THINK.closing),
        encode(THINK.start),
        encode(THINK.end),
        in_reasoning=True,
        inner=grammar.row(),
    )
    text: list[int] = []
    while len(text) < 40:
        mask = np.full((len(tokenizer) + 31) // 32, 0xFFFFFFFF, np.uint32)
        token = encode("I")[0]
        if row.fill(mask):
            allowed = np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little"))
            token = int(allowed[-1])
        if token == tokenizer.eos_token_id:
            break
        text.append(token)
        row.advance(token)
    written = tokenizer.decode(text)
    thought, _, answer = written.partition("</think>")
    assert thought.strip() == "IIII"
    assert answer.strip() in ("yes", "no")


def test_harmony_may_not_go_back_to_its_analysis_after_the_budget() -> None:
    channel, analysis, message, end, start, assistant, final = range(10, 17)
    row = ReasoningBudget(
        2,
        [end, start, assistant, channel],
        [channel, analysis, message],
        [end],
        in_reasoning=True,
    )
    assert run(row, [1, 2, 0, 0, 0, 0]) == [1, 2, end, start, assistant, channel]
    mask = np.full(2, 0xFFFFFFFF, np.uint32)
    assert row.fill(mask)
    allowed = np.unpackbits(mask.view(np.uint8), bitorder="little")
    assert not allowed[analysis]
    assert allowed[final]
    row.advance(final)
    assert only(row) is None


def test_marks_are_found_in_the_vocabulary_or_the_template() -> None:
    assert infer("", {"<think>": 1, "</think>": 2}) is THINK
    assert infer("{{ '<think>' }}{{ '</think>' }}", {}) is THINK
    assert infer("", {"<|channel|>": 1, "<|message|>": 2, "<|start|>": 3}) is HARMONY
    mistral = infer("", {"[THINK]": 1, "[/THINK]": 2})
    assert mistral is not None
    assert mistral.end == "[/THINK]"
    gemma = infer("", {"<|channel>": 1, "<channel|>": 2})
    assert gemma is not None
    assert gemma.start == "<|channel>thought"
    assert infer("{{ messages }}", {"a": 1}) is None
    assert infer(None, {}) is None


def test_a_prompt_opens_thinking_only_where_it_ends_with_the_mark() -> None:
    assert opens_reasoning("<|im_start|>assistant\n<think>\n", THINK)
    assert not opens_reasoning("<|im_start|>assistant\n<think>\n\n</think>\n\n", THINK)
    assert not opens_reasoning("What does <think> mean?<|im_end|>\n<|im_start|>assistant\n", THINK)


HARMONY_TEXT = (
    "<|channel|>analysis<|message|>The user greets.<|end|><|start|>assistant"
    "<|channel|>final<|message|>Hello there.<|return|>"
)


def test_harmony_channels_become_thinking_and_content_at_every_cut() -> None:
    for at in range(len(HARMONY_TEXT) + 1):
        reader = HarmonyReader()
        events = reader.feed(HARMONY_TEXT[:at]) + reader.feed(HARMONY_TEXT[at:])
        events += reader.finish(cut=False)
        thought = "".join(e.text for e in events if isinstance(e, ReasoningContent))
        content = "".join(e.text for e in events if isinstance(e, Content))
        assert (thought, content) == ("The user greets.", "Hello there.")


def test_harmony_text_without_a_header_is_content() -> None:
    reader = HarmonyReader()
    assert reader.feed("Hello ") + reader.feed("you") == [Content("Hello "), Content("you")]


def test_a_stop_string_ends_harmonys_final_message() -> None:
    reader = HarmonyReader(stop=["there"])
    events = reader.feed(HARMONY_TEXT) + reader.finish(cut=False)
    assert events[-1] == Content("Hello ")
    assert reader.stopped
