"""The size that an MP4 file states. OpenCV writes even sizes only: an odd video is written one pixel larger, then stated."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO

STREAM_HEADER = b"\x00\x00\x01\x20"  # start code of MPEG-4's video object layer
STREAM_HEADER_BITS = 400  # more than what stands before its size


def state_size(path: Path, written: tuple[int, int], wanted: tuple[int, int]) -> None:
    """Change the (height, width) of the only video in an MP4 file of codec mp4v, in place; players then hide the rest.

    The size stands in three places: the track header, the sample description, and the header of the MPEG-4 stream
    (ISO/IEC 14496-2, 6.2.3: marker bit, 13 bits of width, marker, 13 bits of height, marker). The stream is made of
    blocks of 16 x 16 pixels, so a size that needs as many blocks needs no other change.

    Raises:
        ValueError: if the file does not state `written` once in each of them.
    """
    with open(path, "r+b") as file:
        start, length = _find_box(file, b"moov")
        head = file.read(length)
        stream = 8 * max(0, head.find(STREAM_HEADER))
        for old, new in zip(_places(*written), _places(*wanted), strict=True):
            if head.count(old) != 1:
                raise ValueError(
                    f"state_size: {path.name} states {written} {head.count(old)} times, wanted once. Write it anew."
                )
            head = head.replace(old, new)
        bits = f"{int.from_bytes(head, 'big'):0{8 * len(head)}b}"
        old_size, new_size = (f"1{width:013b}1{height:013b}1" for height, width in (written, wanted))
        place = bits.find(old_size, stream, stream + STREAM_HEADER_BITS)
        if place < 0:
            raise ValueError(f"state_size: the stream in {path.name} does not state {written}. Write the video anew.")
        bits = bits[:place] + new_size + bits[place + len(new_size) :]
        file.seek(start)
        file.write(int(bits, 2).to_bytes(len(head), "big"))


def _places(height: int, width: int) -> tuple[bytes, bytes]:
    """The size as the track header (16.16 bits) and the sample description (16 bits, followed by 72 dpi) state it."""
    return struct.pack(">II", width << 16, height << 16), struct.pack(">HHII", width, height, 72 << 16, 72 << 16)


def _find_box(file: BinaryIO, kind: bytes) -> tuple[int, int]:
    """Where the contents of a box of the file begin, and their length; the file stands there."""
    while len(header := file.read(8)) == 8:
        size, name = struct.unpack(">I4s", header)
        length = struct.unpack(">Q", file.read(8))[0] - 16 if size == 1 else size - 8
        if name == kind:
            return file.tell(), length
        file.seek(length, os.SEEK_CUR)
    raise ValueError(f"state_size: {Path(file.name).name} has no {kind.decode()}: it is no whole MP4 file. Write it anew.")
