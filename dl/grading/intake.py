"""What is taken from a submission: the files that a student may change, read without unpacking anything else.

A submission is a zip or a folder, alone or in a folder as a learning platform exports it. Its content is nobody's friend:
names, links, sizes and kinds are looked at before a byte is read, and nothing in it is run or written here.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
import stat
import unicodedata
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from dl.checks.exercise import MODULES
from dl.console import UsageError
from dl.submit import IDENTITY_FILE, identity_in
from dl.submit.files import NOTEBOOKS

LESSONS = tuple(name.replace(".", "/") + ".py" for names in MODULES.values() for name in names)
TAKEN = {  # files, and the most bytes that each may have
    **dict.fromkeys(LESSONS, 2**20),
    **{f"notebooks/{name}.ipynb": 2**26 for name in NOTEBOOKS},
    IDENTITY_FILE: 2**12,
}
MOST_ENTRIES, MOST_ARCHIVE, MOST_DIRECTORY = 20_000, 2**30, 2**23  # files in a zip; its bytes; those of its list of files
MOST_COPIES = 4  # of a file, all alike, under one name
MOST_NAME = 100  # characters of a name or id that a submission gives
CANVAS = re.compile(r"(?P<name>[^_]+)_(?P<late>LATE_)?(?P<id>\d+)_\d+_(?P<file>.+)")
MOODLE = re.compile(r"(?P<name>.+)_(?P<id>\d+)_assignsubmission_[a-z]+_(?P<file>.*)")
AGAIN = re.compile(r"-\d+(?=\.\w+$)")  # Canvas numbers a file that was handed in again


@dataclass
class Submission:
    """What one student handed in.

    Args:
        label: name of the file or folder. paths: what belongs to it; a platform may deliver files one by one.
        name, id: from the platform where it gives them, else from the submission itself. submitted: ISO time, or "".
        contents: bytes by path in the project. problem: why nothing could be read. notes: what was left out, and why.
    """

    label: str
    paths: list[Path]
    name: str = ""
    id: str = ""
    submitted: str = ""
    late: bool = False
    contents: dict[str, bytes] = field(default_factory=dict, repr=False)
    problem: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def sha256(self) -> str:
        """Of what was taken, so that the same work has the same digest, zipped or not."""
        digest = hashlib.sha256()
        for path, content in sorted(self.contents.items()):
            digest.update(f"{path}\0{len(content)}\0".encode() + content)
        return digest.hexdigest()


def find(paths: Sequence[str | Path], roster: str | Path | None = None) -> list[Submission]:
    """All submissions of these zips, folders, and folders of them, read; in the order of their labels.

    Args:
        roster: CSV with a column of ids and one of names, also of times handed in, as a platform exports it.
    Raises:
        UsageError: if a path is not there, a folder is empty, or the roster cannot be read.
    """
    found: dict[tuple[str, str], Submission] = {}
    for path in map(Path, paths):
        if not os.path.lexists(path):
            raise UsageError(f"{path} is not there. Give a zip, a folder, or a folder of submissions.")
        for entry in [path] if _is_submission(path) else sorted(path.iterdir()):
            if entry.name.startswith((".", "__MACOSX")):
                continue
            submission = _identified(entry)
            if not submission.id and any(label == submission.label for label, _ in found):
                submission.label = f"{entry.absolute().parent.name}/{entry.name}"
            same = found.setdefault((submission.label, submission.id or str(entry.absolute())), submission)
            same.paths += [entry] if entry not in same.paths else []
    if not found:
        raise UsageError(f"no submissions in {', '.join(map(str, paths))}. Give zips, folders, or a folder of them.")
    submissions = sorted(found.values(), key=lambda submission: in_order(submission.label))
    for submission in submissions:
        read(submission)
    if roster is not None:
        _complete(submissions, Path(roster))
    return submissions


def read(submission: Submission) -> None:
    """Take what is wanted into `contents`; if nothing can be read, `problem` says why."""
    for path in sorted(submission.paths, key=lambda path: path.suffix != ".zip"):
        try:
            entries = _entries(path)
            taken = _taken(entries, submission.notes)
        except Exception as error:  # zipfile raises what it likes on what is no zip
            submission.problem = submission.problem or f"{path.name} cannot be read: {error or type(error).__name__}"
            continue
        for name, content in taken.items():
            submission.contents.setdefault(name, content)
    if any(name in LESSONS for name in submission.contents):
        submission.problem = ""
    elif not submission.problem:
        submission.problem = f"it holds none of {', '.join(LESSONS)}"
    if IDENTITY_FILE in submission.contents and not submission.id:
        identity = identity_in(submission.contents[IDENTITY_FILE].decode("utf-8-sig", errors="replace"))
        submission.name, submission.id = identity["name"][:MOST_NAME], identity["id"][:MOST_NAME]


@dataclass(frozen=True)
class _Entry:
    """A file of a submission: its path in it, and how its first bytes are read."""

    path: str
    size: int
    problem: str
    source: Callable[[], IO[bytes]]

    def read(self, most: int) -> bytes:
        if self.problem:
            raise ValueError(self.problem)
        if self.size > most:
            raise ValueError(f"has {self.size} bytes, and at most {most} are taken")
        with self.source() as file:
            content = file.read(most + 1)
        if len(content) > most:
            raise ValueError(f"has more than {most} bytes")
        return content


def _is_submission(path: Path) -> bool:
    """Whether this is one, and no folder of several."""
    if path.is_symlink() or not path.is_dir() or CANVAS.fullmatch(path.name) or MOODLE.fullmatch(path.name):
        return True
    return any((folder / lesson).exists() for folder in (path, *_folders(path)[:1]) for lesson in LESSONS)


def _folders(path: Path) -> list[Path]:
    """The folders in a folder, if it holds nothing but one."""
    inside = [entry for entry in path.iterdir() if not entry.name.startswith((".", "__MACOSX"))]
    return inside if len(inside) == 1 and inside[0].is_dir() and not inside[0].is_symlink() else []


def _identified(path: Path) -> Submission:
    match = CANVAS.fullmatch(path.name)
    if match:
        label = f"{match['name']}_{match['id']}"
        return Submission(label, [path], match["name"], match["id"], late=bool(match["late"]))
    match = MOODLE.fullmatch(path.name)
    if match:
        return Submission(f"{match['name']}_{match['id']}", [path], match["name"], match["id"])
    return Submission(path.name, [path])


def _entries(path: Path) -> list[_Entry]:
    kind = path.lstat().st_mode
    if stat.S_ISDIR(kind):
        zips = sorted(entry for entry in path.iterdir() if entry.suffix.lower() == ".zip" and entry.is_file())
        if zips and not _is_submission_folder(path):  # as Moodle delivers them
            return _entries(zips[-1])
        return list(_in_folder(path))
    if not stat.S_ISREG(kind):
        raise ValueError("it is a link, a pipe or a device, and no file")
    if path.suffix.lower() == ".zip" or zipfile.is_zipfile(path):
        if path.stat().st_size > MOST_ARCHIVE:
            raise ValueError(f"it has {path.stat().st_size} bytes, and at most {MOST_ARCHIVE} are taken")
        return list(_in_zip(path))
    match = CANVAS.fullmatch(path.name) or MOODLE.fullmatch(path.name)
    name = AGAIN.sub("", match["file"] if match else path.name)
    wanted = [known for known in TAKEN if PurePosixPath(known).name == name]
    return [_file_entry(wanted[0] if len(wanted) == 1 else name, path)]


def _is_submission_folder(path: Path) -> bool:
    return any((folder / lesson).exists() for folder in (path, *_folders(path)) for lesson in LESSONS)


def _in_folder(root: Path) -> Iterator[_Entry]:
    count = 0
    for folder, folders, files in os.walk(root, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__MACOSX")
        for name in sorted(files):
            count += 1
            if count > MOST_ENTRIES:
                raise ValueError(f"it holds more than {MOST_ENTRIES} files")
            path = Path(folder, name)
            yield _file_entry(path.relative_to(root).as_posix(), path)


def _file_entry(name: str, path: Path) -> _Entry:
    about = path.lstat()
    problem = "" if stat.S_ISREG(about.st_mode) else "is a link, a pipe or a device, and no file"
    return _Entry(name, about.st_size, problem, partial(_opened, path))


def _opened(path: Path):
    """A regular file, opened without following a link that has just taken its place."""
    number = os.open(
        path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    )
    return os.fdopen(number, "rb")


def _in_zip(path: Path) -> Iterator[_Entry]:
    if (size := _directory(path)) > MOST_DIRECTORY:  # the memory that a list of millions would take when it is read
        raise ValueError(f"its list of files has {size} bytes, and at most {MOST_DIRECTORY} are taken")
    archive = zipfile.ZipFile(path)
    entries = archive.infolist()
    if len(entries) > MOST_ENTRIES:
        raise ValueError(f"it holds {len(entries)} files, and at most {MOST_ENTRIES} are taken")
    for entry in entries:
        kind = stat.S_IFMT(entry.external_attr >> 16)
        problem = ""
        if entry.flag_bits & 1:
            problem = "is encrypted"
        elif kind not in (0, stat.S_IFREG) and not entry.is_dir():
            problem = "is a link, a pipe or a device, and no file"
        if not entry.is_dir():
            yield _Entry(entry.filename, entry.file_size, problem, partial(archive.open, entry))


def _directory(path: Path) -> int:
    """Bytes of the list of files at the end of a zip, as it says; 0 if there is none, which is seen when it is opened."""
    with open(path, "rb") as file:
        end = zipfile._EndRecData(file)  # type: ignore[attr-defined]  # what ZipFile itself goes by
    return end[zipfile._ECD_SIZE] if end else 0  # type: ignore[attr-defined]


def _taken(entries: list[_Entry], notes: list[str]) -> dict[str, bytes]:
    """The wanted files among the entries, by their paths in the project."""
    safe = [entry for entry in entries if _is_plain(entry.path)]
    if len(safe) < len(entries):
        notes.append(f"{len(entries) - len(safe)} names that lead out of the submission were left out")
    by_name: dict[str, list[_Entry]] = {}
    for entry in safe:
        by_name.setdefault(_one_name(entry.path), []).append(entry)
    root, others = _root(list(by_name))
    if others:
        notes.append(f"it holds {others + 1} copies of the project; that in the folder {root or '.'} was taken")
    taken: dict[str, bytes] = {}
    for path, most in TAKEN.items():
        names = [
            _one_name(root + path),
            _one_name(root + PurePosixPath(path).name),
        ]  # in its place, or all files in one folder
        alike = next((by_name[name] for name in names if name in by_name), [])
        try:
            contents = {entry.read(most) for entry in alike[: MOST_COPIES + 1]}
            if len(contents) > 1 or len(alike) > MOST_COPIES:
                raise ValueError(f"is there {len(alike)} times, in names that some systems take for one")
            if contents:
                taken[path] = contents.pop()
        except ValueError as error:
            notes.append(f"{path} was not taken: it {error}")
        except Exception as error:
            notes.append(f"{path} was not taken: it cannot be read ({error or type(error).__name__})")
    if not taken and any(entry.problem for entry in safe):
        raise ValueError(next(f"{entry.path} {entry.problem}" for entry in safe if entry.problem))
    return taken


def _is_plain(path: str) -> bool:
    """Whether a name stays in its folder on every system."""
    path = _one_name(path)
    parts = path.split("/")
    return not (path.startswith("/") or ":" in parts[0] or "\0" in path or ".." in parts)


def _one_name(path: str) -> str:
    """The same for all names that some system takes for one: capitals, accents in one or two characters, Windows' "\\"."""
    return unicodedata.normalize("NFC", path.replace("\\", "/")).lower()


