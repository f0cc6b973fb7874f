"""What a model answers: text, reasoning, tool calls and tool results."""
