"""Templates are rendered as transformers renders them, in an environment without escape."""

from typing import Any

import jinja2
import pytest

from mlx_notebook.engine.sandbox.jinja_templates import RenderTemplate, TooLong, render

HELLO = [{"role": "user", "content": "Hi", "tool_calls": None}]


def rendered(template: str, **options: Any) -> str:
    options = {"messages": HELLO, "most": 1000, **options}
    return render(RenderTemplate(template=template, **options))


def test_messages_tools_and_variables_are_known() -> None:
    template = "{{ messages[0].content }} {{ tools }} {{ bos }} {{ add_generation_prompt }}"
    assert rendered(template, variables={"bos": "<s>"}) == "Hi None <s> False"


def test_empty_fields_of_messages_are_not_defined() -> None:
    assert rendered("{{ messages[0].tool_calls is defined }}") == "False"


@pytest.mark.parametrize("name", ["thinking", "reasoning", "reasoning_content"])
def test_reasoning_has_every_name_that_templates_read(name: str) -> None:
    messages = [{"role": "assistant", "content": "", name: "hm"}]
    template = "{{ messages[0].thinking }}{{ messages[0].reasoning_content }}"
    assert rendered(template, messages=messages) == "hmhm"


def test_the_tag_generation_renders_its_content() -> None:
    assert rendered("{% generation %}a{% endgeneration %}b") == "ab"


def test_json_is_not_escaped_for_html() -> None:
    assert rendered("{{ {'a': '<é>'} | tojson }}") == '{"a": "<é>"}'


def test_a_text_that_is_too_long_is_stopped() -> None:
    with pytest.raises(TooLong):
        rendered("{% for i in range(99999) %}{{ i }}{% endfor %}", most=100)


@pytest.mark.parametrize(
    "template",
    ["{{ ''.__class__.__mro__ }}", "{{ messages.append(1) }}", "{% set n = namespace(_a=1) %}"],
)
def test_templates_cannot_reach_beyond_their_variables(template: str) -> None:
    with pytest.raises(jinja2.exceptions.SecurityError):
        rendered(template)


def test_an_exception_of_the_template_is_raised() -> None:
    with pytest.raises(jinja2.TemplateError, match="no system role"):
        rendered("{{ raise_exception('no system role') }}")
    with pytest.raises(ValueError, match="no messages"):
        rendered("x", messages=[])
