"""Tool calls of a conversation."""

from mlx_notebook.notebook.answers.tool_call import pending
from tests.notebook.example_answers import tool_call


def test_calls_without_a_result_are_pending():
    calls = [tool_call("add", '{"a": 1}', number) for number in range(2)]
    user = {"role": "user", "content": "go"}
    assistant = {"role": "assistant", "content": "", "tool_calls": [c.openai_call for c in calls]}
    result = {"role": "tool", "tool_call_id": "call_0", "content": "2"}
    assert pending([]) == pending([user]) == []
    assert [c.id for c in pending([user, assistant])] == ["call_0", "call_1"]
    assert [c.id for c in pending([user, assistant, result])] == ["call_1"]
    assert pending([user, assistant, result])[0].arguments == {"a": 1}
    assert pending([user, assistant, result, user]) == []
