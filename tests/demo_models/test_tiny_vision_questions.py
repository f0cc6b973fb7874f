"""Questions about a scene have the answers that anybody would give."""

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from mlx_notebook.demo_models.training.tiny_vision.folder import TOKENIZER
from mlx_notebook.demo_models.training.tiny_vision.network.positions import positions
from mlx_notebook.demo_models.training.tiny_vision.pictures.scenes import Scene, Thing, compose
from mlx_notebook.demo_models.training.tiny_vision.pictures.shards import picture
from mlx_notebook.demo_models.training.tiny_vision.texts import (
    conversations,
    picture_tools,
    questions,
)
from mlx_notebook.demo_models.training.tiny_vision.texts.conversations import (
    ViewingDocument,
    ViewingEncoder,
)

CIRCLE = Thing("circle", "red", (255, 0, 0), 30, 30, 20, 20)
SQUARE = Thing("square", "blue", (0, 0, 255), 100, 70, 10, 10)
ENCODER = ViewingEncoder(TOKENIZER)
NUMBER = Thing("number", "black", (0, 0, 0), 60, 40, 30, 14, text="407")


def scene(*things: Thing) -> Scene:
    return Scene(128, 96, "white", (255, 255, 255), list(things))


def every(skill: str, shown: Scene) -> dict[str, str]:
    """Many questions of one skill, with their answers."""
    rng = random.Random(0)
    asked = [questions.ask(shown, rng, skill) for _ in range(6000)]
    return {one.question: one.answer for one in asked if one is not None}


def test_positions_of_two_things() -> None:
    told = every("position", scene(CIRCLE, SQUARE))
    assert told["Is the red circle left of the blue square?"] == "yes"
    assert told["Is the circle below the square?"] == "no"
    assert told["Is the square left or right of the circle?"] == "right"
    assert told["Which shape is highest?"] == "the red circle"
    assert told["Which is further right, the circle or the square?"] == "the square"


def test_sizes_of_two_things() -> None:
    told = every("size", scene(CIRCLE, SQUARE))
    assert told["Which shape is the largest?"] == "the red circle"
    assert told["Is the square larger than the circle?"] == "no"
    assert told["Which is smaller, the circle or the square?"] == "the square"


def test_a_box_is_told_in_percent_of_the_picture() -> None:
    told = every("box", scene(CIRCLE, SQUARE))
    assert told["Where is the circle?"] == "[7, 10, 39, 52]"
    assert told["Find the blue square."] == "[70, 62, 85, 83]"


def test_nothing_is_asked_that_the_picture_leaves_open() -> None:
    beside = Thing("star", "green", (0, 128, 0), 33, 80, 19, 19)
    assert not any("left" in question for question in every("position", scene(CIRCLE, beside)))
    assert every("size", scene(CIRCLE, beside)) == {}
    assert every("digits", scene(CIRCLE)) == {}


def test_counting_counts_kinds_colours_and_what_is_missing() -> None:
    other = Thing("circle", "blue", (0, 0, 255), 60, 80, 9, 9)
    told = every("count", scene(CIRCLE, SQUARE, other))
    assert told["How many shapes are there?"] == "3"
    assert told["How many circles are there?"] == "2"
    assert told["How many blue shapes do you see?"] == "2"
    assert "0" in told.values()


def test_descriptions_go_from_left_to_right() -> None:
    assert questions.description(scene(SQUARE, CIRCLE)) == (
        "A red circle and a blue square on a white background."
    )
    assert questions.description(scene(NUMBER)) == "The black number 407 on a white background."


def test_a_number_is_read_digit_by_digit() -> None:
    assert every("digits", scene(NUMBER))["Read the number."] == "407"


def test_references_are_unambiguous() -> None:
    other = Thing("circle", "blue", (0, 0, 255), 60, 80, 9, 9)
    assert questions.references(CIRCLE, scene(CIRCLE, SQUARE, other)) == [
        "the red circle",
        "the red shape",
    ]


@pytest.mark.parametrize("seed", range(40))
def test_a_tool_call_has_the_values_of_the_picture_under_the_tools_own_names(seed: int) -> None:
    rng = random.Random(seed)
    shown = compose(128, 128, rng)
    made = picture_tools.make(shown, rng)
    if made is None:  # more than one number, say
        assert len(shown.things) != 1
        return
    tool, request = made
    assert [p.name for p in tool.parameters] == list(request.arguments)
    seen = {t.colour for t in shown.things} | {t.shape for t in shown.things}
    seen |= {t.text for t in shown.things} | {shown.background, str(len(shown.shapes))}
    assert {str(value) for value in request.arguments.values()} <= seen
    json.dumps(request.call())


