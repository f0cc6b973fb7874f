"""Turns that a conversation loses take their pictures along."""

from mlx_notebook.protocol import ChatPrompt, EncodedImage
from mlx_notebook.server.api.responses.truncation import _cuts, _drop_until


def test_pictures_go_with_their_turns() -> None:
    def shows(*names: str) -> list[dict[str, str]]:
        return [{"type": "text", "text": "See"}, *({"type": "image"} for _ in names)]

    prompt = ChatPrompt(
        messages=[
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": shows("a", "b")},
            {"role": "assistant", "content": "Yes"},
            {"role": "tool", "content": shows("c")},
            {"role": "user", "content": "Go on"},
            {"role": "user", "content": shows("d")},
        ],
        images=[EncodedImage(data=name.encode(), where=name) for name in "abcd"],
    )
    kept = {
        cut: [p.where for p in _drop_until(prompt, cut).images] for cut in _cuts(prompt.messages)
    }
    assert kept == {1: ["a", "b", "c", "d"], 4: ["d"], 5: ["d"]}
    assert _drop_until(prompt, 5).messages == [prompt.messages[0], prompt.messages[5]]
