"""Render a conversation with the model's chat template."""

from collections.abc import Callable
from typing import Any

from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from mlx_notebook.engine.errors import ContextOverflow, InvalidRequest
from mlx_notebook.engine.sandbox import jinja_templates, sandbox
from mlx_notebook.engine.sandbox.jinja_templates import RenderTemplate
from mlx_notebook.protocol import RESERVED_KWARGS

_MOST = 2**20


def apply_template(
    tokenizer: Any,
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]],
    options: dict[str, Any],
    add_generation_prompt: bool,
    *,
    most: int = _MOST,
    render: Callable[[RenderTemplate], str] = sandbox.render,
) -> str:
    """Render a conversation with the model's chat template.

    Jinja templates are rendered in a sandbox. Templates in Python, which are part of mlx-lm or of a
    folder whose code is trusted, run in this process.

    Parameters
    ----------
    tokenizer
        mlx-lm's `TokenizerWrapper`.
    options
        Additional variables of the template.
    most
        Maximum number of characters of the text.
    render
        What renders a Jinja template.

    Raises
    ------
    InvalidRequest
        If there is no template, it refuses the messages, or an option is reserved.
    ContextOverflow
        If the text would be longer than `most`.
    LimitExceeded
        If rendering takes too much time or memory.
    """
    if not tokenizer.has_chat_template:
        raise InvalidRequest(
            "this model has no chat template: use /v1/completions, or an instruct model", "model"
        )
    if reserved := RESERVED_KWARGS & options.keys():
        name = min(reserved)
        raise InvalidRequest(
            f"a chat template's variables cannot set '{name}'", f"chat_template_kwargs.{name}"
        )
    # mlx-lm's wrapper would turn reasoning on if the vocabulary has its marks.
    options = {"enable_thinking": False, **options}
    if _in_python(tokenizer):
        return _run(tokenizer, messages, tools, options, add_generation_prompt, most)
    return render(
        RenderTemplate(
            template=_template(tokenizer, tools),
            messages=messages,
            tools=tools or None,
            variables={**_special_tokens(tokenizer), **options},
            add_generation_prompt=add_generation_prompt,
            most=most,
        )
    )


def render_here(task: RenderTemplate) -> str:
    """Render a Jinja template in this process: for many texts, in a process that can be killed.

    Raises
    ------
    InvalidRequest
        If the template refuses the messages, or the text is too long.
    """
    try:
        return jinja_templates.render(task)
    except jinja_templates.TooLong as error:
        raise ContextOverflow(f"It has more than {task.most} characters.", "messages") from error
    except Exception as error:  # a template may raise anything
        raise InvalidRequest(
            f"the model's chat template refuses these messages: {error}", "messages"
        ) from error


def _in_python(tokenizer: Any) -> bool:
    own = type(tokenizer._tokenizer).apply_chat_template
    return (
        tokenizer._chat_template is not None
        or own is not PreTrainedTokenizerBase.apply_chat_template
    )


def _run(
    tokenizer: Any,
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]],
    options: dict[str, Any],
    add_generation_prompt: bool,
    most: int,
) -> str:
    try:
        text: str = tokenizer.apply_chat_template(
            messages,
            tools=tools or None,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            **options,
        )
    except Exception as error:  # a template in Python may raise anything
        raise InvalidRequest(
            f"the model's chat template refuses these messages: {error}", "messages"
        ) from error
    if len(text) > most:
        raise ContextOverflow(f"The prompt has more than {most} characters.", "messages")
    return text


def _template(tokenizer: Any, tools: list[dict[str, Any]]) -> str:
    try:
        return str(tokenizer.get_chat_template(tools=tools or None))
    except ValueError as error:  # it has several templates, and none is the default
        raise InvalidRequest(str(error), "model") from error


def _special_tokens(tokenizer: Any) -> dict[str, Any]:
    """Return the model's special tokens by their names in templates."""
    return {
        name: [*map(str, token)] if isinstance(token, list) else str(token)
        for name, token in tokenizer.special_tokens_map.items()
    }
