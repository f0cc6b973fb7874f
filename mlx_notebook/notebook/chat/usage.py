"""Token counts of a conversation."""

from dataclasses import dataclass

from mlx_notebook.notebook.answers.answer import Reply


@dataclass
class Usage:
    """Requests and tokens of a conversation; replies that were cut off do not count."""

    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0

    def add(self, reply: Reply) -> None:
        """Count one more reply."""
        self.requests += 1
        self.prompt_tokens += reply.prompt_tokens or 0
        self.cached_tokens += reply.cached_tokens or 0
        self.completion_tokens += reply.completion_tokens or 0
