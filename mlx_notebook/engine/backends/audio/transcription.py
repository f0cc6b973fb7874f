"""The backend of models that turn speech into text: mlx-audio's Whisper.

`selection` imports it when the first such model is loaded, since mlx-audio takes seconds.
"""

import json
import time
from collections.abc import Generator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from mlx_audio.stt.models.whisper.tokenizer import LANGUAGES

from mlx_notebook.engine.audio.transcriber import Transcriber
from mlx_notebook.engine.audio.whisper import read_whisper
from mlx_notebook.engine.backends.audio.audio_backend import TranscribingBackend
from mlx_notebook.engine.backends.backend import LoadStep
from mlx_notebook.engine.backends.model_loader import loading
from mlx_notebook.engine.backends.single_purpose import load_with_tokenizer
from mlx_notebook.engine.errors import InvalidRequest
from mlx_notebook.protocol import Event, ModelOptions, Transcribe

_MARKS = ("<|startoftranscript|>", "<|notimestamps|>", "<|0.00|>")


class WhisperBackend(TranscribingBackend):
    """A Whisper model in memory."""

    def __init__(self, name: str, model: Any, tokenizer: Any, workers: Executor) -> None:
        super().__init__(name, model, tokenizer, model.dims.n_text_ctx)
        self._workers = workers

    def check(self, command: Transcribe) -> None:
        """Check the language and the task."""
        model, code = self._model, command.language
        if code is not None and code not in LANGUAGES:
            raise InvalidRequest(
                f"'language' is {code[:40]!r}, which {self.name} does not know. Give a code of "
                "ISO 639-1 like 'en' or 'de', or leave it out.",
                "language",
            )
        if not model.is_multilingual and (command.translate or code not in (None, "en")):
            what = "translates nothing" if command.translate else "knows no other language"
            raise InvalidRequest(
                f"{self.name} is for English only and {what}. Use a model for several languages.",
                "model" if command.translate else "language",
            )
        known = list(LANGUAGES)[: model.num_languages]
        if model.is_multilingual and code is not None and code not in known:
            raise InvalidRequest(f"{self.name} does not know the language {code!r}.", "language")

    def transcribe(
        self, command: Transcribe, samples: npt.NDArray[np.int16]
    ) -> Generator[list[Event], None, Event]:
        """Transcribe a sound, a layer or a token at a time."""
        began, working = time.perf_counter(), 0.0
        transcriber = Transcriber(self._model, command, samples, self._workers)
        for events in transcriber.events():
            working += time.perf_counter() - began
            yield events
            began = time.perf_counter()
        return transcriber.end(working + time.perf_counter() - began)


def load(
    name: str, path: Path, options: ModelOptions, workers: Executor
) -> Generator[LoadStep, None, WhisperBackend]:
    """Load a Whisper model in slices (see `selection.load`). Nothing is fetched for it.

    Raises
    ------
    LoadFailed
        If something is wrong with the model's files.
    """
    with loading(name):
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        model, tokenizer = yield from load_with_tokenizer(
            path, config, options, workers, lambda: read_whisper(path, config)
        )
        known = tokenizer.get_vocab()
        if missing := [mark for mark in _MARKS if mark not in known]:
            raise ValueError(f"its tokenizer has no token {missing[0]}.")
        model.use(tokenizer)
        return WhisperBackend(name, model, tokenizer, workers)
