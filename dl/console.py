"""What the commands share: the error that means wrong use, progress lines, result files."""

from __future__ import annotations

import functools
import json
import math
import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

SUCCESS, FAILURE, WRONG_USE = 0, 1, 2  # exit codes: done; done, something in it failed; not done, the message says why

BAR = re.compile(r"\d+%\|.*\||\d+(it|s) \[\d\d:\d\d")  # what tqdm draws, with and without a known total

WEIGHTS = ("regnet", "transformer", "simclr", "clip", "dino")  # those the project trains, in the order of the notebooks


class UsageError(Exception):
    """Wrong use or a missing prerequisite: the command prints the message and ends with exit code 2."""


class NotWritten(OSError, UsageError):  # noqa: N818
    """A file or folder could not be written, and what was there before is as it was; `strerror` is the system's reason."""

    def __str__(self) -> str:
        return (
            f"{self.filename} cannot be written: {self.strerror}. Make room there, or choose a folder that you may write to; "
            "what was there before is unchanged."
        )


def trainable() -> list[str]:
    """Weights whose training script, `dl/training/NAME.py`, this copy of the project has."""
    return [name for name in WEIGHTS if (Path(__file__).parent / "training" / f"{name}.py").is_file()]


def progress(shown: bool = True, **options):
    """A tqdm bar on a terminal, silent otherwise: in a log, the command's plain lines take its place."""
    from tqdm import tqdm

    return tqdm(disable=not (shown and sys.stderr.isatty()), dynamic_ncols=True, leave=False, **options)


def say(line: str) -> None:
    """Print a line above a running progress bar, at once."""
    from tqdm import tqdm

    tqdm.write(line)
    sys.stdout.flush()


@functools.cache
def say_once(line: str) -> None:
    """Print a line the first time only that this process has it to say."""
    say(line)


def say_unless_terminal(line: str) -> None:
    """Print a line of progress where there is no terminal and so no bar."""
    if not sys.stderr.isatty():
        say(line)


def after_returns(line: str) -> str:
    """A line as a terminal shows it in the end: without what a carriage return overwrote."""
    return line.rstrip("\r").rsplit("\r", 1)[-1]


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file or folder of the same name in a temporary folder beside `path`, then move it to its place.

    What was at `path` stays until then, whatever happens to the process.

    Raises:
        NotWritten: if the disk is full, or does not take it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}-", suffix=".part", dir=path.parent) as temporary:
            made = Path(temporary) / path.name
            write(made)
            if made.is_dir() and path.exists():
                path.rename(Path(temporary) / "old")  # nothing is renamed onto a folder
            os.replace(made, path)
    except OSError as error:
        elsewhere = error.filename is not None and not Path(error.filename).is_relative_to(path.parent)
        if error.errno is None or elsewhere or isinstance(error, NotWritten):  # something else that `write` does went wrong
            raise
        raise NotWritten(error.errno, error.strerror, str(path)) from error


def write_json(path: str | Path, report: dict | list) -> None:
    """Write the result of a command for machines."""
    write_whole(Path(path), lambda file: file.write_text(to_json(report), encoding="utf-8"))


def to_json(report: dict | list, ascii_only: bool = True) -> str:
    """JSON that every reader takes: numbers that are not finite, which JSON does not have, become null."""
    return json.dumps(_finite(report), indent=1, ensure_ascii=ascii_only, allow_nan=False) + "\n"


def _finite(value):
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
