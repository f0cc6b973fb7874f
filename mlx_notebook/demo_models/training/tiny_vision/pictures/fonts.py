"""Fonts for printed numbers: Pillow's own, matplotlib's files and installed packages."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

# Packages of one font family each; packages that are not installed are left out.
_PACKAGES = (
    "font_roboto",
    "font_source_sans_pro",
    "font_source_serif_pro",
    "font_lato",
    "font_hanken_grotesk",
    "font_caladea",
    "font_fjallaone",
    "font_manrope",
    "font_fredoka_one",
)
_MATPLOTLIB = ("DejaVuSans*", "DejaVuSerif*", "STIXGeneral*", "cmr10", "cmss10", "cmtt10", "cmb10")


@lru_cache(maxsize=1)
def font_files() -> tuple[str, ...]:
    """Return the paths of all usable font files."""
    found: list[Path] = []
    for package in _PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            found += Path(spec.origin).parent.glob("files/*.[ot]tf")
    spec = importlib.util.find_spec("matplotlib")
    if spec is not None and spec.origin is not None:
        folder = Path(spec.origin).parent / "mpl-data/fonts/ttf"
        for pattern in _MATPLOTLIB:
            found += [path for path in folder.glob(f"{pattern}.ttf") if "Display" not in path.name]
    # Hairlines vanish when an image is resized to a smaller size.
    return tuple(sorted(str(path) for path in found if "Thin" not in path.name))


@lru_cache(maxsize=512)
def font(choice: int, pixels: int) -> ImageFont.FreeTypeFont:
    """Return font number `choice` (0 is Pillow's own) at a size of `pixels`."""
    files = font_files()
    if choice <= 0 or not files:
        own = ImageFont.load_default(pixels)
        assert isinstance(own, ImageFont.FreeTypeFont)
        return own
    return ImageFont.truetype(files[(choice - 1) % len(files)], pixels)
