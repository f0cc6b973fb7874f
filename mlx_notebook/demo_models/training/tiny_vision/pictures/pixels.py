"""Convert a drawn image to the patches that the model reads, as mlx-vlm's processor does."""

from __future__ import annotations

import io
import math
import random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

PATCH = 8
MERGE = 2
CELL = PATCH * MERGE
MIN_PIXELS = 40 * CELL * CELL
MAX_PIXELS = 64 * CELL * CELL


def resized(height: int, width: int) -> tuple[int, int]:
    """Return the (height, width) to which the processor resizes an image: multiples of `CELL`."""
    tall, wide = round(height / CELL) * CELL, round(width / CELL) * CELL
    if tall * wide > MAX_PIXELS:
        shrink = math.sqrt(height * width / MAX_PIXELS)
        tall = max(CELL, math.floor(height / shrink / CELL) * CELL)
        wide = max(CELL, math.floor(width / shrink / CELL) * CELL)
    elif tall * wide < MIN_PIXELS:
        grow = math.sqrt(MIN_PIXELS / (height * width))
        tall = math.ceil(height * grow / CELL) * CELL
        wide = math.ceil(width * grow / CELL) * CELL
    return tall, wide


def patches(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return (n, 3 * PATCH * PATCH) values in -1 to 1, in the processor's patch order.

    The processor repeats a still image along the time axis. This function leaves out the copy.
    """
    height, width = image.shape[:2]
    x = image.astype(np.float32) / 127.5 - 1
    x = x.reshape(height // CELL, MERGE, PATCH, width // CELL, MERGE, PATCH, 3)
    x = x.transpose(0, 3, 1, 4, 6, 2, 5)
    return np.ascontiguousarray(x.reshape(-1, 3 * PATCH * PATCH))


def damaged(image: NDArray[np.uint8], rng: random.Random) -> NDArray[np.uint8]:
    """Return the image with common damage: JPEG compression, noise, blur or another exposure."""
    if rng.random() < 0.5:
        return image
    if rng.random() < 0.2:
        blurred = Image.fromarray(image).filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.9)))
        image = np.asarray(blurred)
    if rng.random() < 0.35:
        noise = np.random.default_rng(rng.getrandbits(32))
        grain = noise.normal(0, rng.uniform(2, 14), image.shape)
        image = (image + grain).clip(0, 255).astype(np.uint8)
    if rng.random() < 0.2:
        gain, lift = rng.uniform(0.92, 1.06), rng.uniform(-8, 8)
        image = (image * gain + lift).clip(0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        held = io.BytesIO()
        Image.fromarray(image).save(held, "JPEG", quality=rng.randint(25, 92))
        image = np.asarray(Image.open(held).convert("RGB"))
    return image


def fitted(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Return the image at `height` x `width`, with the processor's bicubic resize."""
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
