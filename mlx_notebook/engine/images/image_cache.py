"""The cache of processed images: an image that is used again is not processed again."""

import threading
from collections import OrderedDict
from collections.abc import Callable

from mlx_notebook.engine.images.image_tokens import ProcessedImage


class ImageCache:
    """A least-recently-used cache of images by content. Thread-safe.

    Prompt workers add images, and the thread that owns MLX adds their features.

    Parameters
    ----------
    max_bytes
        Maximum bytes of all images and features.
    """

    def __init__(self, max_bytes: int):
        self._max_bytes = max_bytes
        self._images: OrderedDict[bytes, ProcessedImage] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, digest: bytes, process: Callable[[], ProcessedImage]) -> ProcessedImage:
        """Return the image with this digest. If it is not in the cache, `process` makes it."""
        with self._lock:
            known = self._images.get(digest)
            if known is not None:
                self._images.move_to_end(digest)
                return known
        made = process()
        with self._lock:
            self._images[digest] = made
        self.trim()
        return made

    def trim(self) -> None:
        """Evict the least recently used images until the rest fits."""
        with self._lock:
            held = sum(image.nbytes for image in self._images.values())
            while held > self._max_bytes and self._images:
                held -= self._images.popitem(last=False)[1].nbytes

    def clear(self) -> None:
        """Evict all images."""
        with self._lock:
            self._images.clear()
