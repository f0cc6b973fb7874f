"""Pictures that were seen before: neither decoded, preprocessed nor encoded again."""

import threading
from collections import OrderedDict
from collections.abc import Callable

from mlx_notebook.engine.images.image_tokens import ProcessedImage


class ImageCache:
    """The pictures seen last, by content; shared by workers, which decode, and MLX's owner.

    Parameters
    ----------
    max_bytes
        Most memory that they may hold together, in bytes.
    """

    def __init__(self, max_bytes: int):
        self._max_bytes = max_bytes
        self._seen: OrderedDict[bytes, ProcessedImage] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, digest: bytes, see: Callable[[], ProcessedImage]) -> ProcessedImage:
        """The image of this digest; `see` makes it where it is not known."""
        with self._lock:
            known = self._seen.get(digest)
            if known is not None:
                self._seen.move_to_end(digest)
                return known
        made = see()
        with self._lock:
            self._seen[digest] = made
        self.trim()
        return made

    def trim(self) -> None:
        """Forget those used longest ago, until the rest fits."""
        with self._lock:
            held = sum(seen.nbytes for seen in self._seen.values())
            while held > self._max_bytes and self._seen:
                held -= self._seen.popitem(last=False)[1].nbytes

    def clear(self) -> None:
        """Forget them all."""
        with self._lock:
            self._seen.clear()