def _root(paths: Sequence[str]) -> tuple[str, int]:
    """The folder of a submission that holds the most of the project's files, of several the outermost: "" or "folder/"; and
    how many others do so too. Args: paths: as `_one_name` gives them."""
    votes: dict[str, set[str]] = {}
    for path in paths:
        for known in map(_one_name, TAKEN):
            if path == known or path.endswith(f"/{known}"):
                votes.setdefault(path[: len(path) - len(known)], set()).add(known)
    ranks = {root: (-len(found), root.count("/")) for root, found in votes.items()}
    best = min(ranks, key=lambda root: (*ranks[root], root), default="")
    return best, sum(rank == ranks[best] for rank in ranks.values()) - 1 if ranks else 0


def _complete(submissions: list[Submission], path: Path) -> None:
    """Names, ids and times from a roster, found by id, else by name."""
    try:
        (header, *lines), _ = read_table(path)
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"the roster {path} cannot be read: {error}. Give a CSV with columns id and name.") from error
    rows = [dict(zip((key.strip().lower() for key in header), map(str.strip, line))) for line in lines]
    known = {value: row for row in rows for key in (*IDS, *NAMES) if (value := squeezed(row.get(key, "")))}
    for submission in submissions:
        row = known.get(squeezed(submission.id)) or known.get(squeezed(submission.name))
        if row is None:
            submission.notes.append("is not in the roster")
            continue
        submission.name = next((row[key] for key in NAMES if row.get(key)), submission.name)
        submission.submitted = next((row[key] for key in TIMES if row.get(key)), submission.submitted)


