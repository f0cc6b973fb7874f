"""A wrong argument of a subcommand is one sentence."""

import pytest

from mlx_notebook.notebook.errors import BadMagic
from mlx_notebook.notebook.magics.subcommands.arguments import parser


@pytest.fixture
def load():
    made = parser("load")
    made.add_argument("model")
    made.add_argument("--adapter")
    made.add_argument("--limit", type=int)
    return made


def test_quotes_keep_words_together(load):
    arguments = load.parse("'a name' --adapter mine")
    assert (arguments.model, arguments.adapter) == ("a name", "mine")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "%mlx load: it needs a model's name; `%mlx models` lists them."),
        ("'a", "%mlx load: a quotation mark is not closed."),
        ("a --fast=1", "%mlx load: Unknown option --fast."),
        ("a b", "%mlx load: Unexpected argument 'b'."),
        ("a --adapter", "%mlx load: --adapter needs a value."),
        ("a --limit x", "%mlx load: --limit: invalid int value: 'x'."),
    ],
)
def test_what_is_wrong_is_one_sentence(load, line, message):
    with pytest.raises(BadMagic) as raised:
        load.parse(line)
    assert str(raised.value) == message
