"""The text of a streamed answer for the browser, which gets each part of it once or twice."""

from mlx_notebook.notebook.escaping import safe_markdown
from mlx_notebook.notebook.rendering.code_fences import open_fence, settled_length

# A part that is longer than this many characters is divided.
_SETTLE_CHARACTERS = 1200


class StreamingText:
    """Markdown that grows.

    It is shown in numbered parts. All but the last are settled: more text does not change their
    look. So only the last part, which is short, is sent again when text is added.
    """

    def __init__(self) -> None:
        self.text = ""
        self._added: list[str] = []
        self._last = ""
        self._reopen = ""
        self._settled = 0

    def add(self, text: str) -> None:
        """Add text. The next `take` returns it."""
        self._added.append(text)

    def take(self) -> str:
        """Return the text that was added since the last time."""
        added = "".join(self._added)
        self._added.clear()
        self.text += added
        self._last += added
        return added

    def parts(self) -> dict[str, str]:
        """Return the parts that `take` has changed, as safe Markdown by number."""
        changed = {}
        if len(self._last) > _SETTLE_CHARACTERS:
            cut = settled_length(self._last, self._reopen, limit=2 * _SETTLE_CHARACTERS)
            if cut:
                settled = self._reopen + self._last[:cut]
                changed[str(self._settled)] = safe_markdown(settled)
                self._settled += 1
                self._reopen, self._last = open_fence(settled), self._last[cut:]
        changed[str(self._settled)] = safe_markdown(self._reopen + self._last)
        return changed

    def whole(self) -> str:
        """Return the whole text as safe Markdown."""
        return safe_markdown(self.text)
