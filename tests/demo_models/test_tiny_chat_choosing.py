"""The training text that teaches the choice among tools, and where a choice is read from."""

from functools import cache
from random import Random

import numpy as np
import pytest

from mlx_notebook.demo_models.training.tiny_chat import batches
from mlx_notebook.demo_models.training.tiny_chat.batches import Document, Encoder, batch_of
from mlx_notebook.demo_models.training.tiny_chat.cases import Case
from mlx_notebook.demo_models.training.tiny_chat.checks import right_answer
from mlx_notebook.demo_models.training.tiny_chat.language import phrases, synonyms, values
from mlx_notebook.demo_models.training.tiny_chat.language.lexicon import TRAINING
from mlx_notebook.demo_models.training.tiny_chat.language.likely_words import likely_word
from mlx_notebook.demo_models.training.tiny_chat.network.choices import echoes
from mlx_notebook.demo_models.training.tiny_chat.request_words import tool_words, words
from mlx_notebook.demo_models.training.tiny_chat.texts import choosing
from mlx_notebook.demo_models.training.tiny_chat.texts.dialogues import Dialogue
from mlx_notebook.demo_models.training.tiny_chat.tools import natural
from tests.demo_models.test_tiny_chat_tokenizer import FOLDER


@cache
def dialogues(count: int) -> list[Dialogue]:
    rng, level = Random(4), batches.choosing_level(0.0)
    return [choosing.choosing_dialogue(rng, TRAINING, level) for _ in range(count)]


def names(dialogue: Dialogue) -> list[str]:
    return [tool["function"]["name"] for tool in dialogue.tools]


def test_calls_name_tools_on_offer_and_their_parameters() -> None:
    called = 0
    for dialogue in dialogues(300):
        offered = {tool["function"]["name"]: tool["function"] for tool in dialogue.tools}
        assert len(offered) == len(dialogue.tools)
        for message in dialogue.messages:
            for call in message.get("tool_calls", ()):
                called += 1
                parameters = offered[call["function"]["name"]]["parameters"]
                assert call["function"]["arguments"].keys() <= parameters["properties"].keys()
                assert set(parameters.get("required", ())) <= call["function"]["arguments"].keys()
    assert called > 600


def test_tools_are_similar_and_requests_many() -> None:
    every = dialogues(300)
    shared = [d for d in every if len({n.split("_")[-1] for n in names(d)}) < len(d.tools)]
    assert len(shared) > 30
    assert sum(len(dialogue.tools) for dialogue in every) / 300 > 2.5
    pairs = [m for d in every for m in d.messages if len(m.get("tool_calls", ())) == 2]
    assert len(pairs) > 150


def test_no_two_tools_of_a_dialogue_mean_the_same_thing() -> None:
    rng = Random(8)
    for _ in range(200):
        verbs, nouns = choosing._words(rng, TRAINING, 4)
        assert len(set(verbs)) == len(set(nouns)) == 4
        for noun in nouns:
            assert not set(synonyms.others(noun)) & set(nouns)


def test_natural_sentences_say_each_value() -> None:
    rng = Random(6)
    told: set[str] = set()
    for _ in range(150):
        for offer in choosing._natural(rng, TRAINING, 3):
            request = offer.make()
            said = phrases.as_user(request.said, rng, True)
            assert "{" not in said
            assert set(request.arguments) == {p.name for p in offer.tool.parameters}
            told.update(natural.ASPECTS.keys() & offer.tool.name.split("_"))
            for value in request.arguments.values():
                assert str(value) in said or not isinstance(value, str)
    assert told == natural.ASPECTS.keys() - {"info"}


def test_invented_words_look_like_words_and_are_not_held_out() -> None:
    rng = Random(2)
    words = {likely_word(rng) for _ in range(500)}
    assert len(words) > 400
    assert all(word.isalpha() and word.islower() and 4 <= len(word) <= 11 for word in words)
    assert not {values.invented_word(rng).lower() for _ in range(2000)} & values.held_out_words()


def test_a_choice_is_read_after_the_request_and_before_the_answer() -> None:
    encoder = Encoder(FOLDER)
    for dialogue in dialogues(60):
        document = encoder.encode(dialogue)
        pieces = encoder.tokenizer.convert_ids_to_tokens(document.tokens)
        learned = [m for m in dialogue.messages if m["role"] == "assistant" and m["learn"]]
        assert len(document.found.tools) == len(dialogue.tools)
        assert len(document.found.choices) == len(learned)
        for name, (named, end) in zip(names(dialogue), document.found.tools, strict=True):
            before = encoder.tokenizer.decode(document.tokens[:named])
            assert before.endswith('{"name": "' + name)
            assert pieces[end] == "Ċ"
        for message, choice in zip(learned, document.found.choices, strict=True):
            assert pieces[choice.asked] == "<|im_end|>"
            assert document.learned[choice.begun + 1]
            assert not document.learned[choice.begun]
            calls = [call["function"]["name"] for call in message.get("tool_calls", ())]
            assert [names(dialogue)[i] for i in choice.called] == calls


