"""`mlx_notebook.speak`: read a text aloud."""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_notebook.notebook.connection import clients, connection


@dataclass(frozen=True, repr=False)
class SpokenText:
    """A text as sound. A cell shows a player, which stays in the saved notebook.

    Attributes
    ----------
    text
        The text.
    data
        A WAV file: one channel, 16 bits, 24,000 samples per second.
    """

    text: str
    data: bytes

    def save(self, path: str | Path) -> Path:
        """Write the WAV file, and return its path."""
        file = Path(path).expanduser()
        file.write_bytes(self.data)
        return file

    def __repr__(self) -> str:
        return f"<speech, {len(self.data):,} bytes: {self.text[:60]!r}>"

    def _repr_html_(self) -> str:
        encoded = base64.b64encode(self.data).decode()
        return f'<audio controls src="data:audio/wav;base64,{encoded}"></audio>'


def speak(
    text: str, *, model: str | None = None, voice: str = "default", speed: float = 1.0
) -> SpokenText:
    """Read a text aloud.

    Parameters
    ----------
    text
        The text, up to 4,096 characters.
    model
        Name of the model. By default one of the server's that can do it.
    voice
        Name of one of the model's voices.
    speed
        1 is the model's own.

    Returns
    -------
    SpokenText
        A cell shows a player. `save` writes a file, and `data` are its bytes.

    Raises
    ------
    NotebookError
        If the server refuses the text.

    Examples
    --------
    >>> mlx_notebook.speak("Good morning.")
    """
    import openai

    options: dict[str, Any] = {"input": text, "voice": voice, "response_format": "wav"}
    options["model"] = model or openai.omit
    if speed != 1:
        options["speed"] = speed
    server = connection.connect()
    with (
        clients.client_of(server, max_retries=0, timeout=None) as client,
        clients.translated_errors(server),
    ):
        answer = client.audio.speech.create(**options)
        return SpokenText(text, answer.content)
