"""One turn of a conversation: a user message, and the requests and tool calls that answer it.

A turn does no input or output. `Chat` and `AsyncChat` send its requests, make its tool calls and
report the results to it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from mlx_notebook.notebook.answers.answer import Answer, Delta, Reply
from mlx_notebook.notebook.answers.tool_call import ToolCall, pending
from mlx_notebook.notebook.answers.tool_result import image_parts, text_of
from mlx_notebook.notebook.chat.usage import Usage
from mlx_notebook.notebook.errors import (
    ConnectionLost,
    EngineFailed,
    Interrupted,
    Pause,
    ServerUnreachable,
    in_one_line,
)
from mlx_notebook.notebook.human_units import plural
from mlx_notebook.notebook.recording import replayer

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionChunk

Message = dict[str, Any]


class ConversationState(Protocol):
    """The parts of a conversation that a turn reads and changes."""

    system: str | None
    max_steps: int
    messages: list[Message]
    last: Answer | None
    usage: Usage
    untrusted_calls: set[str]
    cut_off: Message | None

    @property
    def unfinished(self) -> bool:
        """Whether the last turn was stopped during its tool calls."""


class Turn:
    """A turn that is running.

    Parameters
    ----------
    conversation
        The conversation. The turn adds to it what is final: whole replies, tool results, and the
        text so far of a reply that was interrupted.
    prompt
        The user's message; `None` to continue an earlier turn.
    answer
        The answer to fill.
    settings
        Parameters of the requests, besides model and messages.

    Attributes
    ----------
    calls
        Tool calls to make now.
    needs_reply
        Whether to send a request after these calls.
    """

    def __init__(
        self,
        conversation: ConversationState,
        prompt: Message | None,
        answer: Answer,
        settings: dict[str, Any],
    ) -> None:
        self.answer = answer
        self.calls: list[ToolCall] = []
        self.needs_reply = True
        self._conversation = conversation
        self._new_messages: list[Message] = []
        self._settings = settings
        self._requests = 0
        self._reply: Reply | None = None
        self._resumes = prompt is None
        # Whether the next reply goes on with the last message, whose connection was lost.
        self._continues = (
            prompt is None
            and conversation.cut_off is not None
            and conversation.messages[-1] is conversation.cut_off
        )
        left = pending(conversation.messages)
        if prompt is None:
            self.calls = answer.resumed = left
        else:
            # Models expect a result for each tool call.
            for call in left:
                call.content = "The call was not made: the person went on to something else."
            self._new_messages = [*(call.result for call in left), prompt]

    @property
    def images(self) -> list[dict[str, Any]]:
        """Images of the prompt, as content parts."""
        return image_parts(self._new_messages[-1]["content"]) if self._new_messages else []

    def request(self, accepts_images: bool) -> dict[str, Any]:
        """Return the parameters of the next request."""
        conversation = self._conversation
        system = (
            []
            if conversation.system is None
            else [{"role": "system", "content": conversation.system}]
        )
        settings = dict(self._settings)
        # A setting that requires a tool call would require one after each result, without end.
        if (self._requests or self._resumes) and settings.get("tool_choice") not in (None, "none"):
            settings["tool_choice"] = "auto"
        self._requests += 1
        self._reply = Reply()
        if self._continues:
            self._reply.continue_message(conversation.messages[-1])
            extra = {"continue_final_message": True, "add_generation_prompt": False}
            settings["extra_body"] = {**settings.get("extra_body", {}), **extra}
        self.answer.replies.append(self._reply)
        return {
            **settings,
            "model": self.answer.model,
            "messages": [
                *system,
                *to_openai_messages([*conversation.messages, *self._new_messages], accepts_images),
            ],
            "stream": True,
            "stream_options": {"include_usage": True},
        }

    def note_sending(self, response: Any) -> None:
        """Count the times of the reply from when its request was sent; `response` answers it."""
        from mlx_notebook.notebook.recording.httpx_clients import sent_at

        if self._reply is not None and (at := sent_at(response)) is not None:
            self._reply.sent(at)

    def take(self, chunk: "ChatCompletionChunk") -> list[Delta]:
        """Add one chunk of the response's stream and return what is new."""
        assert self._reply is not None
        try:
            self.answer.model = chunk.model or self.answer.model
            return self._reply.take(chunk)
        except (AttributeError, TypeError, ValueError) as error:
            # The SDK does not check what it reads, and a recording may hold anything.
            raise EngineFailed(f"The server sent an answer that cannot be read: {error}.") from None

    def finish_reply(self) -> None:
        """Add the whole reply to the conversation and take its tool calls.

        Raises
        ------
        Pause
            If the reply has tool calls and no further request is allowed.
        """
        reply, conversation = self._reply, self._conversation
        assert reply is not None
        self._reply = None
        reply.complete()
        if replayer.is_untrusted():
            conversation.untrusted_calls |= {call.id for call in reply.calls}
        conversation.usage.add(reply)
        # Some chat templates fail on an empty answer, so the next turn would fail too.
        if reply.text or reply.calls:
            self._keep(reply.message)
        conversation.cut_off = None
        self.calls = reply.calls
        self.needs_reply = bool(reply.calls)
        if reply.calls and self._requests >= conversation.max_steps:
            raise Pause(
                f"a turn may ask the model {plural(conversation.max_steps, 'time')} (max_steps)"
            )

    def collect_results(self) -> None:
        """Add the results of the answered tool calls to the conversation, in order."""
        self._conversation.messages += [call.result for call in self.calls if call.is_answered]
        self.calls = [call for call in self.calls if not call.is_answered]

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Set the outcome of the answer by how the block ends.

        Raises
        ------
        Interrupted
            On a kernel interrupt.
        ConnectionLost
            If the connection broke in the middle of the answer.
        """
        answer = self._conversation.last = self.answer
        try:
            yield
        except Pause as pause:
            answer.outcome, answer.note = "paused", str(pause) or None
            self.collect_results()
        except ServerUnreachable as error:
            raise self._lost(error) from None
        except (KeyboardInterrupt, GeneratorExit) as error:
            self._stop("interrupted")
            if isinstance(error, GeneratorExit):
                raise
            raise Interrupted(self._what_is_kept()) from None
        except Exception:
            self._stop("failed")
            raise
        except BaseException as error:  # asyncio.CancelledError: how an async cell is interrupted
            self._stop("interrupted")
            in_one_line(error, self._what_is_kept())
            raise
        else:
            answer.outcome = "complete"

    def _stop(self, outcome: Any) -> None:
        self.answer.outcome = outcome
        self.collect_results()
        reply = self._reply
        if reply is not None and reply.text and outcome == "interrupted":
            # Only the text: a tool call that was cut off does not count.
            self._keep(reply.message)

    def _lost(self, error: ServerUnreachable) -> ServerUnreachable:
        """Keep what has come of a reply, and return the error that says so."""
        reply = self._reply
        has_format = self.answer.schema is not None or "response_format" in self._settings
        if reply is None or reply.first_token is None or not reply.text or has_format:
            # A format cannot go on in its middle, and reasoning alone is no answer.
            self._stop("failed")
            return error
        self._stop("interrupted")
        self.answer.note = "connection lost"
        self._conversation.cut_off = self._conversation.messages[-1]
        what, words = str(error).partition(" Run the cell")[0], len(reply.text.split())
        return ConnectionLost(
            f"{what} {plural(words, 'word')} of the answer had come and are kept: "
            "`%chat --resume`, or `resume()`, asks for the rest."
        )

    def _what_is_kept(self) -> str:
        if self._conversation.unfinished:
            return "stopped during the tool calls; `resume()` continues them."
        if not self.answer.text:
            return "the model was stopped before its first word."
        return "the model was stopped; the answer so far is kept."

    def _keep(self, message: Message) -> None:
        if self._continues:
            self._conversation.messages.pop()
            self._continues = False
        self._conversation.messages += [*self._new_messages, message]
        self._new_messages = []


def to_openai_messages(messages: list[Message], accepts_images: bool) -> list[Message]:
    """Rewrite messages for the API, where the content of a tool message is text.

    Images from tools follow the tool results in a user message of their own. For a model that does
    not accept images, `[image]` stands in their place.
    """
    sent: list[Message] = []
    images: list[dict[str, Any]] = []
    for message in messages:
        if images and message["role"] != "tool":
            sent.append(_image_message(images))
            images = []
        if message["role"] == "tool" and not isinstance(message["content"], str):
            content = message["content"]
            if accepts_images:
                images += image_parts(content)
            message = {**message, "content": text_of(content)}
        sent.append(message)
    if images:
        sent.append(_image_message(images))
    return sent


def _image_message(images: list[dict[str, Any]]) -> Message:
    what = "The image" if len(images) == 1 else "The images, in order,"
    title = {"type": "text", "text": f"{what} from the tool calls above:"}
    return {"role": "user", "content": [title, *images]}
