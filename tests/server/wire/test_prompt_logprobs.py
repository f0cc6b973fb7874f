import msgspec

from mlx_notebook.protocol import PromptLogprobs, TokenLogprob
from mlx_notebook.server.wire.prompt_logprobs import prompt_logprobs

HI = TokenLogprob("Hi", -2.0, [72, 105], [("Yo", -0.5, [89, 111]), ("Hi", -2.0, [72, 105])])
SCORED = PromptLogprobs("r1", tokens=[None, HI], ids=[[], [5, 9, 5]], ranks=[0, 2])


def test_the_first_token_has_none_and_the_others_have_their_own_token_first() -> None:
    first, second = prompt_logprobs(SCORED, 2)
    assert first is None
    assert second is not None
    assert list(second) == ["5", "9"]
    assert msgspec.to_builtins(second) == {
        "5": {"logprob": -2.0, "rank": 2, "decoded_token": "Hi"},
        "9": {"logprob": -0.5, "rank": 1, "decoded_token": "Yo"},
    }


def test_only_so_many_alternatives_are_sent_as_requested() -> None:
    (_, second) = prompt_logprobs(SCORED, 0)
    assert second is not None
    assert list(second) == ["5"]
