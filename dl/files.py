"""Files as editors, cameras and systems leave them: encodings, companions of other systems, numbered names, images."""

from __future__ import annotations

import codecs
import errno
import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

MARKS = {  # those of UTF-32 begin with those of UTF-16
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}


def user_path(path: str | Path) -> Path:
    """A path as a user writes it: a string or a Path, `~` for the home folder.

    Raises:
        TypeError: for something else. ValueError: if there is no such home folder.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"user_path: wanted a path, got {path!r:.60}. Pass a string or a Path.")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(f"user_path: the home folder of {str(path)!r} is not known. Write the path in full.") from error


def read_text(path: str | Path) -> str:
    r"""A text file in UTF-8 or UTF-16, with or without a byte-order mark, or in UTF-32 with it; lines end in "\n".

    Raises:
        ValueError: for another encoding, or for what is no text. OSError: if the file cannot be read.
    """
    return decode(Path(path).read_bytes(), Path(path).name)


def decode(content: bytes, name: str) -> str:
    """As `read_text`, with the bytes of a file of that name."""
    mark = next((mark for mark in MARKS if content.startswith(mark)), b"")
    encoding = MARKS.get(mark) or _unmarked(content)
    try:
        text = content[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"read_text: {name} is not written in UTF-8 (byte {error.start} is 0x{content[error.start]:02x}). "
            "Open it in an editor and save it again with the encoding UTF-8."
        ) from error
    if "\0" in text:
        raise ValueError(
            f"read_text: {name} holds zero bytes, as no text does. Write it anew in an editor, with the encoding UTF-8."
        )
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_lines(path: str | Path) -> list[str]:
    """Lines of a text file without blanks around them; empty ones at the end are left out."""
    text = read_text(path).rstrip()
    return [line.strip() for line in text.split("\n")] if text else []


def numbered_files(folder: Path, ending: str) -> list[Path]:
    """Files of a folder with that ending, such as ".jpg", in any case; 2.jpg before 10.jpg.

    What other systems leave beside them (`._1.jpg` of macOS, hidden files) is no part of the data.
    """
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted((p for p in found if p.suffix.lower() == ending and not p.name.startswith(".")), key=_natural)


def rgb(picture: Image) -> Image:
    """An image as a person sees it, in mode RGB: turned as its EXIF data say, on white where it is transparent,
    16 bits scaled to 8."""
    import numpy as np
    from PIL import Image, ImageOps

    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith(("I", "F")):  # grey in 16 or 32 bits
        pixels = np.asarray(picture).astype(np.float64)
        largest = pixels.max(initial=0)
        white = 1 if picture.mode == "F" and largest <= 1 else 255 if picture.mode in "IF" and largest <= 255 else 65535
        picture = Image.fromarray((pixels * (255 / white)).round().clip(0, 255).astype(np.uint8))
    if picture.has_transparency_data:
        ground = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        ground.alpha_composite(picture.convert("RGBA"))
        picture = ground
    return picture.convert("RGB")


def _unmarked(content: bytes) -> str:
    """UTF-16 without its mark has a zero in nearly every second byte; texts have none otherwise."""
    zeros = content[:100].count(0)
    return "utf-8" if 4 * zeros < len(content[:100]) else "utf-16-le" if content[1:100:2].count(0) == zeros else "utf-16-be"


def _natural(path: Path) -> list[tuple[int, str]]:
    """For sorting: numbers in names by their value."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(int(part), part) if index % 2 else (0, part) for index, part in enumerate(parts)]


def digest(path: str | Path, kind: str) -> str:
    """Hash of a file, hexadecimal; `kind` as in hashlib."""
    made = hashlib.new(kind, usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            made.update(chunk)
    return made.hexdigest()


def save_tensors(content: object, file: Path) -> None:
    """`torch.save`, with an OSError where the disk is full: torch's own RuntimeError speaks of positions in the file."""
    import torch

    try:
        torch.save(content, file)
    except RuntimeError as error:
        raise OSError(errno.ENOSPC, "the disk is full, or takes no more", str(file)) from error
