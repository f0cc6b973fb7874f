"""The request of `POST v1/audio/speech`, whose response is a file of sound.

Format: https://platform.openai.com/docs/api-reference/audio/createSpeech.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from mlx_notebook.server.wire.parameters.parameters import RequestParameters
from mlx_notebook.server.wire.parameters.unsupported_parameters import SPEECH, Unsupported

SpeechFileFormat = Literal["mp3", "opus", "flac", "wav", "pcm"]
MEDIA_TYPES: dict[SpeechFileFormat, str] = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
# Voices of OpenAI's models. Clients send one of them, since their API demands it.
OPENAI_VOICES = frozenset(
    {
        *("alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx"),
        *("sage", "shimmer", "verse"),
    }
)


class SpeechRequest(RequestParameters, kw_only=True):
    """A text to read aloud.

    `voice` is one of the model's, or `default`. OpenAI's names of voices are ignored.
    """

    input: Annotated[str, Meta(min_length=1, max_length=4096, pattern=r"\S")]
    model: Annotated[str, Meta(max_length=512)] | None = None
    voice: Annotated[str, Meta(max_length=200)] | None = None
    speed: Annotated[float, Meta(ge=0.25, le=4)] | None = None
    response_format: SpeechFileFormat | None = None
    stream_format: Literal["audio"] | None = None

    @classmethod
    def unsupported_parameters(cls) -> Mapping[str, Unsupported]:
        """Return the parameters that this endpoint refuses."""
        return SPEECH


DECODER = msgspec.json.Decoder(SpeechRequest)
