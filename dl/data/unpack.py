"""Unpack a zip or tar file that nobody vouches for: files and folders only, all of them below one folder."""

from __future__ import annotations

import gzip
import lzma
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from dl.console import progress

CHUNK = 1 << 18
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError)


def unpack(archive: Path, folder: Path, name: str) -> None:
    """Unpack a zip or tar file into `folder`, which is made: files and folders only, all of them below it.

    Raises:
        ValueError: if a member would lie outside, or is a link or device (nothing is written then), or if the
            archive is damaged.
    """
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as file:
                members = [(info.filename, info.is_dir(), _zip_oddity(info), info) for info in file.infolist()]
                _unpack_members(members, file.open, folder, name)
        else:
            with tarfile.open(archive) as file:
                entries = [(info.name, info.isdir(), _tar_oddity(info), info) for info in file]
                _unpack_members(entries, file.extractfile, folder, name)
    except _DAMAGED as error:
        reason = str(error).splitlines()[0].rstrip(":") if str(error) else type(error).__name__
        raise ValueError(f"the archive is damaged or none ({reason})") from error


def _unpack_members(members: list[tuple], open_member, folder: Path, name: str) -> None:
    """Members are (name, is a folder, oddity or "", what `open_member` takes)."""
    bad = [f"{member} ({why})" for member, _, oddity, _ in members if (why := oddity or _unsafe(member))]
    if bad:
        raise ValueError(f"the archive holds what is not unpacked: {', '.join(bad[:3])}")
    folder.mkdir(parents=True)
    for member, is_folder, _, info in progress(iterable=members, desc=f"{name}: unpacking", unit="file"):
        target = folder / member
        if is_folder:
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with open_member(info) as source, open(target, "wb") as sink:
            shutil.copyfileobj(source, sink, CHUNK)


def _unsafe(member: str) -> str:
    """Why a member's name must not be unpacked, "" if it may."""
    path = PurePosixPath(member)
    if path.is_absolute() or "\\" in member or re.match(r"[A-Za-z]:", member):
        return "absolute"
    return "leads out" if ".." in path.parts else ""


def _zip_oddity(info: zipfile.ZipInfo) -> str:
    kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where the packing system had no such kinds
    return "" if kind in (0, stat.S_IFREG, stat.S_IFDIR) else "a link or device"


def _tar_oddity(info: tarfile.TarInfo) -> str:
    return "" if info.isfile() or info.isdir() else "a link or device"
