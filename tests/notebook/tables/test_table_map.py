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
    call = "many = mlx_notebook.map(range(80), story, max_tokens=10, ignore_eos=True)"
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


def test_embed_gives_a_vector_for_each_row_and_keeps_it(kernel):
    call = "vectors = mlx_notebook.embed(many)"
    kernel.run(
        "many = pandas.Series([f'text {n}' for n in range(150)] + ['', 'word ' * 9000, 'end'])"
    )
    (shown,) = kernel.run(call).outputs
    assert shown["text/plain"].startswith("embed: 153 rows in")
    assert "2 failed, the first because: NotATable: the text is empty" in shown["text/plain"]
    kernel.run("import numpy; lost = numpy.isnan(vectors).all(axis=1)")
    assert kernel.value("[str(vectors.dtype), len(vectors), numpy.flatnonzero(lost).tolist()]") == [
        *("float32", 153),
        [150, 151],
    ]
    kernel.run(
        "client = mlx_notebook.client()\n"
        "one = client.embeddings.create(model='tiny-chat', input=['text 7']).data[0].embedding"
    )
    assert kernel.value("bool(numpy.allclose(vectors[7], one, atol=1e-4))")
    (shown,) = kernel.run(call).outputs
    assert "151 of them answered before" in shown["text/plain"]
    kernel.run("found = mlx_notebook.nearest('text 7', many, 3, vectors=vectors)")
    assert kernel.value("found['text'].iloc[0]") == "text 7"
    cell = kernel.run("mlx_notebook.embed(df)", check=False)
    assert 'pass a column, such as df["text"]' in cell.evalue


def test_the_builtin_stays_after_a_star_import(kernel):
    kernel.run("from mlx_notebook import *")
    assert kernel.value("[list(map(str, [1])), embed is mlx_notebook.embed]") == [["1"], True]


def test_a_cell_maps_a_table(kernel):
    options = "-t 0 --max-tokens 8"
    kernel.run(f"%%map df[df.n > 1] {options} --var said\nSay {{{{ text }}}} {{{{ n }}}}")
    (shown,) = kernel.run(
        "same = mlx_notebook.map(df[1:], 'Say {{ text }} {{ n }}', max_tokens=8, temperature=0)"
    ).outputs
    assert "2 of them answered before" in shown["text/plain"]
    assert kernel.value("[list(said.index), list(said) == list(same)]") == [["b", "c"], True]
    cell = kernel.run("%%map df --schema Order --max-tokens 60 -t 0\nOrder {{ text }}")
    assert "color" in cell.outputs[-1]["text/plain"]
    for code, said in (
        ("%%map\nSay {{ n }}", "%%map: it needs the table, as in `%%map df`."),
        ("%%map df\n ", "The prompt is empty: write it below the %%map line."),
        ("%%map df -x 3\nSay {{ n }}", "%%map: Unknown option -x. `%%map?` lists the options."),
        ("%%map nothing\nSay {{ n }}", "%%map data: 'nothing' is not a variable"),
        ("%%map df --cache a --no-cache\n{{ n }}", "%%map: --no-cache does not go with --cache."),
        ("%%map df -t 0 Say {{ n }}\nmore", "write the prompt below it"),
    ):
        assert said in kernel.run(code, check=False).evalue
