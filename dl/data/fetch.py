"""Fetch one entry of the registry: download with resume, verify, unpack, and only then give it its final name.

A download grows in `NAME.part` beside its place and is resumed by the next call. Size, hash and content are verified on
that file; an archive is unpacked into a folder of its own and verified there. One rename ends it, so that what bears
the final name is always whole; then its manifest is written. Two processes that fetch the same entry take turns.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from dl import settings
from dl.console import UsageError, say, say_unless_terminal, write_whole
from dl.data import examples, manifest
from dl.data.access import file_problems, is_converted
from dl.data.download import DownloadError, Wanted, download
from dl.data.registry import ENTRIES, MB, Entry
from dl.data.unpack import unpack
from dl.data.verify import problems_of, read_all

UNPACKED_SHARE = 1.5  # free space wanted for an archive's content, of the archive's size
DEEPEST = 5  # folders below the one that `adopt` is given


class FetchError(Exception):
    """An entry could not be fetched; what was there before is untouched."""


def fetch(entry: Entry, again: bool = False) -> bool:
    """Have `entry` at its location, whole and verified. False if it was already there.

    Args:
        again: fetch it from the network whatever is there; the old one stays until the new one has been verified.
    Raises:
        FetchError: what failed at every address, or why nothing can be written; the message says what to do.
        UsageError: if DL_OFFLINE is set and nothing on this disk serves, or DL_MIRROR is no address.
    """
    if not again and not _leftovers(entry) and _is_good(entry):
        return False
    try:
        entry.location.parent.mkdir(parents=True, exist_ok=True)
        with _locked(entry):
            for left in _leftovers(entry):
                shutil.rmtree(left, ignore_errors=True)
            if not again and _is_good(entry):  # another process was faster
                return False
            if not again and not entry.collection and _from_this_disk(entry):
                return True
            if settings.offline():
                raise UsageError(
                    f"{entry.name} is not at {entry.shown_location}, and DL_OFFLINE forbids the network. "
                    f"Unset DL_OFFLINE and run this again{_or_by_hand(entry)}."
                )
            if entry.collection:
                _collect(entry, again)
            else:
                _from_first_good_address(entry)
    except OSError as error:
        raise FetchError(_disk_message(entry, error)) from error
    return True


def adopt(path: Path) -> dict[str, list[str]]:
    """Take entries from another place on this disk: archives, weight files and unpacked folders, copied and verified.

    Args:
        path: a file, or a folder that holds such things, itself or up to five folders deep.
    Returns:
        for each entry of which something was found: what is wrong with it, nothing if it is at its location now.
    Raises:
        UsageError: if there is no such path. FetchError: if nothing can be written.
    """
    if not path.exists():
        raise UsageError(f"there is no {path}. Name a file, or a folder with archives or unpacked data in it.")
    found: dict[str, list[str]] = {}
    for entry in ENTRIES.values():
        for candidate in _candidates(entry, path):
            try:
                entry.location.parent.mkdir(parents=True, exist_ok=True)
                with _locked(entry):
                    problems = examples.adopt(candidate) if entry.collection else _install(entry, candidate, keep=True)
            except OSError as error:
                raise FetchError(_disk_message(entry, error)) from error
            found[entry.name] = [f"{candidate}: {problem}" for problem in problems]
            if not problems:
                break
    return found


# --- Where it is taken from ---


def _leftovers(entry: Entry) -> list[Path]:
    """Temporary folders for the entry, its notes and its manifest: once the lock is ours, of a killed process."""
    place = entry.location
    return [left for kind in ("", ".part.json", ".manifest.json") for left in place.parent.glob(f".{place.name}{kind}-*.part")]


def _is_good(entry: Entry) -> bool:
    if not entry.present or problems_of(entry):
        return False
    if not entry.collection and manifest.differences(entry) is None:
        manifest.record(entry)
    return True


def _from_this_disk(entry: Entry) -> bool:
    """Take an archive or file that was put beside the place by hand, or that torch or CLIP keep in their caches."""
    import torch

    beside = [entry.location.parent / name for name in entry.filenames]
    caches = [Path(torch.hub.get_dir()) / "checkpoints", Path.home() / ".cache" / "clip"]
    known = [folder / name for folder in caches for name in entry.filenames]
    parts = [_part(entry)] if settings.offline() else []  # else the network completes it
    for file in (*beside, *known, *parts):
        if not file.is_file() or file == entry.location:
            continue
        problems = _install(entry, file, keep=file not in parts)
        if not problems:
            for part in parts:
                part.unlink(missing_ok=True)
            say(f"{entry.name}: taken from {settings.shown(file)}, which is no longer needed.")
            return True
        say(f"{entry.name}: {settings.shown(file)} is not used: {'; '.join(problems)}.")
    return False


def _candidates(entry: Entry, path: Path) -> list[Path]:
    """What may be the entry at or below a path, by name; a folder given by itself may have any name."""
    names = {*entry.filenames, entry.location.name}
    found = [path] if path.name in names or (path.is_dir() and entry.archive and not entry.problems_in(path)) else []
    for folder, folders, files in os.walk(path):
        here = Path(folder)
        found += [here / name for name in (*folders, *files) if name in names and here / name not in found]
        deep = len(here.relative_to(path).parts) >= DEEPEST
        folders[:] = [] if deep else [name for name in folders if name not in names and not name.startswith(".")]
    return [candidate for candidate in found if not candidate.is_dir() or entry.is_folder]


def _from_first_good_address(entry: Entry) -> None:
    part = _part(entry)
    failures: list[str] = []
    for address in _addresses(entry):
        if failures and address.startswith("http:"):
            say(f"{entry.name}: going on without encryption, at {address}.")
        say_unless_terminal(f"{entry.name}: {entry.megabytes} from {address}")
        problem = _try_address(entry, address, part)
        if problem is None:
            return
        failures.append(f"  {address}: {problem}")
    kept = f" {part.stat().st_size / MB:.0f} MB are kept and will be used." if part.exists() else ""
    raise FetchError(
        f"{entry.name} could not be fetched:\n"
        + "\n".join(failures)
        + f"\nCheck the network and run this again.{kept} Or name a server that has it in DL_MIRROR{_or_by_hand(entry)}."
    )


def _try_address(entry: Entry, address: str, part: Path) -> str | None:
    """None if the entry is at its place now; else why not. A part that may be completed later stays."""
    notes = part.with_name(f"{part.name}.json")
    wanted = Wanted(entry.name, address, size=entry.size, hashed=entry.digest is not None, notes=notes)
    for _ in range(2):  # once more from the beginning if it may be made of two different files
        try:
            _want_free_space(entry, (entry.size or entry.about) - (part.stat().st_size if part.exists() else 0))
            with open(part, "a+b") as file:
                pieced = download(wanted, file).pieced
        except DownloadError as error:
            if not part.stat().st_size:
                part.unlink()
            return str(error)
        problems = _install(entry, part, keep=False)
        part.unlink(missing_ok=True)
        notes.unlink(missing_ok=True)
        if not problems:
            return None
        if not pieced:
            break
    return "; ".join(problems)


def _addresses(entry: Entry) -> list[str]:
    try:
        mirror = settings.mirror()
    except ValueError as error:
        raise UsageError(str(error)) from error
    return [f"{mirror}/{name}" for name in entry.filenames if mirror] + list(entry.addresses)


def _collect(entry: Entry, again: bool) -> None:
    _addresses(entry)  # it has none itself; this refuses a DL_MIRROR that is no address
    try:
        notes, failures = examples.collect(again)
    except (FileNotFoundError, ValueError) as error:
        raise FetchError(f"{entry.name}: {error}") from error
    for note in notes:
        say(f"{entry.name}: {note}")
    problems = failures + problems_of(entry)
    if problems:
        raise FetchError(
            f"{entry.name} could not be fetched:\n"
            + "\n".join(f"  {problem}" for problem in problems)
            + "\nCheck the network and run this again; what is there stays."
        )


# --- How it gets its place ---


def _install(entry: Entry, source: Path, keep: bool) -> list[str]:
    """Verify a download, or a folder that someone unpacked, and give it its place and manifest; or what is wrong with it.

    Args:
        keep: copy it. False moves a file.
    """
    place = entry.location
    try:
        if source == place:
            _want_none(problems_of(entry))
        else:
            if source.is_file() and (source == _part(entry) or not is_converted(entry, source)):
                _want_none(file_problems(entry, source))
            if keep or entry.archive:
                write_whole(place, lambda new: _prepare(entry, source, new))
            else:
                _want_none(entry.problems_in(source))
                os.replace(source, place)
    except _Bad as bad:
        return bad.problems
    manifest.record(entry)
    return []


class _Bad(Exception):
    def __init__(self, problems: list[str]) -> None:
        super().__init__()
        self.problems = problems


def _want_none(problems: list[str]) -> None:
    if problems:
        raise _Bad(problems)


def _prepare(entry: Entry, source: Path, new: Path) -> None:
    """Make the entry as it will be at the path `new`, and read it to its end."""
    if source.is_dir():
        shutil.copytree(source, new)
    elif entry.archive:
        everything = new.with_name("everything")
        try:
            unpack(source, everything, entry.name)
        except ValueError as error:
            raise _Bad([str(error)]) from error
        inside = everything / entry.location.name
        os.replace(inside if inside.is_dir() else everything, new)
    else:
        shutil.copyfile(source, new)
    _want_none(entry.problems_in(new))
    _want_none(read_all(entry, new))


def _part(entry: Entry) -> Path:
    return entry.location.with_name(f"{entry.location.name}.part")


def _or_by_hand(entry: Entry) -> str:
    if not entry.filenames:
        return ""
    return f"; or put {entry.filenames[0]} into {settings.shown(entry.location.parent)} yourself and run this again"


def _want_free_space(entry: Entry, rest: int) -> None:
    needed = rest + (int(UNPACKED_SHARE * entry.about) if entry.archive else 0)
    if shutil.disk_usage(entry.location.parent).free < needed:
        raise OSError(errno.ENOSPC, f"{needed / MB:.0f} MB are needed")


def _disk_message(entry: Entry, error: OSError) -> str:
    folder = entry.location.parent
    if error.errno == errno.ENOSPC:
        free = shutil.disk_usage(folder).free / MB
        return (
            f"{entry.name}: the disk of {folder} is too full ({free:.0f} MB free; {error.strerror}). "
            "Delete something there, or set DL_HOME to a folder on another disk."
        )
    if error.filename and not Path(error.filename).is_relative_to(folder):
        return f"{entry.name}: {error.filename} cannot be used ({error.strerror}). See that you may read it, or name another."
    return f"{entry.name}: cannot write to {folder} ({error}). Set DL_HOME to a folder that you can write to."


@contextlib.contextmanager
def _locked(entry: Entry) -> Iterator[None]:
    """Hold the entry's lock; waits for another process, and says so. The system frees it when a process ends."""
    lock = FileLock(entry.location.with_name(f".{entry.location.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"{entry.name}: another process is fetching it; waiting.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
