import io
import threading
import wave
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.server.running import RunningServer, running, wait_for
from tests.tiny_models.audio_models import soprano, tone, whisper
from tests.tiny_models.vision_models import gemma4

TEXT = "Hello world. Goodbye"
SOUND = ("speech.wav", tone(3))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("models")
    whisper(folder / "org" / "whisper")
    whisper(folder / "english", multilingual=False)
    soprano(folder / "soprano-1.1-tiny")
    gemma4(folder / "gemma")
    settings = {
        "models_dirs": [str(folder)],
        "max_audio_seconds": 600,
        "max_audio_bytes": 16 * 2**20,
    }
    with running(config={"MlxNotebookApp": settings}) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.openai_url, api_key=server.token, max_retries=0) as client:
        yield client


def transcribed(client: openai.OpenAI, **options: Any) -> Any:
    given: dict[str, Any] = {"file": SOUND, "model": "org/whisper", "language": "en", **options}
    return client.audio.transcriptions.create(**given)


def refused(client: openai.OpenAI, **options: Any) -> tuple[str | None, str | None, str]:
    with pytest.raises(openai.BadRequestError) as caught:
        transcribed(client, **options)
    return caught.value.param, caught.value.code, caught.value.message


def test_every_format_of_a_transcript(client: openai.OpenAI) -> None:
    plain = transcribed(client)
    assert (plain.text, plain.usage.type, plain.usage.seconds) == (TEXT, "duration", 3)
    assert transcribed(client, response_format="text") == f"{TEXT}\n"
    subtitles = transcribed(client, response_format="srt")
    assert subtitles.startswith("1\n00:00:00,000 --> 00:00:01,000\nHello world.\n\n2\n")
    cues = transcribed(client, response_format="vtt")
    assert cues.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nHello world.\n\n")


def test_segments_and_words_have_times(client: openai.OpenAI) -> None:
    verbose = transcribed(client, response_format="verbose_json")
    assert (verbose.text, verbose.language, verbose.duration) == (TEXT, "english", 3)
    assert [(one.start, one.end, one.text) for one in verbose.segments] == [
        (0, 1, "Hello world."),
        (1, 2, " Goodbye"),
    ]
    assert verbose.words is None
    both = transcribed(
        client, response_format="verbose_json", timestamp_granularities=["word", "segment"]
    )
    assert [word.word for word in both.words] == ["Hello", "world.", "Goodbye"]
    assert both.segments == verbose.segments


def test_a_stream_tells_each_segment(client: openai.OpenAI) -> None:
    events = list(transcribed(client, stream=True))
    assert [event.type for event in events] == [
        *("transcript.text.delta", "transcript.text.delta", "transcript.text.done"),
    ]
    assert "".join(event.delta for event in events[:-1]) == events[-1].text == TEXT


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_a_translation_is_in_english(client: openai.OpenAI) -> None:
    done: Any = client.audio.translations.create(
        file=SOUND, model="org/whisper", response_format="verbose_json"
    )
    assert (done.text, done.language, done.task) == (TEXT, "english", "translate")


def test_models_say_what_they_can_do(client: openai.OpenAI, server: RunningServer) -> None:
    able: dict[str, Any] = {one.id: one.to_dict()["capabilities"] for one in client.models.list()}
    assert able["org/whisper"] == ["transcription", "translation"]
    assert able["english"] == ["transcription"]
    assert able["soprano-1.1-tiny"] == ["speech"]
    # A model of sound is never the default, nor what was used last.
    assert server.status()["default_model"] == "tiny-chat"
    assert server.works()


def test_without_a_name_a_model_that_can_is_taken(server: RunningServer) -> None:
    answer = server.client.post("v1/audio/transcriptions", files={"file": SOUND})
    assert answer.json()["text"] == TEXT
    assert answer.headers["x-request-id"].startswith("transcript-")


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_what_a_model_cannot_do_is_refused_by_name(client: openai.OpenAI) -> None:
    param, code, message = refused(client, model="tiny-chat")
    assert (param, code) == ("model", "audio_not_supported")
    assert "english, org/whisper" in message or "org/whisper, english" in message
    with pytest.raises(openai.BadRequestError, match="translates no speech"):
        client.audio.translations.create(file=SOUND, model="english")
    with pytest.raises(openai.BadRequestError, match="is for v1/audio/transcriptions"):
        client.chat.completions.create(
            model="english", messages=[{"role": "user", "content": "Hello"}]
        )
    with pytest.raises(openai.BadRequestError, match="writes what is spoken"):
        client.embeddings.create(model="english", input="Hello")


