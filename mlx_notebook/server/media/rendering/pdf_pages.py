"""Render the pages of a PDF with PDFium, or read their text. Runs in `media_process`."""

import io
import math
from collections.abc import Iterator
from typing import Any

from mlx_notebook.server.media.rendering.media_tasks import MediaFault, Page, Pages, RenderPages

# The largest page that the format allows, in points of 1/72 inch.
_LARGEST_SIDE = 14_400
# Beyond this, the first pages are hardly what is meant.
_MOST_UNCHOSEN = 1_000
# A page is not rendered finer than this, in pixels for each point: 300 pixels an inch.
_FINEST = 300 / 72
_JPEG_QUALITY = 92


def render_pages(task: RenderPages) -> Pages:
    """Return the chosen pages of a document.

    Raises
    ------
    MediaFault
        If the file is no PDF, is broken or encrypted, has no such pages or is too large.
    """
    import pypdfium2
    import pypdfium2.raw as pdfium

    if b"%PDF-" not in task.data[:1024]:
        raise MediaFault("it is not a PDF")
    try:
        document = pypdfium2.PdfDocument(task.data)
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) in (
            pdfium.FPDF_ERR_PASSWORD,
            pdfium.FPDF_ERR_SECURITY,
        ):
            raise MediaFault("it is encrypted: send it without a password") from None
        raise MediaFault("it is damaged, or not a PDF") from None
    count = len(document)
    if not count:
        raise MediaFault("it has no pages")
    numbers = list(_numbers(task, count))
    if not task.as_text:
        document.init_forms()
    pages, left = [], task.bytes
    for number in numbers:
        try:
            page = document[number - 1]
            made = _text(page, number) if task.as_text else _image(page, number, task.pixels)
        except pypdfium2.PdfiumError:
            raise MediaFault(f"its page {number} is damaged") from None
        left -= len(made.data) + len(made.text)
        if left < 0:
            raise MediaFault(
                f"its pages have more than {task.bytes:,} bytes: choose fewer of them",
                "image_too_large",
            )
        pages.append(made)
        page.close()
    return Pages(count, pages)


def _numbers(task: RenderPages, count: int) -> Iterator[int]:
    if task.chosen is None:
        if count > _MOST_UNCHOSEN:
            raise MediaFault(f"it has {count:,} pages: choose some of them with 'pages'")
        yield from range(1, min(count, task.most) + 1)
        return
    for first, last in task.chosen:
        if last > count:
            pages = "1 page" if count == 1 else f"{count:,} pages"
            raise MediaFault(f"'pages' names page {last}, and it has {pages}")
        yield from range(first, last + 1)


def _text(page: Any, number: int) -> Page:
    text = page.get_textpage().get_text_bounded()
    return Page(number, text=text.replace("\r\n", "\n").strip())


def _image(page: Any, number: int, pixels: int) -> Page:
    """Return a page as a PNG, or as a JPEG where that is much smaller."""
    width, height = page.get_size()
    if not (0 < width <= _LARGEST_SIDE and 0 < height <= _LARGEST_SIDE):
        metres = " x ".join(f"{side * 0.0254 / 72:.2f}" for side in (width, height))
        raise MediaFault(f"its page {number} has a size of {metres} m, and 5.08 m are the most")
    scale = min(math.sqrt(pixels / (width * height)), _FINEST)
    image = page.render(scale=scale).to_pil().convert("RGB")
    held = io.BytesIO()
    image.save(held, "PNG")
    kind = "image/png"
    if held.tell() > image.width * image.height:  # photographs
        held = io.BytesIO()
        image.save(held, "JPEG", quality=_JPEG_QUALITY)
        kind = "image/jpeg"
    return Page(number, held.getvalue(), kind, image.width, image.height)
