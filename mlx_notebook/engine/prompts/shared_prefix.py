"""The beginning of a prompt that users may share: a system prompt that an admin has declared.

Only tokens that follow from the declared text are shared. They are the beginning that the prompt
has in common with conversations which hold this system prompt and nothing else.
"""

from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import NamedTuple
from weakref import WeakKeyDictionary

from mlx_notebook.protocol import ChatPrompt, Prompt

# They begin with different tokens in any vocabulary.
_QUESTIONS = ("0", "Why?")


class SharedPrefix(NamedTuple):
    """What other users may use of a prompt's KV cache.

    Attributes
    ----------
    salt
        The salt of its entries in the prefix cache.
    length
        How many of the first tokens; 0 for none.
    """

    salt: str = ""
    length: int = 0


NOTHING_SHARED = SharedPrefix()


class DeclaredPrefixes:
    """The tokens of declared system prompts, by model. Thread-safe."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[object, dict[str, list[int]]] = WeakKeyDictionary()

    def length(
        self,
        model: object,
        text: str,
        tokens: Sequence[int],
        tokenize: Callable[[Prompt], list[int]],
    ) -> int:
        """Return how many first tokens of a prompt follow from a declared system prompt.

        Parameters
        ----------
        model
            The model, which may be forgotten when nobody else holds it.
        text
            The system prompt.
        tokens
            The tokens of the prompt.
        tokenize
            Returns the tokens of a prompt for this model.

        Raises
        ------
        EngineError
            If the model cannot render a system prompt.
        """
        known = self._known.setdefault(model, {})
        if text not in known:
            system = {"role": "system", "content": text}
            rendered = [
                tokenize(ChatPrompt(messages=[system, {"role": "user", "content": question}]))
                for question in _QUESTIONS
            ]
            known[text] = rendered[0][: _common(*rendered)]
        return min(_common(known[text], tokens), len(tokens) - 1)


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many first tokens are equal."""
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