@pytest.mark.parametrize(
    ("options", "param", "said"),
    [
        ({"file": ("a.wav", b"no sound")}, "file", "its format is unknown or it is damaged"),
        ({"file": ("a.wav", tone(1)[:60])}, "file", "it is cut off"),
        ({"file": ("a.wav", tone(601, 8000))}, "file", "max_audio_seconds"),
        ({"language": "klingon"}, "language", "does not know"),
        ({"temperature": 2}, "temperature", "between 0 and 1"),
        ({"timestamp_granularities": ["word"]}, "timestamp_granularities", "verbose_json"),
        (
            {"timestamp_granularities": ["char"], "response_format": "verbose_json"},
            "timestamp_granularities[0]",
            "Use one of: segment, word",
        ),
        ({"stream": True, "response_format": "srt"}, "stream", "does not work with"),
        ({"include": ["logprobs"]}, "include", "not supported"),
        ({"response_format": "diarized_json"}, "response_format", "not valid"),
    ],
)
def test_a_wrong_parameter_is_named(
    client: openai.OpenAI, options: dict[str, Any], param: str, said: str
) -> None:
    found = refused(client, **options)
    assert found[0] == param
    assert said in found[2]


def test_a_larger_file_is_not_read(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIStatusError, match="max_audio_bytes") as caught:
        transcribed(client, file=("a.wav", tone(601)))
    assert caught.value.status_code == 413


