"""`mlx_notebook.transcribe`: write down what is spoken."""

import warnings
from typing import Any

from mlx_notebook.notebook.connection import clients, connection
from mlx_notebook.notebook.sound.sound_input import sound_file
from mlx_notebook.notebook.sound.transcript import TimedText, Transcript


def transcribe(
    sound: Any,
    rate: int | None = None,
    *,
    model: str | None = None,
    language: str | None = None,
    prompt: str | None = None,
    words: bool = False,
    translate: bool = False,
) -> Transcript:
    """Write down what is spoken.

    Parameters
    ----------
    sound
        Path of a file (WAV, MP3, FLAC, Ogg Vorbis), the bytes of one, IPython's `Audio`, or an
        array of samples: of shape (samples,), (samples, channels) or (channels, samples).
    rate
        Samples per second of an array.
    model
        Name of the model. By default one of the server's that can do it.
    language
        Code of the language that is spoken, such as "en". By default the model finds out.
    prompt
        Text that might come before, with names and spellings.
    words
        Whether to find the time of each word too.
    translate
        Whether to write English, whatever language is spoken.

    Returns
    -------
    Transcript
        Its `text`, and its `segments` and `words` with their times. A cell shows it as a table.

    Raises
    ------
    NotebookError
        If the object is no sound, or the server refuses it.
    ValueError
        If `translate` is given with `language` or `words`.

    Examples
    --------
    >>> mlx_notebook.transcribe("interview.mp3", language="en").text
    """
    import openai

    options: dict[str, Any] = {
        "file": ("sound", sound_file(sound, rate)),
        "model": model or openai.omit,
        "prompt": prompt or openai.omit,
        "response_format": "verbose_json",
    }
    if not translate:
        options["language"] = language or openai.omit
        options["timestamp_granularities"] = ["segment", "word"] if words else ["segment"]
    elif language is not None or words:
        raise ValueError("`translate` goes without `language` and `words`.")
    server = connection.connect()
    with (
        clients.client_of(server, max_retries=0, timeout=None) as client,
        clients.translated_errors(server),
        warnings.catch_warnings(),
    ):
        # OpenAI has deprecated its own translations.
        warnings.simplefilter("ignore", DeprecationWarning)
        kind = client.audio.translations if translate else client.audio.transcriptions
        answer: Any = kind.create(**options)
    return Transcript(
        answer.text,
        answer.language,
        answer.duration,
        [TimedText(one.start, one.end, one.text.strip()) for one in answer.segments or []],
        [
            TimedText(one.start, one.end, one.word)
            for one in (() if translate else answer.words or ())
        ],
    )
