import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_notebook.engine.backends.audio.audio_backend import TranscribingBackend
from mlx_notebook.engine.errors import InvalidRequest, LoadFailed
from mlx_notebook.engine.generation.audio_job import AudioJob, transcription
from mlx_notebook.protocol import Heard, Transcribe, Transcribed, TranscriptSegment
from tests.engine.backends.encoders.test_embedding import loaded
from tests.tiny_models.audio_models import tone, whisper


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whisper(tmp_path_factory.mktemp("models") / "whisper")


@pytest.fixture(scope="module")
def backend(folder: Path) -> Iterator[TranscribingBackend]:
    backend = loaded(folder)
    assert isinstance(backend, TranscribingBackend)
    yield backend
    backend.close()


def command(**options: Any) -> Transcribe:
    given = {"audio": tone(1), "max_seconds": 100, **options}
    return Transcribe(id="t", model="whisper", path="", **given)


def run(job: AudioJob) -> tuple[list[Any], Transcribed]:
    events: list[Any] = []
    while (last := job.step()) is None:
        events += job.take_events()
    assert isinstance(last, Transcribed)
    return events + job.take_events(), last


def segments(events: list[Any]) -> list[TranscriptSegment]:
    return [event for event in events if isinstance(event, TranscriptSegment)]


def test_windows_follow_each_other_up_to_the_end(backend: TranscribingBackend) -> None:
    events, last = run(transcription(command(audio=tone(31), language="de"), backend))
    heard = [event for event in events if isinstance(event, Heard)]
    assert [(each.done, each.total) for each in heard] == [(0, 31), (30, 31), (31, 31)]
    assert [each.seek for each in segments(events)][:2] == [0, 0]
    assert {each.seek for each in segments(events)} <= {0, 3000}
    assert segments(events)[0].text == "Hello world."
    assert (segments(events)[1].start, segments(events)[1].end) == (1.0, 2.0)
    assert (last.language, last.seconds) == ("german", 31)
    assert last.tokens >= sum(len(each.tokens) for each in segments(events))


def test_a_sound_of_an_odd_length_is_heard_once(backend: TranscribingBackend) -> None:
    # 101 hundredths of a second: half a position of the encoder is left over.
    events, _ = run(transcription(command(audio=tone(1.01), language="en"), backend))
    assert [each.text for each in segments(events)] == ["Hello world.", " Goodbye"]


def test_each_step_is_short_enough_for_others_to_go_on(backend: TranscribingBackend) -> None:
    samples = np.zeros(16_000, np.int16)
    steps = sum(1 for _ in backend.transcribe(command(language="en"), samples))
    # A piece of the spectrogram, a layer that hears, and each token are steps of their own.
    assert steps >= 2 + 1 + 9


def test_words_are_in_order_and_within_the_sound(backend: TranscribingBackend) -> None:
    events, _ = run(transcription(command(audio=tone(4), words=True, language="en"), backend))
    words = [word for segment in segments(events) for word in segment.words]
    assert [word.text for word in words] == ["Hello", " world.", " Goodbye"]
    times = [time for word in words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert times[-1] <= 4


def test_text_that_comes_before_reaches_the_model(backend: TranscribingBackend) -> None:
    plain, _ = run(transcription(command(language="en", temperature=0.1), backend))
    led, _ = run(transcription(command(language="en", temperature=0.1, context="Zed"), backend))
    assert segments(plain) != segments(led)


def test_a_model_for_english_refuses_other_languages(tmp_path: Path) -> None:
    english = loaded(whisper(tmp_path / "english", multilingual=False))
    events, last = run(transcription(command(), english))
    assert last.language == "english"
    assert segments(events)[0].text == "Hello world."
    for asked, param in ((command(language="de"), "language"), (command(translate=True), "model")):
        with pytest.raises(InvalidRequest, match="for English only") as caught:
            transcription(asked, english)
        assert caught.value.param == param


def test_an_unknown_language_is_refused_by_name(backend: TranscribingBackend) -> None:
    with pytest.raises(InvalidRequest, match="'klingon'") as caught:
        transcription(command(language="klingon"), backend)
    assert caught.value.param == "language"


def test_a_folder_without_a_fitting_tokenizer_is_refused(tmp_path: Path, folder: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in folder.iterdir():
        if not file.name.startswith("tokenizer"):
            (broken / file.name).write_bytes(file.read_bytes())
    with pytest.raises(LoadFailed, match="no tokenizer"):
        loaded(broken)
    file = (folder / "tokenizer.json").read_text().replace("<|notimestamps|>", "<|other|>")
    (broken / "tokenizer.json").write_text(file)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (broken / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(LoadFailed, match=r"no token <\|notimestamps\|>"):
        loaded(broken)


def test_the_spectrogram_in_pieces_is_that_of_the_library() -> None:
    from mlx_audio.stt.models.whisper.audio import N_SAMPLES, log_mel_spectrogram

    from mlx_notebook.engine.audio.spectrogram import spectrogram

    samples = np.random.default_rng(0).integers(-9000, 9000, 16_000 * 33).astype(np.int16)
    whole = log_mel_spectrogram(samples.astype(np.float32) / 32768, 80, N_SAMPLES)
    work = spectrogram(samples, 80)
    while True:
        try:
            next(work)
        except StopIteration as end:
            pieces = end.value
            break
    # The library mirrors the end of the silence, which is silent too.
    assert mx.allclose(pieces, whole[: pieces.shape[0]], atol=1e-4)
    assert pieces.shape == whole.shape


def test_aligning_is_dynamic_time_warping_of_the_library() -> None:
    from mlx_audio.stt.models.whisper.timing import dtw

    from mlx_notebook.engine.audio.word_times import align

    random = np.random.default_rng(1)
    for shape in ((1, 5), (4, 1), (7, 30), (30, 12)):
        costs = random.normal(size=shape).astype(np.float32)
        rows, columns = align(costs)
        expected = dtw(costs)
        assert (rows.tolist(), columns.tolist()) == (expected[0].tolist(), expected[1].tolist())


def test_the_window_decoder_gives_what_the_library_gives(backend: TranscribingBackend) -> None:
    from mlx_audio.stt.models.whisper.audio import N_FRAMES, log_mel_spectrogram
    from mlx_audio.stt.models.whisper.decoding import DecodingOptions

    from mlx_notebook.engine.audio.window_decoding import decode_window, encode

    model = backend._model  # type: ignore[attr-defined]
    mel = log_mel_spectrogram(np.zeros(480_000, np.float32))[:N_FRAMES]
    expected = model.decode(mel, DecodingOptions(language="en", fp16=False))
    work = encode(model.encoder, mel)
    features = _result(work)
    found = _result(decode_window(model, features, {"language": "en", "fp16": False}, 0.0))
    assert mx.allclose(features, model.encoder(mel[None]), atol=1e-4)
    assert found.tokens == expected.tokens
    assert found.logprob == pytest.approx(expected.avg_logprob, abs=1e-3)


def _result(work: Any) -> Any:
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value