def test_cells_of_a_picture_share_one_time_and_text_goes_on_after_them() -> None:
    time, row, column = positions([5, 9, 9, 9, 9, 9, 9, 7], [(2, 3)], 9)
    assert time == [0, 1, 1, 1, 1, 1, 1, 4]
    assert row == [0, 1, 1, 1, 2, 2, 2, 4]
    assert column == [0, 1, 2, 3, 1, 2, 3, 4]


def test_documents_hold_one_image_token_a_cell_and_learn_the_answers_alone() -> None:
    rng = random.Random(1)
    pictures = [picture((96, 144), rng), picture((128, 128), rng)]
    made = conversations.several_pictures(pictures, rng, 4)
    document = ENCODER.encode(made)
    assert document.tokens.count(ENCODER.image_token) == sum(
        p.pixels.shape[0] * p.pixels.shape[1] // 256 for p in made.pictures
    )
    learned = [t for t, learn in zip(document.tokens, document.learned, strict=True) if learn]
    said = [m["content"] for m in made.messages if m["role"] == "assistant"]
    text = ENCODER.tokenizer.decode(learned)
    if not any("reasoning_content" in m for m in made.messages):
        assert text == "".join(f"{one}<|im_end|>" for one in said)


def talks(seed: int, turns: int, *skills: str) -> Iterator[tuple[list[Any], ViewingDocument]]:
    """Dialogues about pictures of several things: what their questions mean, and the document."""
    rng = random.Random(seed)
    shown = [p for _ in range(50) if len((p := picture((128, 128), rng)).scene.shapes) > 1]
    for one in shown:
        made = conversations.one_picture(one, rng, turns, skills)
        yield [m["meaning"] for m in made.messages if "meaning" in m], ENCODER.encode(made)


def up_to(document: ViewingDocument, token: int) -> str:
    return str(ENCODER.tokenizer.decode(document.tokens[: token + 1]))


def after(document: ViewingDocument, token: int) -> str:
    return str(ENCODER.tokenizer.decode(document.tokens[token + 1 :]))


def test_words_that_mean_a_thing_tell_its_place_turn_by_turn() -> None:
    told = 0
    for meant, document in talks(4, 12):
        named = [one for meaning in meant for one in (*meaning.about, *meaning.names)]
        marks = document.marks.get("pointing", [])
        positions = [at for (at,), _ in marks]
        assert positions == sorted(set(positions))
        for (words, place), ((at,), wanted) in zip(named, marks, strict=True):
            told += 1
            assert wanted == place
            assert up_to(document, at).endswith(words)
    assert told > 50


def test_who_is_to_name_a_thing_knows_before_where_it_is() -> None:
    told = 0
    for meant, document in talks(7, 8, "describe", "size", "position"):
        named = [one for meaning in meant for one in meaning.names]
        marks = document.marks.get("ahead", [])
        for (words, place), ((at,), wanted) in zip(named, marks, strict=True):
            told += 1
            assert wanted == place
            assert after(document, at).lstrip().startswith(words)
    assert told > 50


def test_a_comparison_tells_the_difference_at_the_second_name_and_before_the_answer() -> None:
    told = 0
    for meant, document in talks(5, 12, "position", "size"):
        compared = [meaning for meaning in meant if meaning.differ]
        marks = document.marks.get("comparing", [])
        for meaning, ((second, last), wanted) in zip(compared, marks, strict=True):
            told += 1
            assert wanted == meaning.differ
            assert up_to(document, second).endswith(meaning.about[1][0])
            rest = after(document, last)
            *_, chosen = wanted
            if chosen >= 0:
                answer = meaning.about[int(chosen)][0]
                assert rest.startswith(("<think>", answer))
            if rest.startswith(("left", "right")):
                assert (wanted[0] < 0) == rest.startswith("left")
    assert told > 50


def test_who_counts_knows_the_number_before_the_answer() -> None:
    told = 0
    for meant, document in talks(8, 4, "count"):
        numbers = [meaning.number for meaning in meant]
        marks = document.marks.get("counting", [])
        for number, ((last,), wanted) in zip(numbers, marks, strict=True):
            told += 1
            assert wanted == (number,)
            assert after(document, last).startswith(("<think>", str(number)))
    assert told > 50


def test_words_before_their_picture_are_not_to_tell_of_it() -> None:
    rng = random.Random(6)
    many = [p for _ in range(60) if len((p := picture((128, 128), rng)).scene.shapes) > 1]
    first = [conversations.one_picture(p, rng, 1, ("position",)).messages for p in many]
    asked = [m for messages in first for m in messages if "meaning" in m]
    early = [m["content"][0]["type"] == "text" for m in asked]
    assert {True, False} == set(early)
    for message, is_early in zip(asked, early, strict=True):
        assert not (is_early and (message["meaning"].about or message["meaning"].differ))
