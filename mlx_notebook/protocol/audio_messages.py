"""Commands about sound, and the events that answer them."""

from typing import Literal

import msgspec

from mlx_notebook.protocol.model_commands import ModelOptions

SpeechFormat = Literal["wav", "flac", "pcm", "mp3", "opus"]


class Transcribe(msgspec.Struct, kw_only=True, frozen=True, tag="transcribe", omit_defaults=True):
    """Turn speech into text; answered by `TranscriptSegment`s and `Transcribed`, or by `Failed`.

    Attributes
    ----------
    audio
        A file of sound, as it was uploaded.
    max_seconds
        Longest sound that is accepted.
    translate
        Whether to write English, whatever language is spoken.
    language
        The language that is spoken, as its code. None: the model finds out.
    context
        Text that might come before, with names and spellings.
    temperature
        0: the most likely text. Windows that come out badly are tried again at higher ones.
    words
        Whether to find the time of each word.
    user, evict
        As for `Load`.
    """

    id: str
    model: str
    path: str
    options: ModelOptions = ModelOptions()
    audio: bytes
    max_seconds: float
    translate: bool = False
    language: str | None = None
    context: str = ""
    temperature: float = 0.0
    words: bool = False
    user: str = ""
    evict: bool = True


class Speak(msgspec.Struct, kw_only=True, frozen=True, tag="speak", omit_defaults=True):
    """Read a text aloud; answered by `SpeechAudio` and `Spoken`, or by `Failed`.

    Attributes
    ----------
    voice
        Name of the voice. None: the model's own.
    speed
        1 is the model's own.
    format
        Of the sound: a file, or `pcm`: 16-bit integers (little-endian), one channel, 24,000 samples
        per second, sent sentence by sentence.
    user, evict
        As for `Load`.
    """

    id: str
    model: str
    path: str
    options: ModelOptions = ModelOptions()
    text: str
    voice: str | None = None
    speed: float = 1.0
    format: SpeechFormat = "wav"
    user: str = ""
    evict: bool = True


class Heard(msgspec.Struct, frozen=True, tag="heard", array_like=True):
    """Progress of a transcription: `done` of `total` seconds of sound."""

    id: str
    done: float
    total: float


class SpokenWord(msgspec.Struct, frozen=True, array_like=True):
    """A word, its begin and end in seconds of the sound, and how sure the model is of it."""

    text: str
    start: float
    end: float
    probability: float


class TranscriptSegment(msgspec.Struct, frozen=True, tag="segment", array_like=True):
    """A piece of a transcript.

    Attributes
    ----------
    seek
        Where its window begins, in hundredths of a second.
    start, end
        In seconds of the sound.
    logprob
        Mean log probability of its tokens.
    compression
        How often its text repeats itself: its length by its compressed length.
    no_speech
        Probability that nobody speaks there.
    words
        Its words, if they were asked for.
    """

    id: str
    seek: int
    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float
    logprob: float
    compression: float
    no_speech: float
    words: list[SpokenWord] = []


class Transcribed(msgspec.Struct, frozen=True, tag="transcribed", array_like=True):
    """The last event of a transcription.

    Attributes
    ----------
    language
        Name of the language that was spoken, such as "english".
    seconds
        Length of the sound.
    tokens
        How many tokens were generated.
    working
        Seconds that the engine took, without waiting and loading.
    """

    id: str
    language: str
    seconds: float
    tokens: int
    working: float


class SpeechAudio(msgspec.Struct, frozen=True, tag="sound", array_like=True):
    """The next bytes of the sound that `Speak` asked for."""

    id: str
    data: bytes


class Spoken(msgspec.Struct, frozen=True, tag="spoken", array_like=True):
    """The last event of a `Speak`.

    Attributes
    ----------
    seconds
        Length of the sound.
    prompt, tokens
        How many tokens the text has, and how many were generated.
    working
        Seconds that the engine took, without waiting and loading.
    """

    id: str
    seconds: float
    prompt: int
    tokens: int
    working: float
