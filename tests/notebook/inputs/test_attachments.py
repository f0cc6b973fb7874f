"""PDFs and videos of a notebook go to the server whole; all else is an image."""

import base64
from pathlib import Path

import pytest
from IPython.display import Audio
from PIL import Image

from mlx_notebook.notebook.chat.conversation import user_message
from mlx_notebook.notebook.errors import NotAPicture, NotebookError
from mlx_notebook.notebook.inputs.attachments import content_part, is_sound
from mlx_notebook.notebook.sound.speaking import SpokenText
from tests.media import coloured, pdf, video
from tests.tiny_models.audio_models import tone


def test_a_pdf_is_a_file_part_with_its_name_and_pages(tmp_path: Path) -> None:
    data = pdf("One", "Two")
    (tmp_path / "report.pdf").write_bytes(data)
    part = content_part(tmp_path / "report.pdf", "2")
    assert part["file"]["filename"] == "report.pdf"
    assert part["pages"] == "2"
    url = part["file"]["file_data"]
    assert base64.b64decode(url.removeprefix("data:application/pdf;base64,")) == data
    unnamed = content_part(bytearray(data))
    assert unnamed == {"type": "file", "file": {"file_data": url}}


@pytest.mark.parametrize("name", ["film.mp4", "film.avi", "film.mkv"])
def test_a_video_is_a_video_part(name: str, tmp_path: Path) -> None:
    data = video(tmp_path, [coloured("red")] * 5, name=name)
    for value in (data, tmp_path / name):
        part = content_part(value)
        assert part["type"] == "video_url"
        assert base64.b64decode(part["video_url"]["url"].partition(",")[2]) == data


def test_a_sound_is_an_audio_part(tmp_path: Path) -> None:
    wav = tone(0.1)
    (tmp_path / "said.wav").write_bytes(wav)
    samples = [0.0, 0.5, -0.5] * 100
    for value in (wav, tmp_path / "said.wav", Audio(data=wav), Audio(samples, rate=16_000)):
        part = content_part(value)
        assert part["type"] == "input_audio"
        sound = part["input_audio"]
        assert sound["format"] == "wav"
        assert base64.b64decode(sound["data"])[8:12] == b"WAVE"
    assert content_part(b"ID3" + bytes(20))["input_audio"]["format"] == "mp3"
    assert content_part(b"\xff\xfb\x90")["input_audio"]["format"] == "mp3"
    assert content_part(b"fLaC" + bytes(20))["input_audio"]["format"] == "flac"
    assert is_sound(SpokenText("Hi", wav))
    assert not is_sound(Image.new("RGB", (4, 2)))
    assert not is_sound(Audio)
    with pytest.raises(NotAPicture, match="only its address"):
        content_part(Audio(url="http://localhost/said.wav"))
    with pytest.raises(NotAPicture, match="convert it first"):
        content_part(Audio(data=b"OggS" + bytes(20)))


def test_other_values_are_images_or_refused(tmp_path: Path) -> None:
    assert content_part(Image.new("RGB", (4, 2)))["type"] == "image_url"
    with pytest.raises(NotAPicture):
        content_part(b"text")
    with pytest.raises(NotAPicture, match="cannot be read"):
        content_part(tmp_path / "missing.pdf")
    with pytest.raises(NotebookError, match="no PDF"):
        user_message("Read.", [Image.new("RGB", (4, 2))], "1")
