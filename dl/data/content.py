"""What must be in a fetched file or folder for the readers to understand it. Each check lists every problem it finds.

Nothing is executed: pickles are read weights-only or not at all. These checks take seconds, and also serve readers where
no manifest vouches for a file; `verify` reads every file of a folder.
"""

from __future__ import annotations

import json
import pickle
import warnings
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dl.data.coco import SPLITS, captioning_problems, coco_problems
from dl.data.davis import video_problems
from dl.data.download import is_web_page
from dl.files import digest, read_lines

TENSORS = Path(__file__).with_name("networks.json")
FEATURES = tuple(f"{split}2014_vgg16_fc7{width}.h5" for split in SPLITS for width in ("", "_pca"))
ASIDE = ("total_ops", "total_params", "input_resolution", "context_length", "vocab_size")  # thop's; CLIP's sizes
SHOWN = 5  # problems that a message lists before it counts the rest


def hash_only(path: Path) -> list[str]:
    """For a file whose published SHA-256 covers everything."""
    return []


def load_saved(path: Path) -> tuple[Any, list[str]]:
    """What `torch.save` wrote, read weights-only; or why it cannot be read. The checksums inside are verified."""
    try:
        with open(path, "rb") as file:
            if is_web_page(file.read(1024)):
                return None, ["it is a web page, saved in the file's place"]
        if is_torchscript(path):
            return None, ["it is a TorchScript archive, which holds code and is not opened without its published hash"]
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
            if damaged:
                return None, [f"its part {damaged} is damaged"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a foreign pickle torch says more than whoever put it there can use
            return torch.load(path, map_location="cpu", weights_only=True), []
    except pickle.UnpicklingError:  # torch's own words advise to read it all the same
        return None, ["it is cut or damaged, or holds more than tensors (objects, code), which is not read"]
    except Exception as error:  # a cut zip, a text file: torch has a different exception for each
        return None, [f"it is cut or damaged, or no file of tensors ({type(error).__name__})"]


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive, which holds code beside its tensors."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


# --- Weights ---


def weights(path: Path, network: str) -> list[str]:
    """A dictionary of tensors: exactly those of the network, each with its shape and dtype."""
    data, problems = load_saved(path)
    return problems or tensor_problems(data, network)


def published(path: Path, wanted: str | None) -> bool:
    """Whether a file has the published hash, "kind:hex" as in an entry; False where none was published."""
    kind, _, digits = (wanted or "").partition(":")
    return bool(digits) and digest(path, kind).startswith(digits)


def tensor_problems(data: object, network: str) -> list[str]:
    """How a state dict differs from a network's; counters of profilers, and of batch normalisation, may come or go."""
    if not isinstance(data, dict) or not all(isinstance(value, Tensor) for value in data.values()):
        return [f"it holds a {type(data).__name__} of other things, not a dictionary of tensors"]
    wanted = network_tensors(network)
    problems = []
    for name, tensor in wanted.items():
        if name not in data:
            if not name.endswith("num_batches_tracked"):
                problems.append(f"it has no tensor {name}")
        elif data[name].shape != tensor.shape:
            problems.append(f"{name} has shape {tuple(data[name].shape)}, not {tuple(tensor.shape)}")
        elif not _dtype_fits(data[name].dtype, tensor.dtype, network):
            problems.append(f"{name} is {data[name].dtype}, not {tensor.dtype}")
        elif tensor.is_floating_point() and not data[name].isfinite().all():
            problems.append(f"{name} holds numbers that are not finite")
    unknown = [name for name in data if name not in wanted and name.split(".")[-1] not in ASIDE]
    return shortened(problems + [f"its tensor {name} is none of the network's" for name in unknown])


@cache
def network_tensors(network: str) -> dict[str, Tensor]:
    """Name, shape and dtype of every tensor of a network, as tensors without numbers (`dl.training.networks` wrote them)."""
    kept = json.loads(TENSORS.read_text(encoding="utf-8"))[network]
    return {name: torch.empty(shape, dtype=getattr(torch, dtype), device="meta") for name, (dtype, shape) in kept.items()}


def _dtype_fits(got: torch.dtype, wanted: torch.dtype, network: str) -> bool:
    """CLIP is kept in half precision, wholly or in part, and loads from either."""
    return got == wanted or (network == "clip" and {got, wanted} == {torch.float16, torch.float32})


# --- Data ---


def coco(path: Path) -> list[str]:
    """The captioning data file `coco.pt`."""
    data, problems = load_saved(path)
    return problems or coco_problems(data)


def cifar10(folder: Path) -> list[str]:
    """The batches of CIFAR-10 by the MD5 that torchvision has for each; they are pickles and are not opened."""
    from torchvision.datasets import CIFAR10

    wanted = [*CIFAR10.train_list, *CIFAR10.test_list, (CIFAR10.meta["filename"], CIFAR10.meta["md5"])]
    problems = []
    for name, md5 in wanted:
        if not (folder / name).is_file():
            problems.append(f"{name} is missing")
        elif digest(folder / name, "md5") != md5:
            problems.append(f"{name} has another MD5 than published")
    return problems


def coco_captioning(folder: Path) -> list[str]:
    """The captions, vocabulary and image addresses, read by `load_coco_data` itself; the features are there."""
    missing = [f"{name} is missing" for name in FEATURES if not (folder / name).is_file()]
    return missing or captioning_problems(folder)


def examples(folder: Path) -> list[str]:
    """Kept images that cannot be decoded."""
    found = [file for file in sorted(folder.iterdir()) if not file.name.startswith(".") and file.suffix == ""]
    return [f"{file.name} {problem}" for file in found if (problem := picture_problem(file))]


def davis(folder: Path) -> list[str]:
    """DAVIS 2017 at 480p: each listed video has a mask for each frame."""
    problems = []
    for split in SPLITS:
        listing = folder / "ImageSets" / "2017" / f"{split}.txt"
        if not listing.is_file():
            problems.append(f"ImageSets/2017/{split}.txt is missing")
            continue
        names = [name for name in read_lines(listing) if name]
        problems += [problem for name in names if (problem := video_problems(folder, name))]
    return shortened(problems)


def picture_problem(file: Path) -> str:
    """Why an image cannot be decoded, "" if it can."""
    from PIL import Image

    try:
        with Image.open(file) as picture:
            picture.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return f"cannot be read ({error})"
    return ""


def shortened(problems: list[str]) -> list[str]:
    more = len(problems) - SHOWN
    return [*problems[:SHOWN], f"and {more} more"] if more > 0 else problems
