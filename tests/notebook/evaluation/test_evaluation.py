"""Results of an evaluation: tables, rows to look at, their look in a cell, and their file."""

import os

import polars
import pytest

from mlx_notebook import Evaluation
from mlx_notebook.notebook.answers.answer import Answer, Reply
from mlx_notebook.notebook.errors import NotebookError
from mlx_notebook.notebook.evaluation.comparison_view import ComparedAnswer, comparison_bundle
from mlx_notebook.notebook.evaluation.evaluation_file import EvaluatedRow, add_rows, read_rows
from mlx_notebook.notebook.evaluation.variants import variants_of, why_one_by_one

HOSTILE = '<script>x</script> $a$ `b` \x1b[31m\u202e & "quoted"'


def answered(label, row, answer, score, **more):
    scores = {"exact": score, "f1": score}
    return EvaluatedRow(
        *(label, label, {}, row, f"Say {row}", "soup", f"key{row}", answer),
        **{"tokens": 10, "answer_tokens": 2, "seconds": 0.5, "scores": scores, **more},
    )


@pytest.fixture
def result():
    return Evaluation(
        [
            answered("a", 0, "soup", 1.0),
            answered("a", 1, "tea", 0.0),
            answered("a", 2, None, 0.0, error="too long"),
            answered("b", 0, "soup", 1.0),
            answered("b", 1, "soup", 1.0),
            answered("b", 2, HOSTILE, 0.0),
        ]
    )


def test_the_table_has_a_row_for_each_model(result):
    table = result.table
    assert list(table["model"]) == ["a", "b"]
    assert list(table["failed"]) == [1, 0]
    assert list(table["exact"]) == pytest.approx([1 / 3, 2 / 3])
    assert all(table["exact low"] < table["exact"])
    assert all(table["exact"] < table["exact high"])
    assert list(table["tokens"]) == [30, 30]
    assert [str(kind) for kind in table.dtypes[:4]] == ["str", "Int64", "Int64", "float64"]


def test_each_answer_is_a_row(result):
    rows = result.rows
    assert list(rows["row"]) == [0, 0, 1, 1, 2, 2]
    assert list(rows.columns)[:6] == ["row", "model", "prompt", "expected", "answer", "error"]
    assert rows["answer"].isna().sum() == 1


def test_tables_are_of_polars_where_the_data_is():
    made = Evaluation([answered("a", 0, "soup", 1.0)], like=polars.Series([], dtype=polars.String))
    assert made.table["exact"].to_list() == [1.0]
    assert made.disagreements().is_empty()


def test_models_disagree_where_their_scores_differ(result):
    found = result.disagreements()
    assert list(found["row"]) == [1]
    assert list(found["a"]) == ["tea"]
    assert list(found["exact of b"]) == [1.0]
    alone = Evaluation(result.of("a")).disagreements("f1")
    assert list(alone["row"]) == [1, 2]
    (better,) = result.differences().to_dict("records")
    assert (better["model"], better["rows"]) == ("b", 3)
    assert better["difference"] == pytest.approx(1 / 3)
    with pytest.raises(NotebookError, match="There is no metric 'x'; there is exact, f1"):
        result.disagreements("x")


def test_what_models_wrote_is_escaped_in_a_cell(result):
    shown = Evaluation([answered("a", 0, HOSTILE, 0.0), answered(HOSTILE, 0, "soup", 1.0)])
    for bundle in (shown._repr_mimebundle_(), result._repr_mimebundle_()):
        page = bundle["text/html"]
        assert "<script" not in page
        assert "$" not in page.replace("&#36;", "")
        assert "\x1b" not in page + bundle["text/plain"]
        assert "\u202e" not in page + bundle["text/plain"]
        assert '<th scope="col"' in page
    assert "&lt;script&gt;" in shown._repr_mimebundle_()["text/html"]
    assert "1 row on which they disagree, by exact" in shown._repr_mimebundle_()["text/html"]


