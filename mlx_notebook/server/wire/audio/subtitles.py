"""Transcripts as subtitles, in the formats SubRip and WebVTT.

Formats: https://en.wikipedia.org/wiki/SubRip, https://www.w3.org/TR/webvtt1/.
"""

from collections.abc import Iterable

from mlx_notebook.protocol import TranscriptSegment


def srt(segments: Iterable[TranscriptSegment]) -> str:
    """Return segments as SubRip."""
    return "".join(
        f"{number}\n{_time(one.start, ',')} --> {_time(one.end, ',')}\n{_line(one.text)}\n\n"
        for number, one in enumerate(segments, 1)
    )


def vtt(segments: Iterable[TranscriptSegment]) -> str:
    """Return segments as WebVTT."""
    cues = (
        f"{_time(one.start, '.')} --> {_time(one.end, '.')}\n{_cue(one.text)}\n\n"
        for one in segments
    )
    return "WEBVTT\n\n" + "".join(cues)


def _time(seconds: float, point: str) -> str:
    thousandths = round(seconds * 1000)
    whole, rest = divmod(thousandths, 1000)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}{point}{rest:03}"


def _line(text: str) -> str:
    """Return a text in one line that is no time: both formats take that for the next cue."""
    return " ".join(text.split()).replace("-->", "->")


def _cue(text: str) -> str:
    return _line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
