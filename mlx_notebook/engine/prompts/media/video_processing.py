"""Frames of a video as the images that a model takes one after the other.

The processors of the Qwen family write a video as groups of frames. Qwen3-VL puts the time before
each group and marks around it. So each group is like an image of its own. It is encoded by itself,
and other rows decode a token in between. For Qwen2-VL all groups are one block of tokens.
"""

from typing import Any

import numpy as np
from mlx_vlm.utils import process_inputs_with_fallback

# Times are given to the processor as numbers of frames at this rate.
_TICKS = 1000


class VideoGroup:
    """Frames of a video that the model takes together.

    Attributes
    ----------
    before, after
        Text around them, with the marks that a template puts around an image.
    tokens
        Their tokens. All of them are image tokens.
    inputs
        Pixels and grid, named as those of an image.
    """

    def __init__(self, before: str, after: str, tokens: list[int], inputs: dict[str, Any]) -> None:
        self.before, self.after = before, after
        self.tokens = tokens
        self.inputs = inputs


def video_marks(processor: Any) -> tuple[str, str]:
    """Return the marks around a video that the processor writes itself, "" where it does not."""
    marks = (getattr(processor, f"vision_{end}_token", None) for end in ("start", "end"))
    start, end = (mark if isinstance(mark, str) else "" for mark in marks)
    return (start, end) if start and end else ("", "")


def process_video(
    processor: Any, tokenizer: Any, image_token: int, frames: list[Any], times: list[float]
) -> list[VideoGroup]:
    """Preprocess a video.

    Parameters
    ----------
    processor, tokenizer
        mlx-vlm's processor and its tokenizer.
    image_token
        The model's image token, which takes the place of its video token.
    frames
        Pillow images of one size.
    times
        Seconds of each frame.

    Raises
    ------
    ValueError
        If the processor takes no videos, or not these.
    """
    mark = getattr(processor, "video_token", None)
    if not isinstance(mark, str):
        raise ValueError("its processor takes no videos")
    start, end = video_marks(processor)
    given = process_inputs_with_fallback(
        processor,
        prompts=[f"{start}{mark}{end}"],
        images=None,
        audio=None,
        add_special_tokens=False,
        videos=[frames],
        video_metadata=[
            {"frames_indices": [round(time * _TICKS) for time in times], "fps": _TICKS}
        ],
    )
    video_token = tokenizer.convert_tokens_to_ids(mark)
    ids = np.array(given["input_ids"]).reshape(-1).tolist()
    runs = _runs(ids, video_token)
    pixels = np.array(given["pixel_values_videos"])
    ((count, height, width),) = np.array(given["video_grid_thw"]).tolist()
    if len(runs) == 1:
        grids = [(count, height, width)]
    elif len(runs) == count:
        grids = [(1, height, width)] * count
    else:
        raise ValueError(f"its processor writes {count} groups of frames as {len(runs)}")
    groups, at, patches = [], 0, 0
    for number, ((first, last), grid) in enumerate(zip(runs, grids, strict=True)):
        # What stands between two groups: the end of one, then the time and start of the next.
        rest = ids[last:] if number == len(runs) - 1 else []
        size = int(np.prod(grid))
        inputs = {
            "pixel_values": pixels[patches : patches + size],
            "image_grid_thw": np.array([grid]),
        }
        groups.append(
            VideoGroup(
                tokenizer.decode(ids[at:first]),
                tokenizer.decode(rest),
                [image_token] * (last - first),
                inputs,
            )
        )
        at, patches = last, patches + size
    return groups


def _runs(ids: list[int], token: int) -> list[tuple[int, int]]:
    """Return where the runs of a token begin and end."""
    runs: list[tuple[int, int]] = []
    for at, found in enumerate(ids):
        if found != token:
            continue
        if runs and runs[-1][1] == at:
            runs[-1] = (runs[-1][0], at + 1)
        else:
            runs.append((at, at + 1))
    if not runs:
        raise ValueError("its processor makes no tokens of it")
    return runs
