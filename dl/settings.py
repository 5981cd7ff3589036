"""Where things are and which data are used: the only module that reads the environment.

`DL_DATA` chooses the embedded sample world or the real data sets, `DL_DEVICE` the device,
`DL_HOME` where real data and weights are kept, `DL_MIRROR` the server that is asked first, `DL_OFFLINE=1` forbids the
network, `DL_QUICK=1` shortens trainings, `DL_UNATTENDED=1` says that nobody can be asked.

A practice copy's own `dl/__init__.py` loads this before everything else, so nothing heavy is imported at the top.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dl.console import UsageError, write_json

if TYPE_CHECKING:
    import torch

SAMPLE, REAL = "sample", "real"
DEVICES = ("cuda", "mps", "cpu")
PRACTICE_NOTE = "practice.json"  # marks a practice copy


def project_root() -> Path:
    """Folder that holds `a2_helper.py`: the parent of this package, else the nearest above the working folder."""
    package_parent = Path(__file__).resolve().parent.parent
    for folder in (package_parent, Path.cwd(), *Path.cwd().parents):
        if (folder / "a2_helper.py").is_file():
            return folder
    raise FileNotFoundError(
        f"project_root: no a2_helper.py in {package_parent}, nor in {Path.cwd()} or a folder above it. "
        "Start Python inside the project folder."
    )


def work_root() -> Path:
    """Folder in which the reader works: the practice copy around the working folder, else the project."""
    return practice_copy(Path.cwd()) or project_root()


def other_copy() -> Path | None:
    """The copy of the project that the working folder belongs to, if that is not the one whose code Python has loaded."""
    root = project_root()
    here = next((folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "a2_helper.py").is_file()), None)
    return here if here is not None and here.resolve() != root.resolve() else None


def shown(path: Path) -> str:
    """A path as messages show it: relative to the project where it lies in it."""
    root = project_root()
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def practice_copy(folder: Path) -> Path | None:
    """The practice copy that a folder is, or lies in."""
    folder = folder.resolve()
    return next((place for place in (folder, *folder.parents) if (place / PRACTICE_NOTE).is_file()), None)


def data_mode() -> str:
    """`"sample"` (default) or `"real"`, from `DL_DATA`; a ValueError names any other value."""
    mode = os.environ.get("DL_DATA", "").strip().lower() or SAMPLE
    if mode not in (SAMPLE, REAL):
        raise ValueError(
            f"data_mode: DL_DATA is {mode!r}; it must be 'sample' or 'real'. Unset it to use the embedded sample world."
        )
    return mode


def data_home() -> Path:
    """Folder of the real data sets: `$DL_HOME/datasets`, by default the project's `datasets/`.

    A relative DL_HOME is one below the project, whatever the working folder is.
    """
    return _home() / "datasets"


def weights_home() -> Path:
    """Folder of the real pretrained weights: `$DL_HOME/pretrained_model`, by default the project's."""
    return _home() / "pretrained_model"


def sample_home() -> Path:
    """Cache folder of the sample world, made on first use: `datasets/sample/` of the project."""
    return project_root() / "datasets" / "sample"


def offline() -> bool:
    """True when `DL_OFFLINE` is set to anything but 0 or nothing: the network is never touched then."""
    return _is_set("DL_OFFLINE")


def quick() -> bool:
    """True when `DL_QUICK` is set to anything but 0 or nothing: few steps and coarse figures, to see that everything runs."""
    return _is_set("DL_QUICK")


def unattended() -> bool:
    """True when `DL_UNATTENDED` is set to anything but 0 or nothing: nobody is there whom a notebook could ask."""
    return _is_set("DL_UNATTENDED")


def shortened(steps: int, few: int) -> int:
    """`steps`, or at most `few` of them when `DL_QUICK` is set: epochs, or batches of an epoch."""
    return min(steps, few) if quick() else steps


