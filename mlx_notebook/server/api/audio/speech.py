"""Handle `POST v1/audio/speech`."""

from importlib.util import find_spec

from jupyter_server.auth.decorator import authorized
from tornado import web
from tornado.http1connection import HTTP1Connection

from mlx_notebook.protocol import Speak, SpeechAudio
from mlx_notebook.server.api.audio.audio_models import find_audio_model
from mlx_notebook.server.api.audio.audio_stream import audio_stream
from mlx_notebook.server.api.http.base import ApiHandler, ends_with_client
from mlx_notebook.server.api.user_rules import may_evict
from mlx_notebook.server.engine.request_stream import RequestStream
from mlx_notebook.server.errors import ApiError
from mlx_notebook.server.wire.audio import speech_types as wire
from mlx_notebook.server.wire.ids import new_id


class SpeechHandler(ApiHandler):
    """Read a text aloud."""

    endpoint = "v1/audio/speech"

    @web.authenticated
    @authorized
    @ends_with_client
    async def post(self) -> None:
        """Answer with a file of sound, or with samples as they are made."""
        request = self.decoded(wire.DECODER)
        entry = await find_audio_model(self, request.model, "speech")
        voice = request.voice
        if voice in wire.OPENAI_VOICES:
            self.report_ignored("voice")
            voice = None
        # MP3 is OpenAI's default. Only soundfile makes it.
        default: wire.SpeechFileFormat = "mp3" if find_spec("soundfile") else "wav"
        command = Speak(
            id=new_id("speech-"),
            model=entry.name,
            path=str(entry.path),
            options=entry.options,
            text=request.input,
            voice=None if voice == "default" else voice,
            speed=1.0 if request.speed is None else request.speed,
            format=request.response_format or default,
            user=self.user.name,
            evict=may_evict(self, entry.name),
        )
        async with audio_stream(self, command) as stream:
            await self._send(stream, wire.MEDIA_TYPES[command.format])

    async def _send(self, stream: RequestStream, media: str) -> None:
        """Send the sound. A failure in the middle of it closes the connection."""
        try:
            async for events in stream.batches():
                for event in events:
                    if isinstance(event, SpeechAudio):
                        self.set_header("Content-Type", media)
                        self.write(event.data)
                        await self.flush()
        except ApiError as error:
            connection = self.request.connection
            if not self._headers_written or not isinstance(connection, HTTP1Connection):
                raise
            # The status is sent: only a broken response tells the client.
            self.count_error(error)
            connection.close()
            return
        self.finish(set_content_type=media)
