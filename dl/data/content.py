"""What must be in a fetched file or folder for the readers to understand it. Each check lists every problem it finds.

Nothing is executed: pickles are read weights-only or not at all.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

from dl.files import numbered_files, read_lines, read_text

SPLITS = ("train", "val")


def hash_only(path: Path) -> list[str]:
    """For a file whose published SHA-256 covers everything, and which only its own package may read."""
    return []


def coco(path: Path) -> list[str]:
    """The captioning data file `coco.pt`."""
    from dl.data.coco import coco_problems

    data, problems = _load(path)
    return problems or coco_problems(data)


def state_dict(path: Path, shapes: dict[str, tuple[int, ...]]) -> list[str]:
    """A dictionary of tensors in which these have these shapes: enough to tell the model from every other."""
    data, problems = _load(path)
    if problems:
        return problems
    if not isinstance(data, dict):
        return [f"it holds a {type(data).__name__}, not a dictionary of tensors"]
    for name, shape in shapes.items():
        found = tuple(data[name].shape) if name in data else None
        if found is None:
            problems.append(f"it has no tensor {name}")
        elif found != shape:
            problems.append(f"{name} has shape {found}, not {shape}")
    return problems


def cifar10(folder: Path) -> list[str]:
    """The batches of CIFAR-10 by the MD5 that torchvision has for each; they are pickles and are not opened."""
    from torchvision.datasets import CIFAR10

    wanted = [*CIFAR10.train_list, *CIFAR10.test_list, (CIFAR10.meta["filename"], CIFAR10.meta["md5"])]
    problems = []
    for name, md5 in wanted:
        if not (folder / name).is_file():
            problems.append(f"{name} is missing")
        elif hashlib.md5((folder / name).read_bytes()).hexdigest() != md5:
            problems.append(f"{name} has another MD5 than published")
    return problems


def coco_captioning(folder: Path) -> list[str]:
    """The captions, features, vocabulary and picture addresses that `dl.coco_utils` reads."""
    features = [f"{split}2014_vgg16_fc7{kind}.h5" for split in SPLITS for kind in ("", "_pca")]
    addresses = [f"{split}2014_urls.txt" for split in SPLITS]
    names = ["coco2014_captions.h5", "coco2014_vocab.json", *features, *addresses]
    missing = [f"{name} is missing" for name in names if not (folder / name).is_file()]
    if missing:
        return missing
    try:
        return _captioning_problems(folder, features)
    except (OSError, ValueError, KeyError) as error:  # h5py, json: cut or foreign files, absent parts
        return [f"a file cannot be read: {error}"]


def _captioning_problems(folder: Path, features: list[str]) -> list[str]:
    import h5py

    problems = []
    vocab = json.loads(read_text(folder / "coco2014_vocab.json"))
    if vocab["word_to_idx"] != {word: index for index, word in enumerate(vocab["idx_to_word"])}:
        problems.append("coco2014_vocab.json: word_to_idx is not the inverse of idx_to_word")
    with h5py.File(folder / "coco2014_captions.h5") as file:
        for split in SPLITS:
            captions, pictures = file[f"{split}_captions"], file[f"{split}_image_idxs"]
            count = len(read_lines(folder / f"{split}2014_urls.txt"))
            if captions.ndim != 2 or len(captions) != len(pictures):
                problems.append(f"{split}: {captions.shape} captions and {pictures.shape} picture indices")
            elif len(pictures) and int(pictures[:].max()) >= count:
                problems.append(f"{split}: picture {int(pictures[:].max())} is named, but there are {count} addresses")
    for name in features:
        with h5py.File(folder / name) as file:
            if file["features"].ndim != 2:
                problems.append(f"{name}: features of shape {file['features'].shape}, not (pictures, values)")
    return problems


def davis(folder: Path) -> list[str]:
    """DAVIS 2017 at 480p: each listed video has as many frames as masks."""
    problems = []
    for split in SPLITS:
        listing = folder / "ImageSets" / "2017" / f"{split}.txt"
        if not listing.is_file():
            problems.append(f"ImageSets/2017/{split}.txt is missing")
            continue
        for video in filter(None, read_lines(listing)):
            frames = len(numbered_files(folder / "JPEGImages" / "480p" / video, ".jpg"))
            masks = len(numbered_files(folder / "Annotations" / "480p" / video, ".png"))
            if not frames or frames != masks:
                problems.append(f"{video} has {frames} frames and {masks} masks")
    return problems


def _load(path: Path) -> tuple[object, list[str]]:
    """What `torch.save` wrote, read weights-only; or why it cannot be read. The checksums inside are verified."""
    import torch

    is_zip = zipfile.is_zipfile(path)
    try:
        if is_zip:
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
            if damaged:
                return None, [f"its part {damaged} is damaged"]
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip or None), []
    except Exception as error:  # a cut zip, a foreign pickle, a text file: torch has a different exception for each
        return None, [f"torch cannot read it ({str(error).splitlines()[0] if str(error) else type(error).__name__})"]
