"""The process that renders the pages of one PDF, or decodes frames of one video.

The files come from strangers, and their decoders are large libraries in C. So each file has a
process to itself, with limits of processor time and memory. `MediaWorkers` runs this module with
the arguments SECONDS and BYTES. The task comes by standard input, and the answer goes to standard
output.
"""

import os
import resource
import sys

import msgspec

from mlx_notebook.server.media.rendering.media_tasks import (
    MediaAnswer,
    MediaFault,
    MediaTask,
    RenderPages,
    Unusable,
)

_NICE = 5


def main() -> None:
    """Run the task of standard input."""
    seconds, memory = map(int, sys.argv[1:])
    os.nice(_NICE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    if sys.platform == "linux":  # macOS takes the limit and does nothing
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    task = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=MediaTask)
    # A library may print what it likes.
    out = os.dup(1)
    os.dup2(2, 1)
    with open(out, "wb") as answer:
        answer.write(msgspec.msgpack.encode(_answer(task)))


def _answer(task: MediaTask) -> MediaAnswer:
    try:
        if isinstance(task, RenderPages):
            from mlx_notebook.server.media.rendering.pdf_pages import render_pages

            return render_pages(task)
        from mlx_notebook.server.media.rendering.video_frames import sample_frames

        return sample_frames(task)
    except MediaFault as fault:
        return Unusable(fault.reason, fault.code)
    except MemoryError:
        return Unusable("reading it takes too much memory")
    except ImportError as error:
        return Unusable(
            f"the Python package {_PACKAGES.get(error.name or '', error.name)} is not installed "
            "here, and reads such files: install it where the server runs"
        )


_PACKAGES = {"pypdfium2": "pypdfium2", "cv2": "opencv-python"}


if __name__ == "__main__":
    main()
