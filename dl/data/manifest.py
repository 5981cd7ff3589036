"""What a fetched entry consisted of when it was last known to be good: `NAME.manifest.json` beside it.

Sizes, times and SHA-256 of every file. Readers compare sizes and times, which takes milliseconds, and hash only files
whose time differs or is so fresh that a change within the clock's grain could hide; `verify` hashes all.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dl.console import progress, say_once, write_whole
from dl.files import digest

if TYPE_CHECKING:
    from dl.data.registry import Entry

CHUNK = 1 << 20
SCATTERED = ("Thumbs.db", "desktop.ini")  # and hidden files: systems leave them in any folder
GRAIN = 2_000_000_000  # nanoseconds: no file system's clock is coarser


def record(entry: Entry) -> None:
    """Write the manifest of an entry that has just been verified; where that is not possible, say so once and go on."""
    files = {name: _facts(file) for name, file in _files(entry.location)}
    _write(entry, files)


def differences(entry: Entry, thorough: bool = False) -> list[str] | None:
    """Files that are absent or other than recorded, each with what differs; None if nothing is recorded.

    Args:
        thorough: hash every file, whatever its size and time.
    """
    recorded = _read(entry)
    if recorded is None:
        return None
    checked, files = recorded
    place = str(entry.location)  # a path of strings: this runs for thousands of files
    problems, fresh = [], {}
    for name, (size, changed, sha256) in progress(
        iterable=files.items(), desc=f"{entry.name}: verifying", unit="file", shown=thorough
    ):
        file = os.path.join(place, name) if name else place
        shown = f"{name} " if name else "it "
        try:
            now = os.stat(file)
        except OSError:
            problems.append(f"{shown}is missing")
            continue
        if now.st_size != size:
            problems.append(f"{shown}has {now.st_size:,} bytes, not {size:,}")
        elif thorough or now.st_mtime_ns != changed or changed > checked - GRAIN:
            if digest(file, "sha256") != sha256:
                problems.append(f"{shown}has the right size but another content than when it was verified")
            fresh[name] = (size, now.st_mtime_ns, sha256)
    if fresh and not problems:
        _write(entry, {**files, **fresh})
    return problems


def _files(place: Path) -> Iterator[tuple[str, Path]]:
    """(name relative to the entry, path) of its files, without those that systems scatter about."""
    if place.is_file():
        yield "", place
        return
    for file in sorted(place.rglob("*")):
        if file.is_file() and not file.name.startswith(".") and file.name not in SCATTERED:
            yield file.relative_to(place).as_posix(), file


def _facts(file: Path) -> tuple[int, int, str]:
    sha256, now = digest(file, "sha256"), file.stat()
    return now.st_size, now.st_mtime_ns, sha256


def _path(entry: Entry) -> Path:
    return entry.location.with_name(f"{entry.location.name}.manifest.json")


def _write(entry: Entry, files: dict[str, tuple[int, int, str]]) -> None:
    content = json.dumps({"entry": entry.name, "checked": time.time_ns(), "files": files}, indent=0)
    try:
        write_whole(_path(entry), lambda file: file.write_text(content, encoding="utf-8"))
    except OSError as error:
        say_once(f"{entry.name}: {_path(entry).name} cannot be kept ({error.strerror}); going on without it.")


def _read(entry: Entry) -> tuple[int, dict[str, tuple[int, int, str]]] | None:
    """When it was written, and the facts of every file; None where there is none, or none that can be read."""
    try:
        kept = json.loads(_path(entry).read_text(encoding="utf-8"))
        files = {str(name): (int(size), int(changed), str(sha256)) for name, (size, changed, sha256) in kept["files"].items()}
        return (int(kept["checked"]), files) if files else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
