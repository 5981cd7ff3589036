"""Fetch one entry of the registry: download with resume, verify, unpack, and only then give it its final name.

A download grows in `NAME.part` beside its place and is resumed by the next call. Size, hash and content are verified on
that file; an archive is unpacked into a folder of its own and verified there. One rename ends it, so that what bears
the final name is always whole. Two processes that fetch the same entry take turns.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import http.client
import lzma
import os
import re
import shutil
import stat
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from dl import settings
from dl.console import UsageError, progress, say, say_unless_terminal
from dl.data.registry import MB, Entry

TIMEOUT = 30.0  # seconds without a byte
ATTEMPTS = 5  # connections an address, each resuming where the last was cut
PAUSE = 1.0  # seconds before the second attempt, doubled before each further one
CHUNK = 1 << 18
LOG_EVERY = 10.0  # seconds between two lines where there is no terminal
UNPACKED_SHARE = 1.5  # free space wanted for an archive's content, of the archive's size

_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError)


class FetchError(Exception):
    """An entry could not be fetched; what was there before is untouched."""


class _Refused(Exception):
    """This address does not give the file; the next one may."""


class _Cut(Exception):
    """The connection ended early; the next attempt may go on."""


def fetch(entry: Entry) -> bool:
    """Have `entry` at its location, whole and verified. False if it was already there.

    Raises:
        FetchError: what failed at every address, or why nothing can be written; the message says what to do.
        UsageError: if DL_OFFLINE is set.
    """
    place = entry.location
    if entry.present and not problems_of(entry):
        return False
    if settings.offline():
        raise UsageError(
            f"{entry.name} is not at {entry.shown_location}, and DL_OFFLINE forbids the network. "
            "Unset DL_OFFLINE and run this again."
        )
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with _locked(place.with_name(f".{place.name}.lock"), entry.name):
            if entry.present and not problems_of(entry):  # another process was faster
                return False
            _from_first_good_address(entry)
    except OSError as error:
        raise FetchError(_disk_message(entry, error)) from error
    return True


def problems_of(entry: Entry) -> list[str]:
    """What is wrong with a fetched entry; size and hash of an archive cannot be told from the folder it became."""
    if not entry.present:
        return [f"it is not there; fetch it with: python -m dl data fetch {entry.name}"]
    of_file = [] if entry.archive else file_problems(entry, entry.location)
    return of_file or entry.problems(entry.location)


def file_problems(entry: Entry, file: Path) -> list[str]:
    """Size and hash of a download against what was published."""
    size = file.stat().st_size
    if entry.size not in (None, size):
        return [f"it has {size:,} bytes, not {entry.size:,}"]
    if entry.digest:
        kind, wanted = entry.digest.split(":")
        got = _digest(file, kind)
        if not got.startswith(wanted):
            return [f"its {kind} begins with {got[:16]}, not {wanted[:16]}"]
    return []


# --- The steps ---


def _from_first_good_address(entry: Entry) -> None:
    place = entry.location
    part = place.with_name(f"{place.name}.part")
    failures = []
    for address in entry.addresses:
        say_unless_terminal(f"{entry.name}: {entry.megabytes} from {address}")
        try:
            _download(entry, address, part)
            _accept(entry, part)
            return
        except _Refused as refusal:
            failures.append(f"  {address}: {refusal}")
    kept = f" {part.stat().st_size / MB:.0f} MB are kept and will be used." if part.exists() else ""
    raise FetchError(
        f"{entry.name} could not be fetched:\n"
        + "\n".join(failures)
        + f"\nCheck the network and run this again.{kept} Or put it at {entry.shown_location} yourself "
        f"and run: python -m dl data verify {entry.name}"
    )


def _accept(entry: Entry, part: Path) -> None:
    """Verify the download and give it, or what is in it, its final name. A bad one is deleted."""
    problems = file_problems(entry, part)
    if not problems and not entry.archive:
        problems = entry.problems(part)
    if problems:
        part.unlink()
        raise _Refused("; ".join(problems))
    if not entry.archive:
        os.replace(part, entry.location)
        return
    with tempfile.TemporaryDirectory(prefix=f".{entry.location.name}-", dir=entry.location.parent) as temporary:
        unpacked = Path(temporary) / "content"
        try:
            unpack(part, unpacked, entry.name)
            folder = unpacked / entry.location.name
            folder = folder if folder.is_dir() else unpacked
            problems = entry.problems(folder)
        except ValueError as error:
            problems = [str(error)]
        if problems:
            part.unlink()
            raise _Refused("; ".join(problems))
        if entry.location.exists():  # a damaged one
            entry.location.rename(Path(temporary) / "old")
        os.replace(folder, entry.location)
    part.unlink()


def _download(entry: Entry, address: str, part: Path) -> None:
    """Fill `part` from one address, resuming what is there. Raises _Refused."""
    attempts = 0
    while True:
        try:
            return _one_connection(entry, address, part)
        except _Cut as cut:
            attempts += 1
            if attempts == ATTEMPTS:
                raise _Refused(f"{cut}, {ATTEMPTS} times") from cut
            time.sleep(PAUSE * 2 ** (attempts - 1))


def _one_connection(entry: Entry, address: str, part: Path) -> None:
    have = part.stat().st_size if part.exists() else 0
    if have and have == entry.size:
        return
    request = urllib.request.Request(address, headers={"User-Agent": "dl-assignment"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            if error.headers.get("Content-Range", "") == f"bytes */{have}":
                return  # all of it was there
            part.unlink()
            raise _Cut("what was there could not be resumed") from error
        if error.code >= http.client.INTERNAL_SERVER_ERROR:
            raise _Cut(f"the server answered {error.code} {error.reason}") from error
        raise _Refused(f"the server answered {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise _Refused(f"no connection ({error.reason})") from error
    except (http.client.HTTPException, OSError) as error:
        raise _Cut(f"no answer ({error or type(error).__name__})") from error
    with response:
        _receive(entry, response, part, have)


def _receive(entry: Entry, response: http.client.HTTPResponse, part: Path, have: int) -> None:
    """Append the body of a response to `part`, or write it anew where the server does not resume."""
    if response.status == http.client.PARTIAL_CONTENT:
        content_range = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if content_range is None or int(content_range[1]) != have:
            part.unlink()
            raise _Cut("the server resumed at another place")
    else:
        have = 0
    rest = response.headers.get("Content-Length")
    total = have + int(rest) if rest else None
    if "text/html" in response.headers.get("Content-Type", ""):
        raise _Refused("it sends a web page instead of the file (a login or a notice?)")
    if entry.size and total not in (None, entry.size):
        raise _Refused(f"it has a file of {total:,} bytes, not {entry.size:,}")
    first = _read(response)
    if not have and first.lstrip()[:20].lower().startswith((b"<!doctype html", b"<html")):
        raise _Refused("it sends a web page instead of the file (a login or a notice?)")
    _want_free_space(entry, part, (total or entry.about) - have)
    with open(part, "ab" if have else "wb") as file:
        received = have + _copy(response, first, file, entry.name, have, total)
    if total is not None and received < total:
        raise _Cut(f"cut after {received:,} of {total:,} bytes")


def _copy(response: http.client.HTTPResponse, chunk: bytes, file: BinaryIO, name: str, have: int, total: int | None) -> int:
    """Write `chunk` and the rest of the response; a bar on a terminal, else a line now and then. Returns the bytes."""
    received, logged = 0, time.monotonic()
    with progress(desc=name, total=total, initial=have, unit="B", unit_scale=True) as bar:
        while chunk:
            file.write(chunk)
            received += len(chunk)
            bar.update(len(chunk))
            if time.monotonic() - logged > LOG_EVERY:
                logged = time.monotonic()
                of_total = f" of {total / MB:.0f}" if total else ""
                say_unless_terminal(f"{name}: {(have + received) / MB:.0f}{of_total} MB")
            chunk = _read(response)
    return received


def _read(response: http.client.HTTPResponse) -> bytes:
    """Some bytes of the body, b"" at its end."""
    try:
        return response.read1(CHUNK)
    except TimeoutError as error:
        raise _Cut(f"nothing came for {TIMEOUT:g} s") from error
    except (http.client.HTTPException, OSError) as error:
        raise _Cut(f"the connection broke ({error or type(error).__name__})") from error


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


# --- Helpers ---


def _digest(path: Path, kind: str) -> str:
    digest = hashlib.new(kind)
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _want_free_space(entry: Entry, part: Path, rest: int) -> None:
    needed = rest + (int(UNPACKED_SHARE * entry.about) if entry.archive else 0)
    if shutil.disk_usage(part.parent).free < needed:
        raise OSError(errno.ENOSPC, f"{needed / MB:.0f} MB are needed")


def _disk_message(entry: Entry, error: OSError) -> str:
    folder = entry.location.parent
    if error.errno == errno.ENOSPC:
        free = shutil.disk_usage(folder).free / MB
        return (
            f"{entry.name}: the disk of {folder} is too full ({free:.0f} MB free; {error.strerror}). "
            "Delete something there, or set DL_HOME to a folder on another disk."
        )
    return f"{entry.name}: cannot write to {folder} ({error}). Set DL_HOME to a folder that you can write to."


@contextlib.contextmanager
def _locked(path: Path, name: str) -> Iterator[None]:
    """Hold the lock at `path`; waits for another process, and says so. The system frees it when a process ends."""
    with open(path, "a+b") as file:
        waited = False
        while not _try_lock(file):
            if not waited:
                say(f"{name}: another process is fetching it; waiting.")
            waited = True
            time.sleep(0.2)
        yield


def _try_lock(file: BinaryIO) -> bool:
    """Take the lock without waiting; it is freed when the file is closed."""
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