def test_an_echo_goes_on_with_a_word_of_a_tool() -> None:
    assert echoes([5, 6, 7, 9, 1, 5, 6, 8, 7], [(1, 3)]) == [False] * 6 + [True, False, False]
    assert echoes([5, 6, 5, 6], []) == [False] * 4
    encoder = Encoder(FOLDER)
    for dialogue in dialogues(20):
        document = encoder.encode(dialogue)
        assert len(document.echoed) == len(document.tokens)
        weights = batch_of([document], 0.0, Random(0)).weights[0]
        for weight, learned, echoed in zip(
            weights.tolist(), document.learned, document.echoed, strict=False
        ):
            assert weight == pytest.approx(1.0 if learned else batches.ECHO_WEIGHT * echoed)


def test_a_batch_holds_the_choices_of_its_rows() -> None:
    encoder = Encoder(FOLDER)
    documents = [encoder.encode(dialogue) for dialogue in dialogues(5)]
    documents.append(Document([1, 2, 3], [False, True, True]))
    marks = batch_of(documents, 0.1, Random(0)).marks
    assert marks.rows.tolist() == [i for i, d in enumerate(documents) for _ in d.found.choices]
    assert marks.tools.shape == (6, max(len(d.found.tools) for d in documents), 2)
    assert (marks.tools[5] == -1).all()
    every = [choice for document in documents for choice in document.found.choices]
    assert marks.counts.tolist() == [min(3, len(choice.called)) for choice in every]
    assert [tuple(c for c in row if c >= 0) for row in marks.called.tolist()] == [
        choice.called[:2] for choice in every
    ]


def test_words_are_found_in_snake_case_in_camel_case_and_in_requests() -> None:
    encoder = Encoder(FOLDER)

    def found(text: str) -> list[str]:
        pieces = encoder.tokenizer.tokenize(text)
        ends = words(pieces, 0, len(pieces))
        for column, word in ends:
            before = encoder.tokenizer.convert_tokens_to_string(pieces[: column + 1])
            assert before.lower().endswith((word, word + "s"))
        return [word for _, word in ends]

    assert found("scan_kettle") == ["scan", "kettle"]
    assert found("calibrateShinyLamp") == ["calibrate", "shiny", "lamp"]
    assert found("Please Scan the kettles of it") == ["please", "scan", "kettle"]
    assert found("gas 24, bus") == ["gas", "bus"]


def test_a_drill_is_many_choices_in_few_tokens() -> None:
    encoder, rng = Encoder(FOLDER), Random(9)
    level = batches.choosing_level(0.0)
    drills = [choosing.drill_dialogue(rng, TRAINING, level) for _ in range(100)]
    documents = [encoder.encode(dialogue) for dialogue in drills]
    names_called = sum(len(document.found.names) for document in documents)
    assert sum(len(document.tokens) for document in documents) / names_called < 90
    assert sum(len(dialogue.tools) for dialogue in drills) / 100 > 3.5


def test_marks_tell_the_words_that_a_request_shares_with_tools_and_where_names_are() -> None:
    encoder = Encoder(FOLDER)
    every = dialogues(30)
    documents = [encoder.encode(dialogue) for dialogue in every]
    marks = batch_of(documents, 0.0, Random(0)).marks
    assert marks.same.shape == (len(marks.heard), marks.words.shape[1])
    assert marks.same.any(1).sum() > 100
    for (row, column), same in zip(marks.heard.tolist(), marks.same, strict=True):
        tokens = documents[row].tokens
        said = encoder.tokenizer.decode(tokens[: column + 1]).lower()
        for end, tool in marks.words[row][same].tolist():
            word = next(word for at, _, word in documents[row].found.words if at == end)
            assert said.endswith((word, word + "s"))
            schema = every[row].tools[tool]["function"]
            assert word in (schema["name"] + schema.get("description", "")).lower()
    for row, before, tool, after in marks.names.tolist():
        called = encoder.tokenizer.decode(documents[row].tokens[before + 1 : after])
        assert called == names(every[row])[tool]
    for row, dialogue in enumerate(every):
        for i, schema in enumerate(dialogue.tools):
            line = np.array(documents[row].tokens)[
                marks.lines[row, : len(documents[row].tokens)] == i
            ]
            text = encoder.tokenizer.decode(line)
            assert text.startswith('{"name": "' + schema["function"]["name"] + '"')
            assert text.endswith("}\n")
    for row, before, tool, after in marks.names.tolist():
        assert (marks.spelled[row, before:after] == tool).all()
    assert len(marks.copies) > 2 * len(marks.names)
    for row, before, listed in marks.copies.tolist():
        assert documents[row].tokens[before + 1] == documents[row].tokens[listed]
    weighted = batch_of(documents, 0.0, Random(0), name_weight=3.0).weights
    assert (weighted[marks.names[:, 0], marks.names[:, 1] + 1] == 3.0).all()


def test_a_document_without_tools_has_no_words_of_tools() -> None:
    assert tool_words([], 0, []) == []


def test_the_check_during_training_knows_the_right_answer() -> None:
    call = {"name": "f", "arguments": {"x": 1}}
    asked = [{"role": "user", "content": "f 1"}]
    found = right_answer(Case("one", asked, calls=[call]))
    assert found is not None
    assert found.messages[-1]["tool_calls"][0]["function"] == call
    found = right_answer(Case("two", asked, holds=["The size is 3"], calls=[]))
    assert found is not None
    assert found.messages[-1]["content"] == "The size is 3."
    assert right_answer(Case("free", asked, calls=[])) is None
    assert right_answer(Case("thinking", asked, thinking=True, calls=[call])) is None
