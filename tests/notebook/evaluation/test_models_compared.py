"""`compare` and `evaluate` in a kernel below a real server."""

import pytest

START = """
import json, pandas, mlx_notebook
from mlx_notebook import metrics
words = pandas.DataFrame(
    {"word": ["soup", "tea", "rice", "Oslo"], "right": ["soup", "tea", "beer", "oslo"]}
)
task = {"data": words, "task": "Say {{ word }}", "expected": "right", "show": False}
short = {"max_tokens": 8, "temperature": 0}

import os, signal, threading, time

def interrupt_when(ready):
    # Presses the stop button when the server's status is as awaited.
    server = mlx_notebook.connect()
    def watch():
        while not ready(server.get("mlx/status")):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=watch, daemon=True).start()
"""


@pytest.fixture(autouse=True, scope="module")
def loaded(kernel):
    kernel.run(START)


def test_answers_stand_side_by_side_as_each_model_gives_them_alone(kernel):
    cell = kernel.run(
        "found = mlx_notebook.compare('Say soup',"
        " settings=[{'temperature': 0}, {'temperature': 1.5, 'seed': 3}], max_tokens=8)\nfound"
    )
    (shown,) = cell.outputs
    assert cell.updates >= 1
    assert shown["text/html"].count("<th ") == 2
    assert "temperature=1.5, seed=3" in shown["text/html"]
    kernel.run(
        "alone = [mlx_notebook.Chat().ask('Say soup', max_tokens=8, **one).text"
        " for one in ({'temperature': 0}, {'temperature': 1.5, 'seed': 3})]"
    )
    assert kernel.value("[answer.text for answer in found]") == kernel.value("alone")
    (again,) = kernel.run("found").outputs
    assert again["text/html"] == shown["text/html"]


def test_a_model_that_fails_leaves_the_others(kernel):
    cell = kernel.run(
        "found = mlx_notebook.compare('Say soup', ['tiny-chat', 'none'], max_tokens=4)"
    )
    assert "failed: There is no model &#x27;none&#x27; here" in cell.outputs[0]["text/html"]
    assert kernel.value("[list(found.errors), found['none'] is None]") == [["none"], True]
    failed = kernel.run("mlx_notebook.compare('Say soup', ['none'])", check=False)
    assert failed.ename == "ModelNotFound"


def test_an_interrupt_leaves_what_the_models_said(kernel):
    cell = kernel.run(
        "interrupt_when(lambda s: sum(r['generated_tokens'] > 20 for r in s['requests']) == 2)\n"
        "mlx_notebook.compare('Tell a story', settings=[{'seed': 1}, {'seed': 2}],"
        " max_tokens=4000, extra_body={'ignore_eos': True})",
        check=False,
    )
    assert cell.ename == "Interrupted"
    assert cell.outputs[0]["text/plain"].count("interrupted]") == 2


def test_scores_are_the_same_with_the_same_seed(kernel):
    for name in ("first", "second"):
        kernel.run(
            f"{name} = mlx_notebook.evaluate(**task, metrics=['exact', 'f1'],"
            " settings=[{'temperature': 0}, {'temperature': 1.5}], max_tokens=8, cache=False)"
        )
    columns = ["exact", "exact low", "exact high", "f1", "tokens"]
    assert kernel.value(f"bool(first.table[{columns}].equals(second.table[{columns}]))")
    assert kernel.value("first.table['rows'].tolist()") == [4, 4]
    (shown,) = kernel.run("first").outputs
    assert "Means with their 95 % confidence intervals." in shown["text/plain"]
    assert kernel.value("len(mlx_notebook.evaluate(**task, sample=2, **short).answers)") == 2


def test_a_later_call_extends_a_file(kernel, tmp_path):
    call = f"mlx_notebook.evaluate(**later, file={str(tmp_path / 'r.jsonl')!r}, cache=False"
    kernel.run("later = {**task, **short, 'show': True}")
    assert kernel.run(f"{call})").said.startswith("evaluate tiny-chat: 4 rows in")
    cell = kernel.run(f"made = {call}, metrics=[metrics.exact(ignore_case=True), len])")
    assert cell.said == "", "nothing is asked for again"
    assert kernel.value("[list(one.scores) for one in made.answers]") == [["exact", "len"]] * 4
    cell = kernel.run(f"both = {call}, settings={{'seed': 5}})")
    assert cell.said.startswith("evaluate tiny-chat, seed=5: 4 rows in")
    assert kernel.value("both.labels") == ["tiny-chat", "tiny-chat, seed=5"]
    kernel.run("later['task'] = 'Tell {{ word }}'")
    assert "Name another file" in kernel.run(f"{call})", check=False).evalue


def test_an_interrupted_evaluation_goes_on(kernel):
    call = (
        "many = mlx_notebook.evaluate(range({rows}), 'Tell of {{{{ value }}}}', metrics=len,"
        " file='many.jsonl', max_tokens=40, extra_body={{'ignore_eos': True}})"
    )
    kernel.run("done = mlx_notebook.connect().get('mlx/status')['totals']['finished']")
    kernel.run("interrupt_when(lambda s: s['totals']['finished'] > done + 9)")
    cell = kernel.run(call.format(rows=4000), check=False)
    assert cell.ename == "Interrupted"
    done = kernel.value("len(mlx_notebook.Evaluation.load('many.jsonl').answers)")
    assert 0 < done < 4000
    kernel.run(call.format(rows=done + 4))
    assert kernel.value("len(many.answers)") == done + 4
    assert kernel.value("[len(one.scores) for one in many.answers]") == [1] * (done + 4)


def test_a_judge_says_yes_or_no(kernel):
    kernel.run("judged = mlx_notebook.evaluate(**task, metrics='judge', **short)")
    assert set(kernel.value("[one.scores['judge'] for one in judged.answers]")) <= {0.0, 1.0}
    kernel.run(
        "failed = mlx_notebook.evaluate(['hi', 'word ' * 9000], '{{ value }}', show=False,"
        " metrics=metrics.judge(question='Is it polite?'), **short)"
    )
    assert kernel.value("[one.answer is None for one in failed.answers]") == [False, True]
    assert kernel.value("failed.answers[1].scores['judge']") == 0.0


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("evaluate(words, 'Say {{ word }}')", "exact compares with an expected answer"),
        ("evaluate(words, 'Say {{ word }}', metrics='bleu')", "There is no metric 'bleu'"),
        ("evaluate([], '{{ value }}', metrics=len)", "The data has no rows"),
        ("evaluate(words, '{{ word }}', metrics=int, max_tokens=4)", "The metric int failed"),
        (
            "evaluate(words, '{{ word }}', metrics=len, temprature=0)",
            "evaluate has no setting 'temprature'",
        ),
        ("evaluate(3, '{{ word }}', metrics=len)", "evaluate needs a DataFrame"),
        ("compare('a', settings=3)", "settings must be a dict"),
        ("compare('a', settings={'stream': True})", "compare has no setting 'stream'"),
    ],
)
def test_mistakes_are_told_in_one_sentence(kernel, call, said):
    cell = kernel.run(f"mlx_notebook.{call}", check=False)
    assert said in cell.evalue
    assert len(cell.traceback) == 1
