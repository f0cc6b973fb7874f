"""Small PDFs and videos, made when a test needs them."""

import ctypes
import io
from base64 import b64encode
from collections.abc import Iterable
from pathlib import Path

from PIL import Image, ImageDraw

ENCRYPTED = b"""%%PDF-1.4
1 0 obj
<< /Type /Catalog /Pages 2 0 R >>
endobj
2 0 obj
<< /Type /Pages /Kids [] /Count 0 >>
endobj
3 0 obj
<< /Filter /Standard /V 1 /R 2 /P -4 /O <%s> /U <%s> >>
endobj
trailer
<< /Root 1 0 R /Encrypt 3 0 R /ID [<00> <00>] >>
%%%%EOF
""" % (b"41" * 32, b"42" * 32)
"""A PDF that wants a password."""


def pages_of(count: int) -> bytes:
    """Return a PDF that has one empty page many times."""
    return (
        b"%%PDF-1.4\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n"
        b"2 0 obj\n<< /Type /Pages /Count %d /Kids [%s] >>\nendobj\n"
        b"3 0 obj\n<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] >>\nendobj\n"
        b"trailer\n<< /Root 1 0 R >>\n%%%%EOF\n" % (count, b"3 0 R " * count)
    )


def pdf(*pages: Image.Image | str, size: tuple[int, int] = (300, 200)) -> bytes:
    """Return a PDF whose pages show an image each, or a line of text."""
    import pypdfium2
    import pypdfium2.raw as raw

    document = pypdfium2.PdfDocument.new()
    for content in pages:
        page = document.new_page(*size)
        if isinstance(content, str):
            shown = raw.FPDFPageObj_NewTextObj(document.raw, b"Helvetica", 18)
            letters = ctypes.create_string_buffer((content + "\0").encode("utf-16-le"))
            assert raw.FPDFText_SetText(shown, ctypes.cast(letters, raw.FPDF_WIDESTRING))
            line = pypdfium2.PdfObject(shown, pdf=document)
            line.set_matrix(pypdfium2.PdfMatrix().translate(20, 100))
        else:
            line = pypdfium2.PdfImage.new(document)
            line.set_bitmap(pypdfium2.PdfBitmap.from_pil(content))
            line.set_matrix(pypdfium2.PdfMatrix().scale(*size))
        page.insert_obj(line)
        page.gen_content()
    held = io.BytesIO()
    document.save(held)
    return held.getvalue()


def video(
    folder: Path, frames: Iterable[Image.Image], *, fps: float = 10, name: str = "video.avi"
) -> bytes:
    """Return a video with these frames, all of one size."""
    import cv2
    import numpy as np

    path = folder / name
    code = {"avi": "MJPG", "mkv": "MJPG", "mp4": "mp4v", "webm": "VP80"}[name.partition(".")[2]]
    writer = None
    for frame in frames:
        if writer is None:
            four = cv2.VideoWriter.fourcc(*code)
            writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, four, fps, frame.size)
            assert writer.isOpened()
        writer.write(np.asarray(frame.convert("RGB"))[:, :, ::-1])
    assert writer is not None
    writer.release()
    return path.read_bytes()


def coloured(colour: str, size: tuple[int, int] = (96, 64)) -> Image.Image:
    """Return an image of one colour."""
    return Image.new("RGB", size, colour)


def circle(colour: str, size: tuple[int, int] = (256, 256)) -> Image.Image:
    """Return an image of a circle."""
    image = Image.new("RGB", size, "white")
    width, height = size
    ImageDraw.Draw(image).ellipse(
        (width // 4, height // 4, width * 3 // 4, height * 3 // 4), colour
    )
    return image


def data_uri(data: bytes, kind: str = "application/pdf") -> str:
    """Return data as a data URI."""
    return f"data:{kind};base64,{b64encode(data).decode()}"
