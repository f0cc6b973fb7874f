"""Decode frames of a video with OpenCV, whose wheels contain FFmpeg. Runs in `media_process`."""

import io
import math
import os
import re
from typing import Any

from mlx_notebook.server.media.rendering.media_tasks import Frames, MediaFault, SampleFrames

# FFmpeg also reads playlists, which name other files. So only containers that hold their frames
# are opened, by their first bytes and by the name that FFmpeg gives them.
_CONTAINERS = re.compile(
    rb".{4}ftyp|.{4}(moov|mdat|wide|free)|\x1aE\xdf\xa3|RIFF.{4}AVI |GIF8[79]a", re.DOTALL
)
_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif"
_ADVICE = "send MP4, MOV, WebM, MKV, AVI or GIF"
_LARGEST_FRAME = 64 * 2**20
_JPEG_QUALITY = 92
# A jump costs the frames since the last key frame. Frames that are nearer are read through.
_JUMP = 250


def sample_frames(task: SampleFrames) -> Frames:
    """Return frames that are spread over the whole video.

    Raises
    ------
    MediaFault
        If the file is no video, is broken or is too long.
    """
    if not _CONTAINERS.match(task.data):
        raise MediaFault(f"it is not a video of a known format: {_ADVICE}")
    os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = f"format_whitelist;{_FORMATS}"
    import cv2

    capture = _opened(cv2, task.data)
    if not capture.isOpened():
        raise MediaFault(f"it is damaged, or has no frames that can be decoded: {_ADVICE}")
    width, height = (
        int(capture.get(name)) for name in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
    )
    if width * height > _LARGEST_FRAME:
        raise MediaFault(f"its frames have {width:,} x {height:,} pixels", "image_too_large")
    rate = capture.get(cv2.CAP_PROP_FPS)
    if not (math.isfinite(rate) and rate > 0):
        raise MediaFault("it does not say how many frames a second it has")
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    if count <= 0:  # what a browser records does not say
        count = _counted(capture, int(task.seconds * rate) + 1)
        capture = _opened(cv2, task.data)
    if count / rate > task.seconds:
        raise MediaFault(
            f"it lasts {count / rate:,.0f} seconds, and this server accepts {task.seconds:,.0f} "
            "at most (MlxNotebookApp.max_video_seconds)",
            "image_too_large",
        )
    return _sampled(cv2, capture, task, count, rate)


def _sampled(cv2: Any, capture: Any, task: SampleFrames, count: int, rate: float) -> Frames:
    seconds = count / rate
    wanted = max(1, min(count, task.most, math.ceil(seconds * task.fps)))
    times, frames = [], []
    width = height = 0
    at, left = 0, task.bytes
    for number in range(wanted):
        # The middles of equal parts.
        index = int((number + 0.5) * count / wanted)
        if index - at > _JUMP and capture.set(cv2.CAP_PROP_POS_FRAMES, index):
            at = index
        while at <= index and capture.grab():
            at += 1
        # A file may hold fewer frames than it says. Those that are there are shown.
        found, frame = capture.retrieve() if at > index else (False, None)
        if not found:
            break
        times.append(round(index / rate, 3))
        frame = _shrunk(cv2, frame, task.pixels)
        height, width = frame.shape[:2]
        _, data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        frames.append(data.tobytes())
        if (left := left - len(frames[-1])) < 0:
            raise MediaFault(
                f"its frames have more than {task.bytes:,} bytes: ask for fewer with 'max_frames'",
                "image_too_large",
            )
    if not frames:
        raise MediaFault(f"it is damaged: no frame of it can be decoded. {_ADVICE.capitalize()}")
    return Frames(round(seconds, 3), wanted, width, height, times, frames)


def _counted(capture: Any, most: int) -> int:
    count = 0
    while count <= most and capture.grab():
        count += 1
    return count


def _shrunk(cv2: Any, frame: Any, pixels: int) -> Any:
    height, width = frame.shape[:2]
    factor = math.sqrt(pixels / (width * height))
    if factor >= 1:
        return frame
    size = max(1, int(width * factor)), max(1, int(height * factor))
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


def _opened(cv2: Any, data: bytes) -> Any:
    return cv2.VideoCapture(io.BytesIO(data), cv2.CAP_FFMPEG, [])
