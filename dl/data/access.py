"""The way in for readers: where an entry is, and in moments whether it is what it should be.

With a manifest, readers compare with it. Without one (put there by hand, or fetched before there were manifests), they
compare with what was published and look at the content; what they find good is recorded.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from dl import settings
from dl.data import content, manifest
from dl.data.registry import ENTRIES, Entry
from dl.files import digest

SAMPLE_INSTEAD = "or leave DL_DATA=sample"


def locate(name: str) -> Path:
    """Path of a data set: the sample world's with DL_DATA=sample, made if need be; else the fetched one, as `require`."""
    if settings.data_mode() == settings.SAMPLE:
        from dl.world.export import sample_path

        return sample_path(ENTRIES[name].path)
    return require(name)


def require(name: str) -> Path:
    """Path of a fetched entry, quickly checked.

    Raises:
        FileNotFoundError: if it has not been fetched; the message names the command and the size.
        ValueError: if it is not what was fetched or published; the message names the command that repairs it.
    """
    entry = ENTRIES[name]
    if not entry.present:
        raise FileNotFoundError(
            f'require: {entry.shown_location} not found. Run "python -m dl data fetch {name}" ({entry.megabytes}), '
            f"{SAMPLE_INSTEAD}."
        )
    problems = quick_problems(entry)
    if problems:
        raise damaged("require", entry, problems)
    return entry.location


def damaged(function: str, entry: Entry, problems: list[str]) -> ValueError:
    """The error of a reader that found an entry other than it should be."""
    return ValueError(
        f"{function}: {entry.shown_location} is not the {entry.name} that was published or fetched: "
        f'{"; ".join(problems)}. Run "{entry.command}", {SAMPLE_INSTEAD}.'
    )


def read_weights(name: str) -> dict[str, Tensor]:
    """State dict of a fetched entry of weights, on the CPU: every tensor of its network, and nothing else.

    Raises:
        FileNotFoundError, ValueError: as `require`, and if the tensors are not those of the network.
    """
    path = require(name)
    data, problems = content.load_saved(path)
    problems = problems or content.tensor_problems(data, name)
    if problems:
        raise damaged("read_weights", ENTRIES[name], problems)
    assert isinstance(data, dict)
    return data


def quick_problems(entry: Entry) -> list[str]:
    """What a reader can see of an entry that is present: milliseconds with a manifest, seconds without."""
    try:
        recorded = manifest.differences(entry)
        if recorded is not None:
            return recorded
        problems = as_published(entry) or entry.problems_in(entry.location)
        if not problems and not entry.is_folder:  # a folder has not been read to its end
            manifest.record(entry)
        return problems
    except OSError as error:
        return [unreadable(error)]


def file_problems(entry: Entry, file: Path) -> list[str]:
    """Size and hash of a download against what was published."""
    size = file.stat().st_size
    if entry.size not in (None, size):
        return [f"it has {size:,} bytes, not {entry.size:,}"]
    if entry.digest:
        kind, wanted = entry.digest.split(":")
        got = digest(file, kind)
        if not got.startswith(wanted):
            return [f"its {kind} begins with {got[:16]}, not {wanted[:16]}"]
    return []


def unreadable(error: OSError) -> str:
    return f"{error.filename or 'it'} cannot be read ({error.strerror or error})"


def as_published(entry: Entry) -> list[str]:
    """Nothing where the content check decides: for folders, and for a converted file."""
    return [] if entry.is_folder or is_converted(entry, entry.location) else file_problems(entry, entry.location)


def is_converted(entry: Entry, file: Path) -> bool:
    """Whether a file may be the entry saved anew: it has another size, where it may have one.

    A file of the published size has to have the published hash: else it is damaged.
    """
    return entry.convertible and file.stat().st_size != entry.size
