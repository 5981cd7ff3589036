"""Whether an entry is what it should be, to the byte and to the last file: for `data verify` and `data fetch`.

What a manifest vouches for is hashed; what has none is read as the readers read it, which may take a minute.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from dl.console import progress
from dl.data import examples, manifest
from dl.data.access import as_published, unreadable
from dl.data.content import FEATURES, picture_problem, shortened
from dl.data.davis import read_moments, video_names
from dl.data.registry import Entry
from dl.files import read_lines

ROWS = 4096  # of features read at once


def problems_of(entry: Entry) -> list[str]:
    """All that is wrong with a fetched entry; size and hash of an archive cannot be told from the folder it became."""
    if not entry.present:
        return [f"it is not there; fetch it with: python -m dl data fetch {entry.name}"]
    try:
        recorded = manifest.differences(entry, thorough=True) if not entry.collection else None
        problems = recorded or as_published(entry) or entry.problems_in(entry.location)
        if not problems and recorded is None:  # what was read once and is the same, is good
            problems = read_all(entry, entry.location)
        return problems
    except OSError as error:
        return [unreadable(error)]


def read_all(entry: Entry, path: Path) -> list[str]:
    """What is wrong with any file of a folder; nothing for an entry whose `problems` has seen all of it."""
    return READERS[entry.name](path) if entry.is_folder and entry.name in READERS else []


def coco_features(folder: Path) -> list[str]:
    """The features to their end: finite numbers, a row for every picture."""
    import h5py

    problems = []
    for name in progress(iterable=FEATURES, desc="coco_captioning: reading", unit="file"):
        pictures = len(read_lines(folder / f"{name.split('_')[0]}_urls.txt"))
        try:
            with h5py.File(folder / name) as file:
                features = file["features"]
                if features.ndim != 2 or len(features) != pictures or features.dtype.kind != "f":
                    problems.append(f"{name} has {features.dtype} {features.shape}, not a row for each of {pictures} pictures")
                elif not all(np.isfinite(features[row : row + ROWS]).all() for row in range(0, pictures, ROWS)):
                    problems.append(f"{name} holds numbers that are not finite")
        except (OSError, KeyError, AttributeError) as error:  # h5py: cut or foreign, another content
            problems.append(f"{name} cannot be read ({error})")
    return problems


def davis_pictures(folder: Path) -> list[str]:
    """Every picture can be decoded, and the reader reads every video that it offers."""
    problems = undecodable(folder)
    for name in progress(iterable=video_names(folder), desc="davis: reading", unit="video"):
        try:
            for _ in read_moments(folder, name):
                pass
        except ValueError as error:
            problems.append(str(error).removeprefix("DavisDataset: ").split(". ")[0])
    return shortened(list(dict.fromkeys(problems)))


def undecodable(folder: Path) -> list[str]:
    """JPEG and PNG files below a folder that cannot be decoded, or not to their end."""
    files = [file for file in sorted(folder.rglob("*")) if file.suffix in (".jpg", ".png") and not file.name.startswith(".")]
    with ThreadPoolExecutor() as pool:
        found = progress(iterable=pool.map(picture_problem, files), total=len(files), desc="decoding", unit="picture")
        problems = [f"{file.relative_to(folder).as_posix()} {problem}" for file, problem in zip(files, found) if problem]
    return shortened(problems)


READERS = {"coco_captioning": coco_features, "davis": davis_pictures, "coco_examples": examples.missing}
