"""Handle `POST v1/audio/transcriptions` and `POST v1/audio/translations`."""

from typing import ClassVar

import msgspec
from jupyter_server.auth.decorator import authorized
from tornado import web

from mlx_notebook.protocol import Transcribe, Transcribed, TranscriptSegment
from mlx_notebook.server.api.audio.audio_models import find_audio_model
from mlx_notebook.server.api.audio.audio_stream import audio_stream
from mlx_notebook.server.api.http.base import ends_with_client
from mlx_notebook.server.api.http.event_stream import EventStreamHandler
from mlx_notebook.server.api.http.upload import FIELD_BYTES, UploadForm, UploadHandler
from mlx_notebook.server.api.user_rules import may_evict
from mlx_notebook.server.engine.request_stream import KeepAlive, RequestStream
from mlx_notebook.server.errors import BodyTooLarge, InvalidRequest
from mlx_notebook.server.wire.audio import transcription_types as wire
from mlx_notebook.server.wire.audio.subtitles import srt, vtt
from mlx_notebook.server.wire.decode import converted_fields
from mlx_notebook.server.wire.ids import new_id
from mlx_notebook.server.wire.parameters.parameters import unsupported_parameter

_UNSUPPORTED = (
    *("include", "known_speaker_names", "known_speaker_references", "keywords", "languages"),
)
_GRANULARITIES = "timestamp_granularities"
_TYPES = {
    "text": "text/plain; charset=utf-8",
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
}


