"""tiny-chat's training text: nothing of the evaluation in it, only its own words learned."""

import itertools
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from mlx_notebook.demo_models.training.tiny_chat import batches
from mlx_notebook.demo_models.training.tiny_chat.batches import Encoder
from mlx_notebook.demo_models.training.tiny_chat.language import asking, held_out, phrases
from mlx_notebook.demo_models.training.tiny_chat.language.lexicon import HELD_OUT, TRAINING
from mlx_notebook.demo_models.training.tiny_chat.texts import dialogues, finishing, remembering
from mlx_notebook.demo_models.training.tiny_chat.tools import everyday, foreign, plain
from tests.demo_models.test_tiny_chat_tokenizer import FOLDER


def words_held_out() -> set[str]:
    lists = [
        value
        for name, value in vars(held_out).items()
        if name.isupper() and isinstance(value, tuple)
    ]
    return {word.lower() for words in lists for word in words if word.isalpha()}


def documents(
    count: int, progress: float, mixed: Callable[[float], batches.Mixture] = batches.mixture
) -> list[tuple[batches.Dialogue, str]]:
    rng, encoder = Random(3), Encoder(FOLDER)
    mixture = mixed(progress)
    result = []
    for _ in range(count):
        make = rng.choices(list(mixture), list(mixture.values()))[0]
        dialogue = make(rng, TRAINING, batches.level_at(progress))
        result.append((dialogue, encoder.render(dialogue)))
    return result


def test_no_word_of_the_evaluation_occurs_in_training_text() -> None:
    later = documents(500, 1.0, batches.finishing_mixture)
    every = documents(1500, 0.9) + documents(300, 0.01) + later
    text = "\n".join(text for _, text in every)
    seen = set(re.findall(r"[a-z]+", text.lower()))
    assert seen & words_held_out() == set()


def test_word_lists_of_training_and_evaluation_are_disjoint() -> None:
    trained, tested = (
        {word for value in vars(lexicon).values() if not isinstance(value, bool) for word in value}
        for lexicon in (TRAINING, HELD_OUT)
    )
    assert trained & tested == set()


def test_ways_of_asking_are_disjoint() -> None:
    small_talk = {said.lower() for intent in phrases.intents() for said in intent.phrasings}
    assert small_talk & {said.lower() for ways in held_out.CHAT.values() for said in ways} == set()
    assert set(asking.SLOTS) & set(held_out.SLOTS) == set()


def test_the_hand_written_tools_are_not_among_those_trained_on() -> None:
    trained = {name for family in everyday.families() for name in family.names}
    cases = (*foreign.CASES, *plain.CASES)
    tested = {tool["function"]["name"] for tools, _, _ in cases for tool in tools}
    assert trained & tested == set()


def test_a_call_holds_only_values_that_the_user_said() -> None:
    rng = Random(5)
    for family in everyday.families():
        tool, chosen = family.build(rng, TRAINING)
        request = family.request(tool, chosen, rng, TRAINING)
        assert "{" not in request.said, request.said
        required = {parameter.name for parameter in tool.parameters if parameter.required}
        assert required <= set(request.arguments), (tool.name, request.said)
        for value in request.arguments.values():
            if isinstance(value, str):
                assert value in request.said


@pytest.mark.parametrize("count", [2, 3])
def test_one_sentence_asks_several_times_for_a_tool(count: int) -> None:
    rng, level = Random(6), replace(batches.choosing_level(1.0), hard=0.0, everyday=0.7)
    sentences = 0
    for _ in range(120):
        (offer,) = dialogues.offers(rng, TRAINING, level, 1)
        if (asked := finishing.several_values(offer, rng, count)) is None:
            continue
        said, requests = asked
        every = [request.arguments for request in requests]
        (changed,) = (name for name, value in every[0].items() if value != every[1][name])
        values = [str(arguments[changed]) for arguments in every]
        assert len(set(values)) == len(values) == count
        assert all(value in said for value in values)
        sentences += 1
    assert sentences > 10


def test_two_facts_are_told_at_once_and_one_of_them_is_asked_for() -> None:
    rng = Random(7)
    every = [remembering.two_facts(rng, TRAINING) for _ in range(100)]
    assert {len(exchanges) for exchanges in every} == {1, 2}
    for exchanges in every:
        assert exchanges[-1].word in exchanges[0].user
        assert exchanges[-1].word in exchanges[-1].answer


def test_where_a_schema_forces_json_its_first_token_is_not_learned() -> None:
    rng, encoder, level = Random(8), Encoder(FOLDER), batches.choosing_level(1.0)
    forced = 0
    for _ in range(40):
        dialogue = finishing.record_dialogue(rng, TRAINING, level)
        assert json.loads(dialogue.messages[-1]["content"])
        document = encoder.encode(dialogue)
        learned = encoder.tokenizer.decode(
            [
                t
                for t, is_learned in zip(document.tokens, document.learned, strict=True)
                if is_learned
            ]
        )
        assert ("JSON" in dialogue.messages[-2]["content"]) is learned.startswith("{")
        forced += not learned.startswith("{")
    assert 10 < forced < 35


def test_compact_results_are_told_in_full() -> None:
    rng, level = Random(9), batches.choosing_level(1.0)
    told = 0
    for _ in range(40):
        messages = finishing.compact_dialogue(rng, TRAINING, level).messages
        for result, sentence in itertools.pairwise(messages):
            if (
                result["role"] == "tool"
                and result["content"].startswith('{"')
                and ": " not in result["content"]
            ):
                for name, value in json.loads(result["content"]).items():
                    said = value if isinstance(value, str) else json.dumps(value)
                    assert (
                        f"{name.replace('_', ' ')} is {said}".lower() in sentence["content"].lower()
                    )
                    told += 1
    assert told > 50


def test_what_is_learned_is_what_the_assistant_says() -> None:
    encoder = Encoder(FOLDER)
    for dialogue, text in documents(200, 0.9):
        document = encoder.encode(dialogue)
        assert encoder.tokenizer.decode(document.tokens) == text
        learned = encoder.tokenizer.decode(
            [
                token
                for token, is_learned in zip(document.tokens, document.learned, strict=True)
                if is_learned
            ]
        )
        for message in dialogue.messages:
            if message["role"] == "assistant" and message["learn"]:
                assert message["content"] in learned
                for call in message.get("tool_calls", ()):
                    assert json.dumps(call["function"]["arguments"], ensure_ascii=False) in learned
        assert "<|im_start|>" not in learned


def test_text_files_of_the_generators_are_beside_them() -> None:
    assert Path(everyday.__file__).with_name("everyday.txt").is_file()
    assert Path(phrases.__file__).with_name("chat.txt").is_file()