def mirror() -> str | None:
    """Address of a server that keeps the files of the registry, `$DL_MIRROR/FILENAME`; None if there is none.

    Raises:
        ValueError: if `DL_MIRROR` is no http or https address.
    """
    address = os.environ.get("DL_MIRROR", "").strip().rstrip("/")
    if address and not address.startswith(("http://", "https://")):
        raise ValueError(
            f"mirror: DL_MIRROR is {address!r}; it must begin with http:// or https://. Correct it or unset it; "
            'for files on a disk there is "python -m dl data adopt PATH".'
        )
    return address or None


def get_device(name: str | None = None) -> torch.device:
    """The device to compute on.

    Args:
        name: "cuda", "mps" or "cpu"; None reads `DL_DEVICE`, and if that is unset takes the first
            present of CUDA, MPS, CPU.
    Raises:
        ValueError: for another name. RuntimeError: if this machine has no such device.
    """
    import torch

    if name is not None and not isinstance(name, str):
        raise TypeError(f"get_device: wanted a device's name, got {name!r:.60}. Pass one of {', '.join(DEVICES)}, or None.")
    name = (name or os.environ.get("DL_DEVICE", "")).strip().lower()
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if not name:
        name = next(device for device in DEVICES if present[device])
    if name not in present:
        raise ValueError(f"get_device: got {name!r}; it must be one of {', '.join(DEVICES)}. Correct or unset DL_DEVICE.")
    if not present[name]:
        raise RuntimeError(
            f"get_device: {name!r} was asked for, but torch {torch.__version__} finds none on this machine. "
            "Unset DL_DEVICE, or install a build of torch for that device."
        )
    return torch.device(name)


def float_kwargs(device: torch.device) -> dict:
    """`{"dtype": float32, "device": device}`, the notebooks' `to_float`."""
    import torch

    return {"dtype": torch.float32, "device": device}


def double_kwargs(device: torch.device) -> dict:
    """`{"dtype": float64, "device": device}`, the notebooks' `to_double`; MPS has no float64, so the CPU there."""
    import torch

    return {"dtype": torch.float64, "device": torch.device("cpu") if device.type == "mps" else device}


# --- The practice copy of `python -m dl practise`: what a learner edits and writes; all else stays in the course ---


def solutions_shown(copy: Path | None) -> dict[str, str]:
    """Exercises whose solutions were shown in a copy, with the day; none without a copy.

    Raises:
        UsageError: if practice.json cannot be read.
    """
    return dict(_practice_note(copy)["shown"]) if copy else {}


def note_practice(copy: Path, course: Path, shown: Mapping[str, str]) -> None:
    """Write practice.json: the folder of the course, and the solutions that were shown."""
    write_json(copy / PRACTICE_NOTE, {"course": str(course), "shown": dict(shown)})


def use_lessons(copy: Path) -> None:
    """Make Python import the lessons inside `dl` from the copy, and the rest of `dl` from the installation."""
    packages = [path for path in (copy / "dl", *sorted((copy / "dl").iterdir())) if path.is_dir() and path.name[0] not in "_."]
    for folder in packages:
        places = importlib.import_module(folder.relative_to(copy).as_posix().replace("/", ".")).__path__
        places[:] = [str(folder), *(place for place in places if place != str(folder))]


# --- Reading ---


def _practice_note(copy: Path) -> dict:
    try:
        note = json.loads((copy / PRACTICE_NOTE).read_text(encoding="utf-8"))
        return {"course": str(note["course"]), "shown": dict(note["shown"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{copy / PRACTICE_NOTE} cannot be read ({error or type(error).__name__}), and with it where the course is. "
            f"Delete it, then run python -m dl practise {copy} in the course's folder; your work stays as it is."
        ) from error


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "").strip() not in ("", "0")


def _home() -> Path:
    """`DL_HOME`, from the project's root where it is relative, so that notebooks and commands mean the same folder."""
    home = os.environ.get("DL_HOME", "").strip()
    return project_root() / Path(home).expanduser() if home else project_root()
