"""Prompts are filled from the notebook's names, and ordinary braces survive."""

import pytest

from mlx_notebook.notebook.errors import UnfilledTemplate
from mlx_notebook.notebook.inputs.prompt_templates import fill


def evaluate_with(**names):
    return lambda expression: eval(expression, names)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ x }} and {{x+1}}", "2 and 3"),
        ('f-string {x}, dict {"a": {}}, set {1}', 'f-string {x}, dict {"a": {}}, set {1}'),
        ('{{ {"a": {"b": 5}}["a"]["b"] }}', "5"),
        ("{{ {1: 2}}}", "{1: 2}"),
        ('{{ "{{" }} stays', "{{ stays"),
        ("{{ '}}' }}", "}}"),
        ("an open {{ brace", "an open {{ brace"),
        ("{{ name }}", "{{ x }}"),
        ("{{ [i for i in\n range(3)] }}", "[0, 1, 2]"),
        ("} }} {", "} }} {"),
    ],
)
def test_double_braces_are_filled_and_others_left(template, text):
    assert fill(template, evaluate_with(x=2, name="{{ x }}")) == text


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ missing }}", "{{ missing }} in the prompt could not be filled: NameError"),
        ("{{ 1 / 0 }}", "{{ 1 / 0 }} in the prompt could not be filled: ZeroDivisionError"),
        ("{{ 1 + }}", "{{ 1 + }} in the prompt could not be filled: SyntaxError"),
        ("{{}}", "could not be filled: SyntaxError"),
    ],
)
def test_an_expression_that_fails_is_named(template, said):
    with pytest.raises(UnfilledTemplate) as caught:
        fill(template, evaluate_with())
    assert said in str(caught.value)


def test_an_interrupt_in_an_expression_is_not_swallowed():
    def evaluate(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill("{{ x }}", evaluate)
