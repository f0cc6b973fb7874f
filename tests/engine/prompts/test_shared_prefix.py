"""How much of a prompt follows from a declared system prompt."""

from pathlib import Path
from typing import Any

import pytest
from mlx_lm.utils import load_tokenizer

import mlx_notebook.demo_models
from mlx_notebook.engine.prompts.chat_template import apply_template
from mlx_notebook.engine.prompts.shared_prefix import DeclaredPrefixes
from mlx_notebook.protocol import ChatPrompt

TEXT = "You are the tutor of our class. Answer with a question."
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(Path(mlx_notebook.demo_models.__file__).parent / "tiny-chat")


def shared(tokenizer: Any, messages: list[dict[str, Any]], tools: Any = ()) -> str:
    """Return the text that is shared of a conversation."""

    def tokens(prompt: Any) -> list[int]:
        text = apply_template(tokenizer, prompt.messages, prompt.tools, {}, True)
        return list(tokenizer.encode(text, add_special_tokens=False))

    prompt = tokens(ChatPrompt(messages=messages, tools=list(tools)))
    declared = DeclaredPrefixes()
    lengths = {declared.length(tokenizer, TEXT, prompt, tokens) for _ in range(2)}
    assert len(lengths) == 1
    return str(tokenizer.decode(prompt[: lengths.pop()]))


def system(text: str) -> dict[str, Any]:
    return {"role": "system", "content": text}


def test_the_system_prompt_is_shared_and_what_the_user_says_is_not(tokenizer: Any) -> None:
    for question in ("0", "Why?", "What is my secret?"):
        found = shared(tokenizer, [system(TEXT), {"role": "user", "content": question}])
        assert TEXT in found
        assert question not in found.partition(TEXT)[2]


def test_what_a_user_adds_to_the_system_prompt_is_not_shared(tokenizer: Any) -> None:
    messages = [system(f"{TEXT} My name is Ann."), {"role": "user", "content": "Hi"}]
    found = shared(tokenizer, messages)
    assert TEXT[:-1] in found
    assert "Ann" not in found


def test_tools_of_a_user_are_not_shared(tokenizer: Any) -> None:
    found = shared(tokenizer, [system(TEXT), {"role": "user", "content": "Hi"}], [TOOL])
    assert "add" not in found.replace(TEXT, "")


def test_a_prompt_without_the_system_prompt_shares_no_more_than_its_first_marks(
    tokenizer: Any,
) -> None:
    found = shared(tokenizer, [system("Something else."), {"role": "user", "content": "Hi"}])
    assert len(found) < 30
