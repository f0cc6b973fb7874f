"""One turn of a conversation: a prompt, and the requests and calls that answer it.

It does no input or output: `Chat` and `AsyncChat` carry out what it says and tell it what came.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from mlx_notebook.notebook.answers.answer import Answer, Delta, Reply
from mlx_notebook.notebook.answers.tool_call import ToolCall, pending
from mlx_notebook.notebook.answers.tool_result import image_parts, text_of
from mlx_notebook.notebook.chat.usage import Usage
from mlx_notebook.notebook.errors import EngineFailed, Interrupted, Pause, in_one_line
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

    @property
    def unfinished(self) -> bool:
        """Whether the last turn was stopped during its tool calls."""


class Turn:
    """A turn while it runs.

    Parameters
    ----------
    talk
        The conversation, which grows by what is done for good: whole replies, results of calls,
        and the text so far of a reply that was interrupted.
    prompt
        The user's message; `None` to go on with what an earlier turn left undone.
    answer
        What is to grow.
    settings
        Of the requests, beside model and messages.

    Attributes
    ----------
    calls
        Calls that are to be made now.
    wants_reply
        Whether the model is to be asked once those are made.
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
        self.wants_reply = True
        self._conversation = conversation
        self._opening: list[Message] = []
        self._settings = settings
        self._requests = 0
        self._reply: Reply | None = None
        self._resumes = prompt is None
        left = pending(conversation.messages)
        if prompt is None:
            self.calls = answer.resumed = left
        else:
            # A model must see a result for each call that it made.
            for call in left:
                call.content = "The call was not made: the person went on to something else."
            self._opening = [*(call.result for call in left), prompt]

    @property
    def images(self) -> list[dict[str, Any]]:
        """The images that go along with the prompt."""
        return image_parts(self._opening[-1]["content"]) if self._opening else []

    def request(self, accepts_images: bool) -> dict[str, Any]:
        """What is to be sent now; `accepts_images` says whether the model takes images."""
        conversation = self._conversation
        system = (
            []
            if conversation.system is None
            else [{"role": "system", "content": conversation.system}]
        )
        settings = dict(self._settings)
        # What demands a call would demand one after each result, without end.
        if (self._requests or self._resumes) and settings.get("tool_choice") not in (None, "none"):
            settings["tool_choice"] = "auto"
        self._requests += 1
        self._reply = Reply()
        self.answer.replies.append(self._reply)
        return {
            **settings,
            "model": self.answer.model,
            "messages": [
                *system,
                *to_openai_messages([*conversation.messages, *self._opening], accepts_images),
            ],
            "stream": True,
            "stream_options": {"include_usage": True},
        }

    def take(self, chunk: "ChatCompletionChunk") -> list[Delta]:
        """Take in one chunk of the stream that answers the request."""
        assert self._reply is not None
        try:
            self.answer.model = chunk.model or self.answer.model
            return self._reply.take(chunk)
        except (AttributeError, TypeError, ValueError) as error:
            # The SDK does not check what it reads; a recording may hold anything.
            raise EngineFailed(f"The server sent an answer that cannot be read: {error}.") from None

    def replied(self) -> None:
        """Take the reply for whole: the conversation grows by it, and its calls are to be made."""
        reply, conversation = self._reply, self._conversation
        assert reply is not None
        self._reply = None
        reply.complete()
        if replayer.is_untrusted():
            conversation.untrusted_calls |= {call.id for call in reply.calls}
        conversation.usage.add(reply)
        # Templates stumble over an empty answer, and so would the next turn.
        if reply.text or reply.calls:
            self._keep(reply.message)
        self.calls = reply.calls
        self.wants_reply = bool(reply.calls)
        if reply.calls and self._requests >= conversation.max_steps:
            raise Pause(
                f"a turn may ask the model {plural(conversation.max_steps, 'time')} (max_steps)"
            )

    def called(self) -> None:
        """Take up the results of the calls that were answered, in the order of the calls."""
        self._conversation.messages += [call.result for call in self.calls if call.is_answered]
        self.calls = [call for call in self.calls if not call.is_answered]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Bring the turn to an end that fits how the block inside ends.

        Raises
        ------
        Interrupted
            On a kernel interrupt.
        """
        answer = self._conversation.last = self.answer
        try:
            yield
        except Pause as pause:
            answer.outcome, answer.note = "paused", str(pause) or None
            self.called()
        except (KeyboardInterrupt, GeneratorExit) as error:
            self._break_off("interrupted")
            if isinstance(error, GeneratorExit):
                raise
            raise Interrupted(self._what_is_kept()) from None
        except Exception:
            self._break_off("failed")
            raise
        except BaseException as error:  # asyncio.CancelledError: how an async cell is interrupted
            self._break_off("interrupted")
            in_one_line(error, self._what_is_kept())
            raise
        else:
            answer.outcome = "complete"

    def _break_off(self, outcome: Any) -> None:
        self.answer.outcome = outcome
        self.called()
        reply = self._reply
        if reply is not None and reply.text and outcome == "interrupted":
            # Half a call is none.
            self._keep(reply.message)

    def _what_is_kept(self) -> str:
        if self._conversation.unfinished:
            return "stopped in the middle of tool calls; `resume()` goes on."
        if not self.answer.text:
            return "the model was stopped before the first word."
        return "the model was stopped; what it said so far is kept."

    def _keep(self, message: Message) -> None:
        self._conversation.messages += [*self._opening, message]
        self._opening = []


def to_openai_messages(messages: list[Message], accepts_images: bool) -> list[Message]:
    """Write messages so that any server takes them: a tool's result is text there.

    Images that tools returned follow in a message of their own after the results, for a model
    that `accepts_images`; another is told that there was one.
    """
    sent: list[Message] = []
    images: list[dict[str, Any]] = []
    for message in messages:
        if images and message["role"] != "tool":
            sent.append(_shown(images))
            images = []
        if message["role"] == "tool" and not isinstance(message["content"], str):
            content = message["content"]
            if accepts_images:
                images += image_parts(content)
            message = {**message, "content": text_of(content)}
        sent.append(message)
    if images:
        sent.append(_shown(images))
    return sent


def _shown(images: list[dict[str, Any]]) -> Message:
    what = "The picture" if len(images) == 1 else "The pictures, in order,"
    told = {"type": "text", "text": f"{what} from the tool calls above:"}
    return {"role": "user", "content": [told, *images]}
