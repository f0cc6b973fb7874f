"""What `compare` and `evaluate` leave in a saved notebook, shown without a kernel."""

from mlx_notebook import Evaluation
from mlx_notebook.notebook.answers.answer import Answer, Reply
from mlx_notebook.notebook.evaluation.comparison_view import ComparedAnswer, comparison_bundle
from mlx_notebook.notebook.evaluation.evaluation_file import EvaluatedRow
from tests.browser.pages import axe

HOSTILE = '</td><img src="x:" onerror="window.hit = 1"><script>window.hit = 1</script>'


def test_saved_results_are_tables_that_everybody_can_read(chromium):
    reply = Reply()
    reply._content.append(HOSTILE)
    answers = [ComparedAnswer("a", Answer("a", "complete", [reply])), ComparedAnswer(HOSTILE)]
    rows = [
        EvaluatedRow(label, label, {}, 0, HOSTILE, HOSTILE, "", HOSTILE, scores={"exact": score})
        for label, score in (("a", 0.0), (HOSTILE, 1.0))
    ]
    parts = [comparison_bundle(answers, None), Evaluation(rows)._repr_mimebundle_()]
    body = "".join(part["text/html"] for part in parts)
    page = chromium.new_page()
    try:
        page.set_content(f"<!doctype html><html lang='en'><title>t</title><main>{body}</main>")
        page.get_by_text("1 row on which they disagree").click()
        assert page.locator("table").count() == 3
        assert page.locator("td").get_by_text(HOSTILE).count() == 6
        assert page.evaluate("window.hit") is None
        assert axe(page, "main") == []
    finally:
        page.close()
