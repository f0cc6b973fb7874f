"""A streamed answer is sent in parts, each once or twice."""

from mlx_notebook.panels.chat.streaming_text import StreamingText


def test_settled_parts_are_sent_once_and_the_whole_is_what_was_written():
    text = "".join(
        f"Paragraph {n} of <b>many</b>.\n\n```python\nx = {n}\n```\n\n" for n in range(400)
    )
    growing = StreamingText()
    shown, sent = {}, 0
    for at in range(0, len(text), 50):
        growing.add(text[at : at + 50])
        assert growing.take() == text[at : at + 50]
        parts = growing.parts()
        sent += sum(map(len, parts.values()))
        shown |= parts
    assert growing.text == text
    assert "".join(shown.values()).count("Paragraph") == 400
    assert "<b>" not in "".join(shown.values()) + growing.whole()
    # An update sends what is not settled yet, whatever the length of the answer.
    assert sent / (len(text) / 50) < 3000


def test_a_long_block_of_code_stays_code_in_each_of_its_parts():
    growing = StreamingText()
    shown = {}
    for n in range(300):
        growing.add(f"value_{n} = {n}\n" if n else "```python\n")
        growing.take()
        shown |= growing.parts()
    assert len(shown) > 1
    assert all(part.strip().startswith("```python\n") for part in shown.values())
