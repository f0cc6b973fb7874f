"""Answers and tool calls as the library makes them of a stream."""

from mlx_notebook.notebook.answers.answer import Answer, Reply
from mlx_notebook.notebook.answers.tool_call import ToolCall


def tool_call(name, arguments="{}", number=0):
    """A call that waits to be run."""
    call = ToolCall(f"call_{number}", name, arguments)
    call.decode()
    call.state = "waiting"
    return call


def answer_of(text, reasoning=""):
    """A complete answer."""
    reply = Reply()
    reply._content.append(text)
    reply._reasoning.append(reasoning)
    return Answer("m", outcome="complete", replies=[reply])