class TranscriptionsHandler(UploadHandler, EventStreamHandler):
    """Write down what is spoken in a file of sound."""

    endpoint = "v1/audio/transcriptions"
    task: ClassVar[str] = "transcription"

    @property
    def max_body_bytes(self) -> int:
        """The largest body, in bytes."""
        return self.services.limits.max_audio_bytes + FIELD_BYTES

    @property
    def limit_of_bodies(self) -> str:
        """The setting that limits the body."""
        return "MlxNotebookApp.max_audio_bytes"

    @web.authenticated
    @authorized
    @ends_with_client
    async def post(self) -> None:
        """Answer with the transcript, or stream it segment by segment."""
        form = await self.form()
        request = self._request(form)
        sound = self._file(form)
        self.wants_stream = request.stream
        entry = await find_audio_model(self, request.model, self.task)
        translates = self.task == "translation"
        command = Transcribe(
            id=new_id("transcript-"),
            model=entry.name,
            path=str(entry.path),
            options=entry.options,
            audio=sound,
            max_seconds=self.services.limits.max_audio_seconds,
            translate=translates,
            language=request.language.lower() if request.language else None,
            context=request.prompt.strip(),
            temperature=request.temperature,
            words="word" in request.timestamp_granularities,
            user=self.user.name,
            evict=may_evict(self, entry.name),
        )
        async with audio_stream(self, command) as stream:
            if request.stream:
                await self._send_deltas(stream)
            else:
                await self._send_transcript(stream, request)

    def _request(self, form: UploadForm) -> wire.TranscriptionForm:
        """Return the fields of a form.

        Raises
        ------
        InvalidRequest
            If one of them is not valid, or not supported.
        """
        fields: dict[str, str | list[str]] = {**form.fields, "file": ""}
        fields |= {f"{name}[]": values for name, values in form.lists.items()}
        if (one := fields.pop(_GRANULARITIES, None)) is not None:
            # Some clients write no brackets if there is only one.
            fields.setdefault(f"{_GRANULARITIES}[]", [str(one)])
        kind = wire.TranslationForm if self.task == "translation" else wire.TranscriptionForm
        for name in _UNSUPPORTED:
            if form.fields.get(name) or form.lists.get(name):
                raise unsupported_parameter(name)
        known = frozenset(kind.__struct_encode_fields__)
        self.report_ignored(*sorted({*fields, *form.files} - known))
        request = converted_fields({n: v for n, v in fields.items() if n in known}, kind)
        if not isinstance(request, wire.TranscriptionForm):
            return wire.TranscriptionForm(**msgspec.structs.asdict(request))
        if request.response_format != "verbose_json" and request.timestamp_granularities:
            raise InvalidRequest(
                "'timestamp_granularities' goes with 'response_format': 'verbose_json'.",
                param="timestamp_granularities",
            )
        if request.stream and request.response_format not in ("json", "text"):
            raise InvalidRequest(
                f"'stream' does not work with 'response_format': {request.response_format!r}. "
                "Leave one of them out.",
                param="stream",
            )
        return request

    def _file(self, form: UploadForm) -> bytes:
        """Return the file of sound.

        Raises
        ------
        ApiError
            If there is none, or it is too large.
        """
        file = form.files.get("file")
        if file is None:
            raise InvalidRequest(
                "The form needs a file of sound in the field 'file', with a file name.",
                param="file",
                code="missing_parameter",
            )
        if len(file.body) > (most := self.services.limits.max_audio_bytes):
            raise BodyTooLarge(
                f"The file of sound is larger than {most:,} bytes, the most that this server "
                f"accepts ({self.limit_of_bodies}).",
                param="file",
            )
        return file.body

    async def _send_deltas(self, stream: RequestStream) -> None:
        texts: list[str] = []
        async with self.event_stream():
            async for events in stream.batches():
                for event in events:
                    if isinstance(event, TranscriptSegment):
                        texts.append(event.text if texts else event.text.lstrip())
                        await self.send_event(wire.TranscriptDelta(texts[-1]))
                    elif isinstance(event, KeepAlive):
                        await self.send_comment(event.text)
                    elif isinstance(event, Transcribed):
                        usage = wire.DurationUsage(event.seconds)
                        await self.send_event(wire.TranscriptDone("".join(texts).rstrip(), usage))

    async def _send_transcript(
        self, stream: RequestStream, request: wire.TranscriptionForm
    ) -> None:
        segments: list[TranscriptSegment] = []
        done: Transcribed | None = None
        async for events in stream.batches():
            for event in events:
                if isinstance(event, TranscriptSegment):
                    segments.append(event)
                elif isinstance(event, Transcribed):
                    done = event
        assert done is not None
        text = "".join(segment.text for segment in segments).strip()
        match request.response_format:
            case "json":
                self.answer(wire.Transcript(text, wire.DurationUsage(done.seconds)))
            case "verbose_json":
                self.answer(self._verbose(text, segments, done, request.timestamp_granularities))
            case other:
                plain = {"srt": srt, "vtt": vtt}.get(other)
                shown = plain(segments) if plain else f"{text}\n"
                self.finish(shown, set_content_type=_TYPES[other])

    def _verbose(
        self,
        text: str,
        segments: list[TranscriptSegment],
        done: Transcribed,
        granularities: list[wire.Granularity],
    ) -> wire.VerboseTranscript:
        wants_words = "word" in granularities
        wants_segments = "segment" in granularities or not wants_words
        translates = self.task == "translation"
        return wire.VerboseTranscript(
            task="translate" if translates else "transcribe",
            language="english" if translates else done.language,
            duration=done.seconds,
            text=text,
            usage=wire.DurationUsage(done.seconds),
            segments=[
                wire.TimedSegment(
                    number,
                    one.seek,
                    one.start,
                    one.end,
                    one.text,
                    one.tokens,
                    one.temperature,
                    one.logprob,
                    one.compression,
                    one.no_speech,
                )
                for number, one in enumerate(segments)
            ]
            if wants_segments
            else None,
            words=[
                wire.TimedWord(word.text.strip(), word.start, word.end)
                for one in segments
                for word in one.words
            ]
            if wants_words
            else None,
        )


class TranslationsHandler(TranscriptionsHandler):
    """Write down in English what is spoken in a file of sound."""

    endpoint = "v1/audio/translations"
    task = "translation"
