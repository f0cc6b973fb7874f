"""`transcribe` and `speak`, below a real server in one test."""

import io
import wave
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from IPython.display import Audio

from mlx_notebook.notebook.connection import connection
from mlx_notebook.notebook.errors import NotebookError, RequestRefused
from mlx_notebook.notebook.sound.sound_input import sound_file
from mlx_notebook.notebook.sound.speaking import SpokenText, speak
from mlx_notebook.notebook.sound.transcribing import transcribe
from mlx_notebook.notebook.sound.transcript import TimedText, Transcript
from tests.server.running import running
from tests.tiny_models.audio_models import soprano, tone, whisper


def samples_of(file: bytes) -> np.ndarray:
    with wave.open(io.BytesIO(file)) as reader:
        assert (reader.getnchannels(), reader.getsampwidth()) == (1, 2)
        return np.frombuffer(reader.readframes(reader.getnframes()), "<i2")


def test_every_kind_of_sound_becomes_a_file(tmp_path: Path) -> None:
    file = tone(1)
    (tmp_path / "a.wav").write_bytes(file)
    for sound in (tmp_path / "a.wav", str(tmp_path / "a.wav"), file, memoryview(file)):
        assert sound_file(sound, None) == file
    assert sound_file(Audio(data=file), None) == file
    array = Audio(data=np.sin(np.arange(8000) / 8), rate=8000)
    assert len(samples_of(sound_file(array, None))) == 8000


def test_arrays_of_any_shape_become_one_channel() -> None:
    half = np.full(100, 0.5, np.float32)
    assert set(samples_of(sound_file(half, 8000))) == {16383}
    assert set(samples_of(sound_file(mx.array(half), 8000))) == {16383}
    assert set(samples_of(sound_file(np.full(100, 900, np.int16), 8000))) == {900}
    for stereo in (np.stack([half, -half]), np.stack([half, -half], axis=1)):
        found = samples_of(sound_file(stereo, 8000))
        assert (len(found), set(found)) == (100, {0})
    assert set(samples_of(sound_file(np.full((2, 100), 900, np.int16), 8000))) == {900}
    assert set(samples_of(sound_file(np.full(9, 7.0), 8000))) == {32767}


@pytest.mark.parametrize(
    ("sound", "rate", "said"),
    [
        (np.zeros(9), None, "needs its rate"),
        (np.zeros(9, np.int64), 8000, "16-bit integers"),
        (np.zeros((2, 3, 4)), 8000, "is no sound"),
        (np.zeros(0), 8000, "is no sound"),
        (3.5, None, "A float is no sound"),
        ("missing.wav", None, "missing.wav cannot be read"),
        (Audio(url="https://example.org/a.wav"), None, "is no sound"),
    ],
)
def test_what_is_no_sound_is_refused(sound: object, rate: int | None, said: str) -> None:
    with pytest.raises(NotebookError, match=said):
        sound_file(sound, rate)


def test_a_transcript_is_a_table_with_its_text_escaped() -> None:
    transcript = Transcript("<b>Hi", "english", 61.5, [TimedText(0, 61.5, "<b>Hi")])
    shown = transcript._repr_html_()
    assert "&lt;b&gt;Hi" in shown
    assert "<b>" not in shown
    assert "1:01.5" in shown
    assert str(transcript) == "<b>Hi"
    assert transcript.rows() == [{"start": 0, "end": 61.5, "text": "<b>Hi"}]


def test_speech_is_a_player_and_a_file(tmp_path: Path) -> None:
    speech = SpokenText("Hi", tone(0.1))
    assert speech._repr_html_().startswith('<audio controls src="data:audio/wav;base64,UklGR')
    assert speech.save(tmp_path / "hi.wav").read_bytes() == speech.data
    assert repr(speech) == "<speech, 3,244 bytes: 'Hi'>"


def test_a_server_writes_down_and_speaks(tmp_path: Path) -> None:
    whisper(tmp_path / "whisper")
    soprano(tmp_path / "soprano-1.1-tiny")
    with running(config={"MlxNotebookApp": {"models_dirs": [str(tmp_path)]}}) as server:
        connection.connect(server.url, server.token)
        try:
            found = transcribe(tone(3), language="en", words=True)
            assert found.text == "Hello world. Goodbye"
            assert (found.language, found.seconds) == ("english", 3)
            assert found.segments[1] == TimedText(1, 2, "Goodbye")
            assert [word.text for word in found.words] == ["Hello", "world.", "Goodbye"]
            assert transcribe(np.zeros(8000), 8000, translate=True).text == found.text
            speech = speak("This is a sentence, which is long enough. " * 3)
            assert len(samples_of(speech.data)) > 0
            # What it said is a sound that can be given back.
            assert transcribe(speech, language="en").text == found.text
            with pytest.raises(RequestRefused, match="one voice only"):
                speak("Hello", voice="af_heart")
            with pytest.raises(RequestRefused, match="writes down no speech"):
                transcribe(tone(1), model="tiny-chat")
        finally:
            connection.disconnect()
