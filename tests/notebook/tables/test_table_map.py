"""`map` in a kernel below a real server."""

import pytest

START = """
import pandas, mlx_notebook, enum
from pydantic import BaseModel
from typing import Literal
class Order(BaseModel):
    color: Literal["red", "green"]
    age: int
df = pandas.DataFrame({"text": ["hello", "bye", "cats"], "n": [1, 2, 3]}, index=["a", "b", "c"])
short = {"max_tokens": 8, "temperature": 0, "show": False}
"""


@pytest.fixture(autouse=True, scope="module")
def loaded(kernel):
    kernel.run(START)


def test_each_row_has_the_answer_that_it_would_have_alone(kernel):
    kernel.run('texts = mlx_notebook.map(df, "Say {{ text }} {{ n }}", cache=False, **short)')
    assert kernel.value("list(texts.index)") == ["a", "b", "c"]
    kernel.run(
        "from mlx_notebook import Chat\n"
        "alone = [Chat().ask(f'Say {t} {n}', max_tokens=8, temperature=0).text"
        " for t, n in zip(df['text'], df['n'])]"
    )
    assert kernel.value("list(texts)") == kernel.value("alone")


def test_a_schema_gives_typed_columns(kernel):
    kernel.run(
        "made = mlx_notebook.map(df['text'], lambda text: f'Order {text}', schema=Order,"
        " max_tokens=60, temperature=0, show=False)"
    )
    assert kernel.value("list(made.columns)") == ["color", "age", "error"]
    assert kernel.value("[str(d) for d in made.dtypes[:2]]") == ["category", "Int64"]
    assert kernel.value("int(made['error'].notna().sum())") == 0
    # The answer is cut off before it is complete: the row says so, and the others are there.
    kernel.run(
        "cut = mlx_notebook.map(df['text'], 'Order {{ value }}', schema=Order, max_tokens=3,"
        " retry=0, show=False)"
    )
    assert kernel.value("int(cut['error'].notna().sum())") == 3


def test_rows_that_fail_raise_nothing_and_say_why(kernel):
    kernel.run(
        "texts = mlx_notebook.map(['hi', 'word ' * 9000, 'bye'], 'Say {{ value }}', **short)"
    )
    assert kernel.value("list(texts.isna())") == [False, True, False]
    assert "context" in kernel.value("texts.attrs['errors'][1]")
    # The first row too, and the cell says why.
    shown = kernel.run(
        "texts = mlx_notebook.map(['word ' * 9000, 'hi'], 'Say {{ value }}', max_tokens=8)"
    ).outputs[0]["text/plain"]
    assert kernel.value("list(texts.isna())") == [True, False]
    assert "1 failed, because: " in shown
    assert "context" in shown


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("map(df, 'Say hello')", "The prompt names nothing of a row"),
        ("map(df, 'Say {{ txt }}')", "there is no 'txt'; there is text, n"),
        ("map(7, 'Say {{ value }}')", "and not int"),
        ("map(df, 'Say {{ n }}', model='nowhere')", "nowhere"),
        ("map(df, 'Say {{ n }}', max_tokens=-1)", "max_tokens"),
        ("map(df, 'Say {{ n }}', temprature=0)", "map has no setting 'temprature'"),
        ("map(df, 'Say {{ n }}', stream=True)", "map has no setting 'stream'"),
        ("map(df, 'Say {{ n }}', retry=-1)", "retry must be 0 or more; you gave -1"),
    ],
)
def test_mistakes_are_told_in_one_sentence(kernel, call, said):
    cell = kernel.run(f"mlx_notebook.{call}", check=False)
    assert said in cell.evalue
    assert len(cell.traceback) == 1


def test_after_an_interrupt_the_same_call_goes_on(kernel):
    kernel.run(
        "import signal\n"
        "def story(number):\n"
        "    if number == stop_at:\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "    return f'Tell a story of number {number}'"
    )
    call = (
        "many = mlx_notebook.map(range(80), story, max_tokens=10, extra_body={'ignore_eos': True})"
    )
    cell = kernel.run(f"stop_at = 70\n{call}", check=False)
    assert cell.ename == "Interrupted"
    assert cell.evalue.endswith("Run the cell again to go on.")
    done = int(cell.evalue.split("stopped after ")[1].split(" rows")[0])
    assert 20 < done < 80
    (shown,) = kernel.run(f"stop_at = None\n{call}").outputs
    assert kernel.value("int(many.isna().sum())") == 0
    assert shown["text/plain"].startswith("map: 80 rows in")
    before = shown["text/plain"].split(" of them answered before")[0].split()[-1]
    assert done <= int(before) < 80


def test_tools_are_called_for_each_row(kernel):
    kernel.run(
        "calls = []\n"
        "def double(number: int) -> int:\n"
        "    'Double a number.'\n"
        "    calls.append(number)\n"
        "    return 2 * number\n"
        "out = mlx_notebook.map([3, 4], 'Double the number {{ value }}.', tools=[double],"
        " temperature=0, max_tokens=60, details=True, cache=False, show=False)"
    )
    assert kernel.value("int(out['error'].notna().sum())") == 0
    assert kernel.value("len(calls)") >= 1
