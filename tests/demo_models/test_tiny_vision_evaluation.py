"""The evaluation counts an answer as right only where all of it is."""

import pytest

from mlx_notebook.demo_models.training.tiny_vision.answering import Said, openai_messages
from mlx_notebook.demo_models.training.tiny_vision.cases import SKILLS, Case, cases
from mlx_notebook.demo_models.training.tiny_vision.evaluate import evaluate, exact, table, wilson

TOLD = Case("shape", "opencv", [], [], "the red circle")
CALLED = Case("tool call", "opencv", [], [], ("save", {"colour": "red", "count": 2}))


@pytest.mark.parametrize(
    ("case", "said", "right"),
    [
        (TOLD, ("the red circle", []), True),
        (TOLD, (" The red circle\n", []), True),
        (TOLD, ("the red circle.", []), False),
        (TOLD, ("the red circle", [("save", {})]), False),
        (CALLED, ("", [("save", {"count": 2, "colour": "red"})]), True),
        (CALLED, ("", [("save", {"count": "2", "colour": "red"})]), False),
        (CALLED, ("", [("save", {"colour": "red", "count": 2})] * 2), False),
        (CALLED, ("red", []), False),
    ],
)
def test_an_answer_is_exact_or_wrong(case: Case, said: Said, right: bool) -> None:
    assert exact(case, said) is right


def test_wilsons_interval_has_its_published_values() -> None:
    # 81 of 263: 25.5 % to 36.6 % (Newcombe, 1998, table I).
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-4)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-4)
    assert wilson(0, 0) == (0.0, 1.0)


def test_a_request_carries_each_picture_in_its_place() -> None:
    case = next(case for case in cases(1) if case.skill == "two pictures")
    (message,) = openai_messages(case)
    kinds = [part["type"] for part in message["content"]]
    assert kinds == ["image_url", "image_url", "text"]
    urls = [part["image_url"]["url"] for part in message["content"][:2]]
    assert all(url.startswith("data:image/png;base64,") for url in urls)
    assert urls[0] != urls[1]


def test_every_skill_and_both_libraries_get_a_row() -> None:
    class Knowing:
        def answers(self, chosen: list[Case]) -> list[Said]:
            return [
                (c.answer, []) if isinstance(c.answer, str) else ("", [c.answer]) for c in chosen
            ]

    figures = evaluate(Knowing(), each=2, seed=3)
    assert set(figures["skills"]) == {*SKILLS, "all"}
    assert figures["skills"]["all"]["share"] == 1.0
    assert {"matplotlib", "opencv"} <= set(figures["libraries"])
    assert figures["wrong"] == []
    assert "| tool call | 100.0% |" in table(figures["skills"])
