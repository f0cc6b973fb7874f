"""The requests and responses of `POST v1/audio/transcriptions` and `v1/audio/translations`.

Format: https://platform.openai.com/docs/api-reference/audio.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

ResponseFormat = Literal["json", "text", "srt", "verbose_json", "vtt"]
Granularity = Literal["word", "segment"]


# The parameters are told apart from the file, which is bytes.
_File = Annotated[str, Meta(extra_json_schema={"format": "binary"})]


class TranslationForm(Struct, kw_only=True):
    """Speech to write down in English."""

    file: _File
    model: Annotated[str, Meta(max_length=512)] | None = None
    prompt: Annotated[str, Meta(max_length=20_000)] = ""
    response_format: ResponseFormat = "json"
    temperature: Annotated[float, Meta(ge=0, le=1)] = 0.0


class TranscriptionForm(TranslationForm, kw_only=True):
    """Speech to write down.

    `language` is a code of ISO 639-1. `timestamp_granularities` goes with `verbose_json`.
    """

    language: Annotated[str, Meta(max_length=40)] | None = None
    timestamp_granularities: list[Granularity] = field(
        name="timestamp_granularities[]", default_factory=list
    )
    stream: bool = False


class DurationUsage(Struct, tag_field="type", tag="duration"):
    """The length of the sound in seconds."""

    seconds: float


class Transcript(Struct):
    """What is spoken."""

    text: str
    usage: DurationUsage


class TimedSegment(Struct):
    """A piece of a transcript: `start` and `end` in seconds, `seek` in hundredths of them."""

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float


class TimedWord(Struct):
    """A word with its begin and end in seconds."""

    word: str
    start: float
    end: float


class VerboseTranscript(Struct, omit_defaults=True):
    """What is spoken, where in the sound, and in which language."""

    task: Literal["transcribe", "translate"]
    language: str
    duration: float
    text: str
    usage: DurationUsage
    segments: list[TimedSegment] | None = None
    words: list[TimedWord] | None = None


class TranscriptDelta(Struct, tag_field="type", tag="transcript.text.delta"):
    """The text of the next segment."""

    delta: str


class TranscriptDone(Struct, tag_field="type", tag="transcript.text.done"):
    """The whole text."""

    text: str
    usage: DurationUsage


TranscriptEvent = TranscriptDelta | TranscriptDone