def test_a_plot_has_a_panel_for_each_metric(result):
    figure = result.plot()
    assert [axis.get_title() for axis in figure.axes] == ["exact", "f1"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a", "b"]
    assert len(result.plot("f1").axes) == 1


def test_results_are_kept_in_a_file_that_grows(result, tmp_path):
    file = tmp_path / "results" / "r.jsonl"
    result.save(file)
    add_rows(file, [answered("a", 1, "soup", 1.0)])
    loaded = Evaluation.load(file)
    assert loaded.labels == ["a", "b"]
    assert loaded.interval("a", "exact").mean == pytest.approx(2 / 3)
    assert [one.answer for one in loaded.of("b")] == ["soup", "soup", HOSTILE]


def test_a_line_that_was_not_written_to_its_end_is_left_out(result, tmp_path):
    file = tmp_path / "r.jsonl"
    result.save(file)
    whole = file.stat().st_size
    add_rows(file, [answered("c", 0, "soup", 1.0)])
    os.truncate(file, whole + 20)
    assert Evaluation.load(file).labels == ["a", "b"]
    add_rows(file, [answered("c", 0, "soup", 1.0)])
    assert Evaluation.load(file).labels == ["a", "b", "c"]


@pytest.mark.parametrize("text", ["hello\n", '{"a": 1}\n', "\n", '{"file": "other"}\n{}\n'])
def test_other_files_are_refused(tmp_path, text):
    file = tmp_path / "r"
    file.write_text(text)
    with pytest.raises(NotebookError, match=r"is not an evaluation|has a damaged line"):
        read_rows(file)
    with pytest.raises(NotebookError, match="cannot be read"):
        read_rows(tmp_path / "none")


def test_each_model_is_asked_with_each_set_of_settings():
    made = variants_of(["a", "b"], [{"seed": 1}, {"seed": 2}], {"seed": 0, "max_tokens": 3})
    assert [one.label for one in made] == ["a, seed=1", "a, seed=2", "b, seed=1", "b, seed=2"]
    assert made[1].settings == {"seed": 2, "max_tokens": 3}
    for models, settings, said in (
        (["a", "a"], None, "a occurs twice"),
        ("a", [3], "settings must be"),
        ([], None, "There is no model to ask"),
    ):
        with pytest.raises(NotebookError, match=said):
            variants_of(models, settings, {})


class Listed:
    """A server whose models need 3, 5 and no bytes here, and of which one is pinned."""

    def __init__(self, limit):
        self.limit = limit

    def get(self, path, *, timeout):
        assert path == "mlx/models"
        models = [("a", ["short"], 3, False), ("b", [], 5, False), ("up:c", [], None, False)]
        models.append(("p", [], 2, True))
        names = ("id", "aliases", "memory_bytes", "pinned")
        listed = [dict(zip(names, model, strict=True)) for model in models]
        return {"models": listed, "budget": {"limit": self.limit, "used": 0}}


@pytest.mark.parametrize(
    ("models", "limit", "fit"),
    [
        (["a", "b"], 10, True),
        (["a", "b"], 9, False),
        (["short", "b"], 9, False),
        (["a", "up:c"], 5, True),
        (["a", "short"], 1, True),
        (["a", "b"], None, True),
        (["b", "unknown"], 1, True),
    ],
)
def test_models_that_do_not_fit_together_are_asked_one_after_the_other(models, limit, fit):
    said = why_one_by_one(Listed(limit), variants_of(models, None, {}))
    assert (said is None) == fit
    if said is not None:
        assert "together they need 10 bytes, and the memory budget is 9 bytes" in said


def test_answers_side_by_side_are_escaped():
    reply = Reply()
    reply._content.append(HOSTILE + "\nnext")
    reply._reasoning.append(HOSTILE)
    answer = Answer("m", "complete", [reply])
    compared = [ComparedAnswer(HOSTILE, answer), ComparedAnswer("b", None, NotebookError("<b>no"))]
    bundle = comparison_bundle(compared, "note <i>")
    page = bundle["text/html"]
    for live in ("<script", "<b>", "<i>", "\x1b", "\u202e"):
        assert live not in page
    assert "$" not in page.replace("&#36;", "")
    assert "<br>next" in page
    assert "<details><summary>Reasoning" in page
    assert "failed: &lt;b&gt;no" in page
    assert "\x1b" not in bundle["text/plain"]
    assert "b:\n[failed: <b>no]" in bundle["text/plain"]
