"""Chat templates: the text that transformers makes of them, and an end for those that go on."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlx_lm.utils import load_tokenizer

from mlx_notebook import demo_models
from mlx_notebook.engine.errors import Cancelled, ContextOverflow, InvalidRequest, LimitExceeded
from mlx_notebook.engine.prompts.chat_template import apply_template
from mlx_notebook.engine.sandbox import sandbox
from mlx_notebook.engine.sandbox.deadline import Deadline
from mlx_notebook.protocol import RESERVED_KWARGS
from tests.tiny_models.models import TEMPLATE, VISION_TEMPLATE
from tests.tiny_models.vision_models import SMOLVLM_TEMPLATE

TINY = Path(demo_models.__file__).parent
ENDLESS = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"

SHAPES = {
    "chatml with tools": """{%- if tools %}
    {{- '<|im_start|>system\\n# Tools\\n<tools>' }}
    {%- for tool in tools %}
        {{- "\\n" }}{{ tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- endif %}
{%- set ns = namespace(last=messages|length - 1, several=true) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.several and message.role == "user" and message.content is string %}
        {%- set ns.several = false %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if message.reasoning_content is defined and loop.index0 > ns.last %}
        {{- '<think>\\n' + message.reasoning_content.strip('\\n') + '\\n</think>\\n\\n' }}
    {%- elif '</think>' in content %}
        {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
    {%- endif %}
    {{- '<|im_start|>' + message.role + '\\n' + content }}
    {%- for call in message.tool_calls or [] %}
        {{- '\\n<tool_call>\\n{"name": "' ~ call.function.name ~ '", "arguments": ' }}
        {{- call.function.arguments | tojson }}{{- '}\\n</tool_call>' }}
    {%- endfor %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}""",
    "header ids and a date": """{{- bos_token }}
{%- if not date_string is defined %}
    {%- set date_string = strftime_now("%d %b %Y") if strftime_now is defined else "26 Jul 2024" %}
{%- endif %}
{% for message in messages %}
    {% if message.role not in ['user', 'assistant', 'system', 'tool'] %}
        {{ raise_exception('Unknown role ' ~ message.role) }}
    {% endif %}
{{ '<|start_header_id|>' ~ message['role'] ~ '<|end_header_id|>\\n\\n' }}
{{- message['content'] | trim }}
{% endfor %}
Today: {{ date_string }} {{ tools | tojson(indent=4) if tools is not none else 'no tools' }}
""",
    "macros and loop controls": """{%- macro show(value, depth=0) -%}
    {%- if value is mapping -%}
        { {%- for key, inner in value | dictsort %}{{ key }}: {{ show(inner, depth + 1) }}
        {%- if not loop.last %}, {% endif %}{%- endfor -%} }
    {%- elif value is string -%}<escape>{{ value | escape }}</escape>
    {%- else -%}{{ value }}{%- endif -%}
{%- endmacro -%}
{%- for message in messages -%}
    {%- if message.role == 'system' -%}{% continue %}{%- endif -%}
    {%- if loop.index > 6 -%}{% break %}{%- endif -%}
    {{ show(message) }}|{{ loop.cycle('a', 'b') }}|{{ message | tojson }}
{%- endfor -%}""",
    "training tags, dict and namespace": """{% for message in messages %}
    {% if message.role == 'assistant' %}
        {% generation %}{{ message.content }}{{ eos_token }}
        {% endgeneration %}
    {% else %}
<{{ message.role }}>{{ message.content }}</{{ message.role }}>
    {% endif %}
{% endfor %}
{{ dict(a=1, b='x') | tojson(sort_keys=true) }} {{ dict.fromkeys(['k'], 0) }}
{%- set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}
{{ documents | tojson if documents else 'none' }}
{{ {'a': [1, 2]} | tojson(separators=(',', ':')) }}
""",
    "what is refused": "{{ raise_exception('System role not supported') }}",
    "what does not exist": "{{ messages[0].content.nothing.of_it }}",
    "what is not allowed": "{{ messages.append(1) }}{{ ''.__class__.__mro__ }}",
    "private names": "{% set ns = namespace(_x=1) %}",
    "broken": "{% for %}",
}

CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": {"ä": [1.5, None]}}}
CONVERSATIONS = {
    "a greeting": [{"role": "user", "content": "Hello"}],
    "instructions": [
        {"role": "system", "content": "Be <b>kind</b> & 'brief'.\n"},
        {"role": "user", "content": "  Hé\n\u2028\u0000 \U0001f600 {{ 1 + 1 }} "},
        {"role": "assistant", "content": "<think>\nso\n</think>\n\nYes"},
        {"role": "user", "content": "More"},
    ],
    "calls": [
        {"role": "user", "content": "Go"},
        {"role": "assistant", "content": "", "reasoning_content": "hm", "tool_calls": [CALL]},
        {"role": "tool", "content": '{"a": 1}', "tool_call_id": "c", "name": "f"},
        {"role": "assistant", "content": None, "reasoning": "why", "name": None},
    ],
    "parts": [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}
    ],
}
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]


def models_own(model: str) -> str:
    return (TINY / model / "chat_template.jinja").read_text()


TEMPLATES = {
    **SHAPES,
    "tiny-chat": models_own("tiny-chat"),
    "tiny-vision": models_own("tiny-vision"),
    "tests": TEMPLATE,
    "vision tests": VISION_TEMPLATE,
    "smolvlm": SMOLVLM_TEMPLATE,
}


@pytest.fixture(scope="module")
def loaded() -> Any:
    return load_tokenizer(TINY / "tiny-chat")


@pytest.fixture
def tokenizer(loaded: Any) -> Iterator[Any]:
    before = loaded._tokenizer.chat_template
    yield loaded
    loaded._tokenizer.chat_template = before


def theirs(tokenizer: Any, messages: Any, tools: Any, options: Any, prompt: bool) -> str | None:
    """What transformers makes of it; None where that fails."""
    try:
        return str(
            tokenizer.apply_chat_template(
                messages,
                tools=tools or None,
                tokenize=False,
                add_generation_prompt=prompt,
                **{"enable_thinking": False, **options},
            )
        )
    except Exception:
        return None


def ours(tokenizer: Any, *prompt: Any) -> str | None:
    """What we make of it; None where that is refused."""
    try:
        return apply_template(tokenizer, *prompt)
    except InvalidRequest:
        return None


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
@pytest.mark.parametrize("messages", CONVERSATIONS.values(), ids=CONVERSATIONS)
def test_the_text_is_the_one_of_transformers(
    tokenizer: Any, template: str, messages: list[dict[str, Any]]
) -> None:
    tokenizer._tokenizer.chat_template = template
    documents = {"documents": [{"title": "t", "text": "x"}], "bos_token": "<s>"}
    for tools in ([], TOOLS):
        for options in ({}, {"enable_thinking": True, "date_string": "today"}, documents):
            for prompt in (True, False):
                given = messages, tools, options, prompt
                assert ours(tokenizer, *given) == theirs(tokenizer, *given)


@pytest.mark.parametrize("template", TEMPLATES, ids=TEMPLATES)
def test_only_what_should_be_is_refused(tokenizer: Any, template: str) -> None:
    tokenizer._tokenizer.chat_template = TEMPLATES[template]
    parts = CONVERSATIONS["parts" if template == "smolvlm" else "a greeting"]
    text = ours(tokenizer, parts, [], {"bos_token": "<s>"}, True)
    refused = list(SHAPES)[4:]
    assert (text is None) == (template in refused)


def test_a_tokenizer_with_several_templates_takes_the_one_for_tools(tokenizer: Any) -> None:
    tokenizer._tokenizer.chat_template = {"default": "plain", "tool_use": "{{ tools | length }}"}
    hello = CONVERSATIONS["a greeting"]
    assert apply_template(tokenizer, hello, [], {}, True) == "plain"
    assert apply_template(tokenizer, hello, TOOLS, {}, True) == "1"
    tokenizer._tokenizer.chat_template = {"other": "plain"}
    with pytest.raises(InvalidRequest, match="template"):
        apply_template(tokenizer, hello, [], {}, True)


def test_a_template_in_python_renders_here(tokenizer: Any, monkeypatch: Any) -> None:
    def render(messages: Any, **options: Any) -> str:
        return f"{messages[0]['content']} {options['add_generation_prompt']}"

    monkeypatch.setattr(tokenizer, "_chat_template", render)
    hello = CONVERSATIONS["a greeting"]
    assert apply_template(tokenizer, hello, [], {}, True) == "Hello True"
    with pytest.raises(ContextOverflow):
        apply_template(tokenizer, hello, [], {}, True, most=5)
    with pytest.raises(InvalidRequest, match="refuses"):
        apply_template(tokenizer, [{"role": "user"}], [], {}, True)


@pytest.mark.parametrize("name", sorted(RESERVED_KWARGS))
def test_no_variable_replaces_the_renderers_own(tokenizer: Any, name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        apply_template(tokenizer, CONVERSATIONS["a greeting"], [], {name: "x"}, True)
    assert caught.value.param == f"chat_template_kwargs.{name}"


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'a' * 3000000000 }}",
        "{% set ns = namespace(x='a') %}{% for i in range(40) %}{% set ns.x = ns.x + ns.x %}"
        "{% endfor %}{{ ns.x | length }}",
    ],
)
def test_a_template_that_eats_memory_fails_by_itself(tokenizer: Any, template: str) -> None:
    tokenizer._tokenizer.chat_template = template
    with pytest.raises(LimitExceeded, match="more than 1 GB of memory"):
        apply_template(tokenizer, CONVERSATIONS["a greeting"], [], {}, True)
    tokenizer._tokenizer.chat_template = "still here"
    assert apply_template(tokenizer, CONVERSATIONS["a greeting"], [], {}, True) == "still here"


def test_a_text_that_is_too_long_is_not_made(tokenizer: Any) -> None:
    tokenizer._tokenizer.chat_template = (
        "{% for i in range(99999) %}{% for j in range(99999) %}0123456789{% endfor %}{% endfor %}"
    )
    with pytest.raises(ContextOverflow):
        apply_template(tokenizer, CONVERSATIONS["a greeting"], [], {}, True, most=10**6)


def test_a_sandbox_imports_little_so_that_it_starts_at_once() -> None:
    code = (
        "import sys, mlx_notebook.engine.sandbox.process; "
        "print([m for m in ('mlx', 'transformers', 'numpy', 'llguidance') if m in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_what_nobody_waits_for_is_stopped_and_holds_up_no_other(tokenizer: Any) -> None:
    hello = CONVERSATIONS["a greeting"]
    deadline = Deadline()
    ended: list[BaseException] = []
    tokenizer._tokenizer.chat_template = ENDLESS

    def render() -> None:
        with deadline.active():
            try:
                apply_template(tokenizer, hello, [], {}, True)
            except Cancelled as error:
                ended.append(error)

    endless = threading.Thread(target=render)
    endless.start()
    while not any(child.cpu_times().user > 0.5 for child in psutil.Process().children()):
        time.sleep(0.01)
    tokenizer._tokenizer.chat_template = "beside it"
    assert apply_template(tokenizer, hello, [], {}, True) == "beside it"
    assert endless.is_alive()
    deadline.stop()
    endless.join(30)
    assert len(ended) == 1


def test_a_preparation_that_takes_too_long_is_stopped(tokenizer: Any) -> None:
    tokenizer._tokenizer.chat_template = ENDLESS
    with Deadline(0.2).active(), pytest.raises(LimitExceeded, match="preparing the request"):
        apply_template(tokenizer, CONVERSATIONS["a greeting"], [], {}, True)


def test_a_sandbox_that_ended_while_idle_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    # A process whose task takes long, as on a busy machine, is not kept.
    monkeypatch.setattr(sandbox, "_LONG_SECONDS", 60.0)
    box = sandbox.Sandbox()
    task = sandbox.RenderTemplate(template="{{ 1 }}", messages=[{"role": "user"}], most=9)
    assert box.run(task) == sandbox.RenderedText("1")
    (idle,) = box._idle
    idle._process.kill()
    idle._process.wait()
    assert box.run(task) == sandbox.RenderedText("1")
    box._idle[0].kill()