def test_a_body_that_is_no_form_with_a_file_is_refused(server: RunningServer) -> None:
    for options, said in (
        ({"json": {"file": "a"}}, "as a form"),
        ({"files": {"other": SOUND}}, "in the field 'file'"),
        ({"files": {"file": (None, SOUND[1])}}, "give it a file name"),
        (
            {"content": b"--x\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
            "malformed",
        ),
    ):
        answer = server.client.post("v1/audio/transcriptions", **options)
        assert answer.status_code == 400, answer.text
        assert said in answer.json()["error"]["message"]


def test_the_trace_shows_the_transcript_and_its_sound(
    client: openai.OpenAI, server: RunningServer
) -> None:
    transcribed(client)
    newest = server.client.get("mlx/traces").json()["data"][0]
    assert (newest["title"], newest["endpoint"]) == (TEXT, "v1/audio/transcriptions")
    trace = server.client.get(f"mlx/traces/{newest['id']}").json()
    assert trace["options"] == {
        "task": "transcribe",
        "audio_bytes": len(SOUND[1]),
        "audio_seconds": 3.0,
        "spoken_language": "english",
        "language": "en",
    }
    assert trace["rows"][0]["content"] == TEXT


def test_a_client_that_leaves_ends_its_transcription_and_chats_go_on_meanwhile(
    client: openai.OpenAI, server: RunningServer
) -> None:
    assert server.works()
    stream = transcribed(client, file=("long.wav", tone(300)), stream=True)
    next(iter(stream))
    (running_one,) = server.status()["requests"]
    assert (running_one["model"], running_one["phase"]) == ("org/whisper", "decode")
    assert server.works()
    assert server.status()["requests"], "the chat has waited for the whole transcription"
    stream.close()
    server.wait_until_idle()
    newest = server.client.get("mlx/traces").json()["data"]
    (trace,) = [one for one in newest if one["id"] == running_one["id"]]
    assert trace["status"] == "cancelled"


def test_a_transcription_is_stopped_by_its_id(client: openai.OpenAI, server: RunningServer) -> None:
    errors: list[openai.APIStatusError] = []

    def ask() -> None:
        try:
            transcribed(client, file=("long.wav", tone(300)))
        except openai.APIStatusError as error:
            errors.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    (request,) = wait_for(lambda: server.status()["requests"], 60)
    server.client.post(f"mlx/cancel/{request['id']}").raise_for_status()
    asking.join(60)
    assert errors[0].status_code == 499
    server.wait_until_idle()


SENTENCES = "This is the first sentence, and it is long enough. " * 3


def spoken(client: openai.OpenAI, **options: Any) -> Any:
    given: dict[str, Any] = {
        "input": SENTENCES,
        "model": "soprano-1.1-tiny",
        "voice": "alloy",
        **options,
    }
    return client.audio.speech.create(**given)


def test_speech_is_a_file_of_sound(client: openai.OpenAI) -> None:
    answer = spoken(client, response_format="wav")
    assert answer.response.headers["content-type"] == "audio/wav"
    # A model with one voice has none of OpenAI's.
    assert answer.response.headers["x-mlx-ignored-parameters"] == "voice"
    with wave.open(io.BytesIO(answer.content)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 24_000)
        assert file.getnframes() > 0


@pytest.mark.parametrize(
    ("format", "media", "mark"),
    [
        ("flac", "audio/flac", b"fLaC"),
        ("opus", "audio/ogg", b"OggS"),
        ("mp3", "audio/mpeg", b""),
        (openai.omit, "audio/mpeg", b""),
    ],
)
def test_other_formats_are_made_where_the_encoder_is(
    client: openai.OpenAI, format: Any, media: str, mark: bytes
) -> None:
    pytest.importorskip("soundfile", reason="it makes these formats")
    answer = spoken(client, response_format=format)
    assert answer.response.headers["content-type"] == media
    assert answer.content.startswith(mark)
    if format == "opus":  # it is written, and not read
        return
    assert transcribed(client, file=("speech", answer.content)).usage.seconds > 0


def test_samples_are_streamed_sentence_by_sentence(
    client: openai.OpenAI, server: RunningServer
) -> None:
    with client.audio.speech.with_streaming_response.create(
        input=SENTENCES, model="soprano-1.1-tiny", voice="alloy", response_format="pcm"
    ) as answer:
        data = b"".join(answer.iter_bytes())
    assert data
    assert len(data) % 2 == 0
    newest = server.client.get("mlx/traces").json()["data"][0]
    assert (newest["endpoint"], newest["status"]) == ("v1/audio/speech", "finished")
    assert newest["title"].startswith("This is the first sentence")
    options = server.client.get(f"mlx/traces/{newest['id']}").json()["options"]
    assert options["format"] == "pcm"
    assert options["audio_bytes"] == len(data)


@pytest.mark.parametrize(
    ("options", "param", "said"),
    [
        ({"voice": "af_heart"}, "voice", "has one voice only"),
        ({"speed": 2}, "speed", "its own speed only"),
        ({"speed": 9}, "speed", "between 0.25 and 4"),
        ({"input": " "}, "input", "is blank"),
        ({"input": "x" * 4097}, "input", "not valid"),
        ({"instructions": "cheerful"}, "instructions", "not supported"),
        ({"stream_format": "sse"}, "stream_format", "not valid"),
        ({"response_format": "aac"}, "response_format", "not valid"),
        ({"model": "tiny-chat"}, "model", "reads no text aloud. Models that do: soprano"),
        ({"model": "org/whisper"}, "model", "reads no text aloud"),
    ],
)
def test_what_cannot_be_spoken_is_refused_by_name(
    client: openai.OpenAI, options: dict[str, Any], param: str, said: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        spoken(client, **options)
    assert caught.value.param == param
    assert said in caught.value.message


def said(*sounds: bytes, kind: str = "text") -> list[Any]:
    given = [{"data": b64encode(sound).decode(), "format": "wav"} for sound in sounds]
    parts: list[Any] = [{"type": "input_audio", "input_audio": each} for each in given]
    return [{"role": "user", "content": [*parts, {"type": kind, "text": "What is it?"}]}]


def test_a_model_that_hears_takes_sound_in_chats(
    server: RunningServer, client: openai.OpenAI
) -> None:
    listed = server.client.get("mlx/models").json()["models"]
    hears = {model["id"] for model in listed if "audio" in model["capabilities"]}
    assert hears == {"gemma"}
    options: Any = {"model": "gemma", "temperature": 0, "max_tokens": 12}
    one, other = (
        client.chat.completions.create(messages=said(tone(seconds)), **options)
        for seconds in (1, 2)
    )
    assert one.usage is not None
    assert other.usage is not None
    # 25 tokens a second.
    assert other.usage.prompt_tokens == one.usage.prompt_tokens + 25
    assert one.choices[0].message.content != other.choices[0].message.content
    traced = server.client.get(f"mlx/traces/{one.id}").json()
    assert traced["messages"][0]["content"][0] == {"type": "audio", "bytes": len(tone(1))}
    counted = server.client.post("tokenize", json={"model": "gemma", "messages": said(tone(1))})
    assert len(counted.json()["tokens"]) == one.usage.prompt_tokens

    asked = said(tone(1), kind="input_text")
    given: Any = {"model": "gemma", "temperature": 0, "max_output_tokens": 12}
    response = client.responses.create(input=asked, **given)
    assert response.output_text == one.choices[0].message.content
    count = client.responses.input_tokens.count(model="gemma", input=asked)
    assert count.input_tokens == one.usage.prompt_tokens
    [kept] = server.client.get(f"v1/responses/{response.id}/input_items").json()["data"]
    assert kept["content"][0] == asked[0]["content"][0]
    follow = client.responses.create(input="Why?", previous_response_id=response.id, **given)
    assert follow.usage is not None
    assert follow.usage.input_tokens_details.cached_tokens > 25


@pytest.mark.parametrize(
    ("model", "sound", "code", "says"),
    [
        ("tiny-chat", tone(1), "audio_not_supported", "Models that do: gemma"),
        ("tiny-vision", tone(1), "audio_not_supported", "Models that do: gemma"),
        ("gemma", b"RIFF", "invalid_audio", "cannot be read"),
        ("gemma", tone(31), "invalid_audio", "hears 30 at a time"),
        ("gemma", bytes(17 * 2**20), "audio_too_large", "max_audio_bytes"),
    ],
    ids=["text model", "vision model", "damaged", "too long", "too large"],
)
def test_sound_that_cannot_be_heard_is_refused_by_its_place(
    client: openai.OpenAI, model: str, sound: bytes, code: str, says: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=model, messages=said(sound), max_tokens=4)
    assert (caught.value.code, caught.value.param) == (code, "messages[0].content[0].input_audio")
    assert says in caught.value.message
