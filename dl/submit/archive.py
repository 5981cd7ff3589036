"""The zip: the same files give the same bytes, and success is told only after it was opened again and compared."""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path

from dl.console import write_whole

LIMIT = 100_000_000  # bytes of the zip
DATE = (1980, 1, 1, 0, 0, 0)  # the first that a zip can hold
LARGEST_NAMED = 3


class TooLarge(Exception):
    """The zip would be over the limit; the message names the largest files."""


def write(target: Path, contents: dict[str, bytes]) -> int:
    """Write `contents`, bytes by path, in their order to the zip `target`; returns its size in bytes.

    The old zip stays as it is until the new one is complete and compared.

    Raises:
        TooLarge: if it would be over LIMIT. OSError: if it cannot be written, or reads back differently.
    """

    def fill(file: Path) -> None:
        with open(file, "wb") as stream:
            with zipfile.ZipFile(stream, "w") as archive:
                for name, content in contents.items():
                    archive.writestr(_entry(name), content)
            stream.flush()
            os.fsync(stream.fileno())
        if file.stat().st_size > LIMIT:
            largest = sorted(contents, key=lambda name: len(contents[name]), reverse=True)[:LARGEST_NAMED]
            named = ", ".join(f"{name} ({len(contents[name]) / 1e6:.0f} MB)" for name in largest)
            raise TooLarge(
                f"the zip would have {file.stat().st_size / 1e6:.0f} MB, at most {LIMIT / 1e6:.0f} MB are taken. "
                f"Largest files: {named}. Clear outputs that nobody needs, or make them smaller."
            )
        _compare(file, contents)

    write_whole(target, fill)
    return target.stat().st_size


def _entry(name: str) -> zipfile.ZipInfo:
    """One file's header: nothing in it comes from the clock, the system or the user."""
    entry = zipfile.ZipInfo(name, DATE)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.create_system = 3  # Unix, wherever it is made
    entry.external_attr = 0o100644 << 16
    return entry


def _compare(file: Path, contents: dict[str, bytes]) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            differing = [name for name in contents if archive.read(name) != contents[name]]
            if archive.namelist() == list(contents) and not differing:
                return
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError) as error:
        differing = [str(error)]
    raise OSError(f"written and read again, it differs ({', '.join(differing)}): the disk is not to be trusted")
