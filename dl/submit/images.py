"""Images on their way to the PDF: found without the network, checked, made small, written where typst reads them."""

from __future__ import annotations

import base64
import binascii
import io
import mimetypes
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

from dl.files import rgb
from dl.submit.texts import quoted

PAGE_WIDTH, PAGE_HEIGHT = 500, 640  # points that an image may take
POINTS_PER_PIXEL = 0.75  # as a browser shows it
LARGE = 300_000  # bytes; larger images become JPEG …
MOST_PIXELS = 1400  # … of at most this many pixels a side
ORIENTATION = 0x0112  # EXIF: which side of the stored pixels is up; 1 is the first row


class Pictures:
    """Writes images into `folder` and returns the typst that shows them; ValueError says why one cannot be shown."""

    def __init__(self, folder: Path, project: Path, compiles: Callable[[str], bool]) -> None:
        self.folder, self.project, self.compiles = folder, project, compiles
        self.number = 0

    def find(self, target: str, attachments: dict) -> bytes:
        """Bytes of the image that a Markdown cell names."""
        if (kind := (mimetypes.guess_type(target)[0] or "").partition("/")[0]) in ("video", "audio"):
            raise ValueError(f"it is {kind}, which paper cannot show")
        if target.startswith("data:"):
            return decoded(target.partition(",")[2])
        if target.startswith("attachment:"):
            kinds = attachments.get(unquote(target.partition(":")[2]))
            if not isinstance(kinds, dict) or not kinds:
                raise ValueError("it is not attached to its cell")
            return decoded(next(iter(kinds.values())))
        if re.match(r"[a-zA-Z][\w+.-]+:|//", target):
            raise ValueError("it is on the network, which is not used here")
        path = (self.project / "notebooks" / unquote(target.partition("?")[0])).resolve()
        if not path.is_relative_to(self.project):
            raise ValueError("it lies outside the project")
        if not path.is_file():
            raise ValueError("there is no such file")
        return path.read_bytes()

    def show(self, content: bytes, alt: str = "", width: str = "", room: float = PAGE_WIDTH) -> str:
        """Typst code for an image no larger than `room` and the page; `width` as in HTML: pixels or percent."""
        self.number += 1
        if re.match(rb"\s*(<\?xml|<!--|<!DOCTYPE|<svg)", content):
            return self._show_drawing(content, alt)
        from PIL import Image

        try:
            with warnings.catch_warnings(), Image.open(io.BytesIO(content)) as picture:
                warnings.simplefilter(
                    "ignore", Image.DecompressionBombWarning
                )  # cameras have 100 megapixels; 179 are an error
                turned = picture.getexif().get(ORIENTATION, 1)
                wide, high = picture.size if turned < 5 else picture.size[::-1]
                simple = picture.format in ("PNG", "JPEG") and picture.mode in ("1", "L", "LA", "P", "RGB", "RGBA")
                if len(content) > LARGE:
                    picture.draft("RGB", (MOST_PIXELS, MOST_PIXELS))  # a JPEG is read at a fraction of its size
                picture.load()
                if not simple or len(content) > LARGE or turned != 1:
                    content = _smaller(picture)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, UserWarning, RuntimeWarning) as error:
            if content[4:8] == b"ftyp":
                raise ValueError("it is HEIC or AVIF, as phones write it: save it as JPEG or PNG") from error
            raise ValueError("it is broken, or of a kind that cannot be read") from error
        ending = "png" if content.startswith(b"\x89PNG") else "jpg"
        name = f"image{self.number}.{ending}"
        (self.folder / name).write_bytes(content)
        points = _asked_width(width) or wide * POINTS_PER_PIXEL
        points = min(points, room, PAGE_HEIGHT * wide / high)
        return f"#box(image({quoted(name)}, width: {points:.1f}pt, alt: {quoted(alt)}))"

    def _show_drawing(self, content: bytes, alt: str) -> str:
        name = f"image{self.number}.svg"
        (self.folder / name).write_bytes(content)
        shown = f"#box(image({quoted(name)}, alt: {quoted(alt)}))"
        if not self.compiles(shown):
            raise ValueError("it is no drawing that can be read")
        return shown


def decoded(text) -> bytes:
    """Bytes of an image as notebooks store it, in base64, in one string or many."""
    try:
        return base64.b64decode("".join(text))
    except (binascii.Error, TypeError, ValueError) as error:
        raise ValueError("its data are broken") from error


def _smaller(picture) -> bytes:
    """On white, JPEG if that is the smaller, else PNG; at most MOST_PIXELS a side."""
    picture = rgb(picture)
    picture.thumbnail((MOST_PIXELS, MOST_PIXELS))
    as_png, as_jpeg = io.BytesIO(), io.BytesIO()
    picture.save(as_png, "PNG")
    picture.save(as_jpeg, "JPEG", quality=88)
    return min(as_png.getvalue(), as_jpeg.getvalue(), key=len)


def _asked_width(width: str) -> float | None:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(px|%)?\s*", width)
    if not match or not float(match[1]):
        return None
    return PAGE_WIDTH * float(match[1]) / 100 if match[2] == "%" else float(match[1]) * POINTS_PER_PIXEL
