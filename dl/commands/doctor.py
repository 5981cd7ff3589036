"""What is installed, present and missing on this machine, and what to do about it: `python -m dl doctor`.

Each examination yields findings as it goes. A finding that needs something and says how to get it ends the command with
exit code 2; the others only inform. Nothing of this project that needs torch is imported before torch was found.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import platform
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dl.console import SUCCESS, WRONG_USE, trainable

if TYPE_CHECKING:
    from dl.data import Entry

DISTRIBUTION = "dl-assignment"
INSTALL = 'pip install -c constraints.txt -e ".[dev]"'
PDF = 'pip install -c constraints.txt -e ".[pdf]"'
LOW_DISK = 1_000_000_000  # bytes: below this, notebooks and the sample world may not fit
EXTRAS = {  # of pyproject.toml: what they are for
    "pdf": "for the PDF of the submission",
    "video": "to read videos without OpenCV",
    "dev": "for tests and for building notebooks",
}
ALTERNATIVES = {"opencv-python": "opencv-python-headless"}
REASONS = {
    "setuptools": "import clip needs its pkg_resources, gone in 82, and torch needs 77.0.3",
    "typst": "0.15 breaks pandoc's equations",
}


@dataclass(frozen=True)
class Finding:
    """`says` is printed; a `remedy` follows where something is missing, and `needed` tells whether that is serious."""

    says: str
    remedy: str = ""
    needed: bool = False


def examine() -> int:
    """The verb `doctor`: print all findings, then what is missing; WRONG_USE if something needed is."""
    serious = []
    for title, examination in EXAMINATIONS:
        print(title)
        for finding in examination():
            print(f"  {finding.says}" + (f"\n    -> {finding.remedy}" if finding.remedy else ""), flush=True)
            if finding.needed:
                serious.append(finding)
        if not _torch_is_there():
            break  # the rest cannot be examined without it
    if not serious:
        print("Everything needed is here.")
        return SUCCESS
    print(f"{len(serious)} needed: {'; '.join(finding.remedy for finding in serious)}")
    return WRONG_USE


def requirements() -> list[str] | None:
    """The project's requirements as installed, those of its extras included; None if it is not installed."""
    try:
        return metadata.requires(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return None


def packages() -> Iterator[Finding]:
    """Python, and each required package with its version against the range that works."""
    yield Finding(f"Python {platform.python_version()} on {platform.platform()}, {sys.executable}")
    wanted = requirements()
    if wanted is None:
        yield Finding("this project is not installed in this Python", INSTALL, needed=True)
        return
    from packaging.requirements import Requirement

    for requirement in map(Requirement, wanted):
        marker = requirement.marker
        extra = next((name for name in ("", *EXTRAS) if marker is None or marker.evaluate({"extra": name})), None)
        if extra is None:
            continue  # for other systems
        name, versions, for_all = requirement.name, str(requirement.specifier), not extra
        purpose = f" ({EXTRAS[extra]})" if extra else ""
        reason = f": {REASONS[name]}" if name in REASONS else ""
        version = _version(name) or _version(ALTERNATIVES.get(name, ""))
        if version is None:
            yield Finding(f"{name} is missing{purpose}{reason}", f'pip install "{name}{versions}"', needed=for_all)
            continue
        if requirement.specifier.contains(version, prereleases=True):
            yield Finding(f"{name} {version}")
        else:
            yield Finding(f"{name} {version} is outside {versions}{reason}", f'pip install "{name}{versions}"', needed=for_all)


def imports() -> Iterator[Finding]:
    """Packages that can be installed and still not work, tried by importing them."""
    yield _import("torchvision", "pip install a torchvision that belongs to this torch: " + INSTALL)
    yield from video_readers()
    yield clip_package()
    if find_spec("pypandoc") and find_spec("typst"):
        yield _import("pypandoc", PDF, lambda pypandoc: f"pandoc {pypandoc.get_pandoc_version()}")
        yield _import("typst", PDF)
    else:
        yield Finding("the PDF of the submission cannot be made, the zip can", PDF)


def video_readers() -> Iterator[Finding]:
    """OpenCV, which writes videos, and reads them where there is no decord."""
    opencv = _import(
        "cv2",
        "install the system's libGL, libxcb and glib, or the build that needs none of them: "
        "pip uninstall -y opencv-python; pip install opencv-python-headless",
    )
    yield opencv
    if _version("opencv-python") and _version("opencv-python-headless"):
        yield Finding(
            "opencv-python and opencv-python-headless are both installed, over each other",
            "pip uninstall -y opencv-python opencv-python-headless; pip install opencv-python",
            needed=True,
        )
    from dl.video.reader import has_decord

    yield Finding("videos are read by " + ("decord" if has_decord() else "OpenCV (no decord here)"))


def clip_package() -> Finding:
    """The right one of several packages called clip."""
    remedy = 'pip uninstall -y clip; pip install "clip-anytorch>=2.6" "setuptools>=77.0.3,<82"'
    finding = _import("clip", remedy)
    if not finding.needed and not hasattr(sys.modules["clip"], "tokenize"):
        return Finding("the installed clip is another package of that name, not OpenAI's", remedy, needed=True)
    return finding


def modules() -> Iterator[Finding]:
    """Which files `dl` and `transformers` are, and who else claims the name."""
    from dl import settings

    root = settings.project_root()
    yield Finding(f"project {root}")
    in_notebooks = PathFinder.find_spec("transformers", [str(root)])
    here = find_spec("transformers")
    yield Finding(
        f"transformers resolves to {in_notebooks.origin if in_notebooks else 'nothing'} in the notebooks, "
        f"to {here.origin if here else 'nothing'} for a plain import in {Path.cwd()}"
    )
    others = [folder for folder in sys.path if Path(folder).resolve() != root]
    foreign = PathFinder.find_spec("transformers", others)
    if foreign is not None:
        yield Finding(
            f"another package of that name is at {foreign.origin}; notebooks use the project's, because their first "
            "cell puts it first: run that cell first"
        )


def device() -> Iterator[Finding]:
    """Where computations run."""
    import torch

    from dl import settings

    present = [name for name in settings.DEVICES if _has_device(name)]
    yield Finding(f"torch {torch.__version__}, {torch.get_num_threads()} threads; devices: {', '.join(present)}")
    waiting = [f"{name}={os.environ[name]}" for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT") if name in os.environ]
    yield Finding(f"how threads wait for each other: {', '.join(waiting)}")
    try:
        yield Finding(f"computations run on {settings.get_device()}")
    except (ValueError, RuntimeError) as error:
        yield Finding(str(error), "unset DL_DEVICE", needed=True)


def data_and_weights() -> Iterator[Finding]:
    """The sample world, the weights that the project ships, real data and weights."""
    from dl import settings, weights
    from dl.data import ENTRIES

    try:
        real = settings.data_mode() == settings.REAL
    except ValueError as error:
        yield Finding(str(error), "unset DL_DATA", needed=True)
        return
    network = ", DL_OFFLINE forbids the network" if settings.offline() else ""
    yield Finding(f"DL_DATA is {settings.data_mode()}{network}")
    yield mirror()
    made = settings.sample_home().is_dir()
    yield Finding(f"sample world: {'in ' + str(settings.sample_home()) if made else 'made on first use'}")
    for name in trainable():
        shipped = (weights.FILES / f"{name}.safetensors").is_file()
        remedy = "" if shipped else f"python -m dl train-weights {name}"
        yield Finding(f"sample weights {name}: {'here' if shipped else 'missing'}", remedy, bool(remedy) and not real)
    for entry in ENTRIES.values():
        yield real_entry(entry, real)


def mirror() -> Finding:
    """The server that is asked before the registry's own addresses."""
    from dl import settings

    try:
        address = settings.mirror()
    except ValueError as error:
        return Finding(str(error), "unset DL_MIRROR", needed=True)
    return Finding(f"DL_MIRROR is {address}, asked first" if address else "DL_MIRROR is not set: no server of the course")


def real_entry(entry: Entry, real: bool) -> Finding:
    """Whether an entry of the registry is there and, where DL_DATA=real will read it, what it was fetched as."""
    from dl.data.access import quick_problems

    title = f"real {entry.kind} {entry.name}"
    if not entry.present:
        needed = real and bool(entry.topic) and not entry.collection  # a collection is fetched, or drawn, by its reader
        remedy = f"python -m dl data fetch {entry.name}" if real else ""
        return Finding(f"{title}: not fetched ({entry.megabytes})", remedy, needed)
    problems = quick_problems(entry) if real else []
    if problems:
        return Finding(f"{title}: {entry.shown_location}, damaged: {'; '.join(problems)}", entry.command, bool(entry.topic))
    return Finding(f"{title}: {entry.shown_location}")


def disk() -> Iterator[Finding]:
    """Free space where results and sample world go, and where real data and weights go."""
    from dl import settings
    from dl.data import ENTRIES

    root = settings.project_root()
    wanted: dict[Path, float] = {root: LOW_DISK}
    with contextlib.suppress(ValueError):  # another examination says what is wrong with DL_DATA
        if settings.data_mode() == settings.REAL:
            missing = [entry.about * (2.5 if entry.archive else 1) for entry in ENTRIES.values() if not entry.present]
            wanted[settings.data_home().parent] = sum(missing)
    for folder, least in wanted.items():
        there = next(parent for parent in (folder, *folder.parents) if parent.exists())
        free = shutil.disk_usage(there).free
        says = f"{free / 1e9:.1f} GB free at {folder}"
        yield Finding(says) if free >= least else Finding(says, f"free at least {least / 1e9:.1f} GB there", needed=True)


EXAMINATIONS: tuple[tuple[str, Callable[[], Iterator[Finding]]], ...] = (
    ("Packages", packages),
    ("Imports", imports),
    ("Modules", modules),
    ("Device", device),
    ("Data and weights", data_and_weights),
    ("Disk", disk),
)


def _import(name: str, remedy: str, describe: Callable[[Any], str] | None = None) -> Finding:
    """Import a package, its warnings silenced; what its import raises is told in one line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = importlib.import_module(name)
        return Finding(describe(module) if describe else f"import {name}: works")
    except Exception as error:  # whatever a broken package raises on import
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return Finding(f"import {name} fails: {reason}", remedy, needed=True)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name) if name else None
    except metadata.PackageNotFoundError:
        return None


def _torch_is_there() -> bool:
    return find_spec("torch") is not None


def _has_device(name: str) -> bool:
    from dl import settings

    try:
        settings.get_device(name)
    except RuntimeError:
        return False
    return True
