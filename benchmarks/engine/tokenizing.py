"""`python -m benchmarks.engine.tokenizing`: the cost of tokenizing a conversation's next turn.

Compares tokenizing the whole conversation, as mlx-lm's server does for each turn, with tokenizing
what is new, in one process and by processor time. The messages are pages of the documentation.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.engine.prefixes import milliseconds
from benchmarks.harness.contenders import ROOT
from benchmarks.models.prepare import prepare_model
from mlx_notebook.engine.prompts.incremental_tokenizer import IncrementalTokenizer, tokenize

_MESSAGE, _ANSWER = 4_000, 300


def conversation(tokenizer: Any, characters: int) -> tuple[str, str]:
    """Return a prompt of about so many characters, and that of the next turn."""
    pages = "\n".join(page.read_text() for page in sorted((ROOT / "docs").rglob("*.md")))
    messages = []
    for begin in range(0, characters, _MESSAGE):
        page = pages[begin % len(pages) :][: min(_MESSAGE, characters - begin)]
        messages.append({"role": "user", "content": page})
        messages.append({"role": "assistant", "content": pages[begin:][:_ANSWER]})
    begun = messages[:-1]
    following = [*messages, {"role": "user", "content": pages[-_ANSWER:]}]
    first, second = (
        tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        for turn in (begun, following)
    )
    return first, second


def measure(tokenizer: Any, characters: int, repeats: int) -> tuple[int, float, float, float]:
    """Return the tokens of a next turn, and the time of each way: whole, a new text, what is new.

    Raises
    ------
    AssertionError
        If the tokens differ.
    """
    first, second = conversation(tokenizer, characters)
    whole = tokenize(tokenizer, second)
    incremental = IncrementalTokenizer(tokenizer)

    def next_turn() -> None:
        incremental.tokenize(second, "")

    following = []
    for _ in range(repeats):
        incremental = IncrementalTokenizer(tokenizer)
        incremental.tokenize(first, "")
        following.append(milliseconds(next_turn, 1))
    assert incremental.tokenize(second, "") == whole
    return (
        len(whole.tokens),
        milliseconds(lambda: tokenize(tokenizer, second), repeats),
        milliseconds(lambda: IncrementalTokenizer(tokenizer).tokenize(second, ""), repeats),
        min(following),
    )


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.engine.tokenizing", description=__doc__
    )
    parser.add_argument("--model", default="smollm2", help="a shape or a folder with a tokenizer")
    parser.add_argument("--characters", type=int, nargs="+", default=[5_000, 15_000, 60_000])
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(options.model)
        if not folder.is_dir():
            folder = Path(made) / "model"
            prepare_model(options.model, folder, "bfloat16")
        from mlx_lm.utils import load_tokenizer

        tokenizer = load_tokenizer(folder)
        print("| tokens of the next turn | all of it | a new text | what is new | ratio |")
        print("|---:|---:|---:|---:|---:|")
        for characters in options.characters:
            tokens, whole, new, following = measure(tokenizer, characters, options.repeats)
            times = " | ".join(f"{time:.1f} ms" for time in (whole, new, following))
            print(f"| {tokens:,} | {times} | {following / whole:.2f} |")


if __name__ == "__main__":
    main()
