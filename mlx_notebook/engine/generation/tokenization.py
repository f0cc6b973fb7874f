"""Answers `Tokenize` commands: the tokens that a prompt becomes."""

from mlx_notebook.engine.backends.backend import Backend
from mlx_notebook.protocol import TextPrompt, Tokenize, Tokenized


def tokenized(command: Tokenize, backend: Backend) -> Tokenized:
    """Return a prompt's tokens and, if the command asks for pieces, the text of each."""
    prompt, tokenizer = command.prompt, backend.tokenizer
    length_limit = backend.length_limit.relaxed
    if isinstance(prompt, TextPrompt) and isinstance(prompt.text, str):
        text = prompt.text
        length_limit.check(text)
        tokens = tokenizer.encode(text, add_special_tokens=command.add_special_tokens)
    else:
        prepared = backend.prepare(prompt, length_limit)
        text, tokens = prepared.text, prepared.tokens
    pieces = {token: tokenizer.decode([token]) for token in set(tokens) if command.pieces}
    return Tokenized(
        command.id,
        text or tokenizer.decode(tokens),
        tokens,
        [pieces[token] for token in tokens if command.pieces],
    )
