"""`Chat`: a conversation with a model of the server, kept as messages."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mlx_notebook.notebook import clients, connection
from mlx_notebook.notebook.answer import Answer, Delta
from mlx_notebook.notebook.errors import Interrupted, NotebookError
from mlx_notebook.notebook.rendering import NoView, view
from mlx_notebook.notebook.server import Server

if TYPE_CHECKING:
    import openai
    from openai.types.chat import ChatCompletionChunk

Message = dict[str, Any]


class Chat:
    """A conversation: each prompt is answered in view of all that was said before.

    Parameters
    ----------
    model
        Name of the model; `None` takes the server's default one.
    system
        Instructions that stand before the conversation.
    settings
        Anything else that the chat completions endpoint takes (`temperature`, `max_tokens`,
        `seed`, ...), for every turn. What is left out the model and the server choose.

    Attributes
    ----------
    messages
        The conversation in OpenAI's shape, without the system message. It holds whole turns: a
        prompt that failed leaves no trace, an interrupted answer stays as far as it came.
    last
        The latest `Answer`, also one that was interrupted.
    """

    def __init__(
        self,
        model: str | None = None,
        system: str | None = None,
        **settings: Any,
    ) -> None:
        self.model = model
        self.system = system
        self.settings = settings
        self.messages: list[Message] = []
        self.last: Answer | None = None

    def reset(self) -> None:
        """Forget the conversation, and keep the settings."""
        self.messages = []
        self.last = None

    def ask(self, prompt: str, *, show: bool = False, **settings: Any) -> Answer:
        """Say something and wait for the whole answer.

        Parameters
        ----------
        prompt
            The user's message.
        show
            Also show the answer in the cell (or terminal) while it comes.
        settings
            As for the whole chat, for this turn only.

        Raises
        ------
        NotebookError
            If there is no server or it cannot answer; the conversation is as it was.
        Interrupted
            On a kernel interrupt. The server stops; the answer so far is kept, here and in
            `last`.
        """
        shown = view() if show else NoView()
        answer: Answer | None = None
        try:
            with self._turn(prompt, settings) as (answer, chunks):
                shown.begin(answer.model)
                for chunk in chunks:
                    for delta in answer.take(chunk):
                        shown.add(delta)
        finally:
            if answer is not None:
                shown.end(answer)
        return answer

    def stream(self, prompt: str, **settings: Any) -> Iterator[Delta]:
        """Say something and yield the answer as it comes; `last` is the `Answer` that grows.

        Leaving the loop early stops the server and keeps what came. Arguments and errors are
        those of `ask`.
        """
        with self._turn(prompt, settings) as (answer, chunks):
            for chunk in chunks:
                yield from answer.take(chunk)

    @contextmanager
    def _turn(
        self, prompt: str, settings: dict[str, Any]
    ) -> Iterator[tuple[Answer, Iterator["ChatCompletionChunk"]]]:
        """Hold one turn: the conversation grows by it if it ends well or is broken off by us."""
        server, model = self._server_and_model(settings)
        answer = self.last = Answer(model)
        request = self._request(prompt, model, settings)
        try:
            # A client a turn: closing it closes the socket, in whatever state an interrupt found
            # the stream, and a closed socket is what stops the server. Making one takes 0.3 ms.
            with clients.told(server), clients.client_of(server) as client:
                yield answer, _chunks(client, request)
        except (KeyboardInterrupt, GeneratorExit) as error:
            answer.outcome = "interrupted"
            self._keep(prompt, answer)
            if isinstance(error, GeneratorExit):
                raise
            raise Interrupted("the model was stopped; what it said so far is kept.") from None
        except BaseException:
            answer.outcome = "failed"
            raise
        answer.outcome = "complete"
        self._keep(prompt, answer)

    def _server_and_model(self, settings: dict[str, Any]) -> tuple[Server, str]:
        server = connection.connect()
        model = settings.pop("model", None) or self.model or connection.default_model()
        if model is None:
            raise NotebookError(
                "The server has no default model: `%mlx models` lists what there is, "
                "`%mlx load NAME` loads one."
            )
        return server, model

    def _request(self, prompt: str, model: str, settings: dict[str, Any]) -> dict[str, Any]:
        system = [] if self.system is None else [{"role": "system", "content": self.system}]
        return {
            **self.settings,
            **settings,
            "model": model,
            "messages": [*system, *self.messages, {"role": "user", "content": prompt}],
            "stream": True,
            "stream_options": {"include_usage": True},
        }

    def _keep(self, prompt: str, answer: Answer) -> None:
        # Templates stumble over an empty answer, and so would the next turn.
        if answer.text:
            self.messages += [
                {"role": "user", "content": prompt},
                {"role": "assistant", "content": answer.text},
            ]


def _chunks(client: "openai.OpenAI", request: dict[str, Any]) -> Iterator["ChatCompletionChunk"]:
    # Sends nothing before it is asked for the first chunk: the view can say that it waits.
    yield from client.chat.completions.create(**request)