IDS = ("id", "student id", "identifier", "sis user id", "sis login id", "username", "email", "email address")
NAMES = ("name", "full name", "student")
TIMES = ("submitted", "last modified (submission)", "submission time")


def in_order(label: str) -> tuple[str, str]:
    """Where a name stands in a list of names: letters with accents and capitals beside those without."""
    letters = (letter for letter in unicodedata.normalize("NFKD", label) if not unicodedata.combining(letter))
    return "".join(letters).casefold(), label


def read_table(path: Path) -> tuple[list[list[str]], str]:
    """The rows of a CSV, header first, and what separates its fields: a comma, or what a spreadsheet takes where people
    write 1,5 for one and a half.

    Raises:
        OSError, ValueError, csv.Error: if it cannot be read, or is empty.
    """
    with open(path, newline="", encoding="utf-8-sig") as file:
        text = file.read()
    first = text.partition("\n")[0]
    separator = max(",;\t", key=lambda separator: len(next(csv.reader([first], delimiter=separator), ())))
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    if not rows:
        raise ValueError("it is empty")
    return rows, separator


def squeezed(text: str) -> str:
    """A name or id as platforms squeeze them into file names: "Doe, Jane" and "doejane" are one; "Participant 7" is 7."""
    return re.sub(r"\W", "", text.removeprefix("Participant ")).lower()
