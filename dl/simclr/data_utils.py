"""Two random views of an image: the augmentation of SimCLR, and CIFAR-10 as a data set of pairs.

Chen et al. 2020 (arXiv:2002.05709), section 3 and appendix B.9: on CIFAR-10 a view is a random crop resized to 32 x 32,
mirrored half of the time, its colours changed at random. Blur is left out at this size.

With DL_DATA=sample, close-ups of the sample world in CIFAR-10's own format on disk take the place of the photographs.

Axes: images (3, 32, 32), channels red, green, blue.
Notebook: notebooks/Self_Supervised_Learning.ipynb
"""

from __future__ import annotations

import gc
import pickle
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms
from torchvision.datasets import CIFAR10
from torchvision.datasets.utils import check_integrity

from dl import settings
from dl.console import write_whole
from dl.data import locate
from dl.files import digest, user_path
from dl.guards import check_index, check_sizes, want_function, want_kind, want_tensors
from dl.guards import simclr as guards

CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_STD = (0.2023, 0.1994, 0.2010)
CHECKSUMS = "checksums.md5"  # of the sample's files: lines "MD5  name", as md5sum writes and checks them
REAL_REMEDY = 'Run "python -m dl data fetch --again cifar10", or leave DL_DATA=sample.'
NUMPY_NAMES = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}
OWN_REMEDY = "Copy these files there once more, or leave root out."
SAMPLE_REMEDY = "Delete this folder: the next call makes the sample images again."


def compute_train_transform(seed: int = 123456) -> transforms.Compose:
    """The random augmentation, from a PIL image to a normalised tensor.

    In this order, which fixes the stream of random numbers: a random crop resized to 32 x 32; mirrored with probability
    0.5; with probability 0.8 its colours jittered (brightness, contrast and saturation by up to 0.4, hue by up to 0.1);
    grey with probability 0.2. Then to a tensor, and normalised.

    **Seeds Python's `random` and torch's global generator**: weights and shuffles that are sampled after this call repeat
    from run to run.

    Args:
        seed: any integer that both generators take.
    Returns:
        transform: PIL image (RGB) -> float32 (3, 32, 32), in about [-2.43, 2.75].
    """
    guards.check_seed("compute_train_transform", seed)
    random.seed(seed)
    torch.manual_seed(seed)
    colour_jitter = transforms.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
    # EXERCISE compute_train_transform, about 6 lines. Hint: which torchvision transform makes each of the four random
    # steps, and which one makes another transform happen only now and then? Bind the list of the four to `steps`.
    # BEGIN SOLUTION compute_train_transform
    steps = [
        transforms.RandomResizedCrop(32),
        transforms.RandomHorizontalFlip(p=0.5),
        transforms.RandomApply([colour_jitter], p=0.8),
        transforms.RandomGrayscale(p=0.2),
    ]
    # END SOLUTION compute_train_transform
    return transforms.Compose([*steps, *compute_test_transform().transforms])


def compute_test_transform() -> transforms.Compose:
    """No augmentation: PIL image (RGB) -> normalised float32 (3, 32, 32)."""
    return transforms.Compose([transforms.ToTensor(), transforms.Normalize(CIFAR10_MEAN, CIFAR10_STD)])


class CIFAR10Pair(CIFAR10):
    """CIFAR-10 whose items are two views of one image."""

    def __getitem__(self, index: int) -> tuple[Tensor | None, Tensor | None, int]:
        """Two views and the label of one image.

        Returns:
            x_i, x_j: `transform` applied twice to the image, independently; both None without a transform.
            target: the label, through `target_transform` if there is one.
        """
        check_index("CIFAR10Pair", index, len(self))
        picture, target = Image.fromarray(self.data[index]), self.targets[index]
        x_i = x_j = None
        # EXERCISE CIFAR10Pair.__getitem__, about 3 lines. Hint: is one random view, used twice, a positive pair?
        # BEGIN SOLUTION CIFAR10Pair.__getitem__
        if self.transform is not None:
            x_i, x_j = self.transform(picture), self.transform(picture)
        # END SOLUTION CIFAR10Pair.__getitem__
        if self.target_transform is not None:
            target = self.target_transform(target)
        return x_i, x_j, target


class SampleFiles(CIFAR10):
    """Lets torchvision's class verify other files than CIFAR-10's by checksums of their own."""

    train_list: Any  # with None for a sum that is not recorded, which torchvision takes and its types leave out
    test_list: Any
    meta: Any

    def __init__(self, root: str | Path, train: bool, sums: dict[str, str], **options: Any) -> None:
        self.train_list, self.test_list = (
            [[name, sums[name]] for name, _ in files] for files in (self.train_list, self.test_list)
        )
        self.meta = {**self.meta, "md5": sums[self.meta["filename"]]}
        super().__init__(root, train, **options)


class SampleCIFAR10(SampleFiles):
    """Close-ups of the sample world in place of CIFAR-10's photographs."""


class SampleCIFAR10Pair(SampleFiles, CIFAR10Pair):
    """Close-ups of the sample world as pairs of views."""


def load_cifar10(
    train: bool, transform: Callable | None = None, pairs: bool = False, root: str | Path | None = None
) -> CIFAR10:
    """CIFAR-10's training or test images, or those of the sample world, as DL_DATA says.

    Args:
        train: training images (50,000; sample 10,000) or test images (10,000; sample 2,000). With DL_QUICK, the first
            1,000 or 400.
        transform: PIL image -> tensor.
        pairs: True for a `CIFAR10Pair`, with items (x_i, x_j, target); False for items (x, target).
        root: folder that holds `cifar-10-batches-py`, which is only read; None takes the fetched data, or the sample
            world's. With DL_DATA=sample it may hold any images in CIFAR-10's format.
    Raises:
        FileNotFoundError: if files are absent. ValueError: if files are damaged. All of them are named.
    """
    if transform is not None:
        want_function("load_cifar10", "a function of an image", transform=transform)
    own = None if root is None else user_path(root) / CIFAR10.base_folder
    if settings.data_mode() == settings.SAMPLE:
        folder = own or locate("cifar10")
        sums = own_checksums(own) if own else sample_checksums(folder)
        _check_files(folder, sums, OWN_REMEDY if own else SAMPLE_REMEDY)
        return _few((SampleCIFAR10Pair if pairs else SampleCIFAR10)(folder.parent, train, sums, transform=transform))
    folder = own or locate("cifar10")
    _check_files(folder, published_checksums(), REAL_REMEDY)
    return _few((CIFAR10Pair if pairs else CIFAR10)(folder.parent, train, transform))


def keep_to_own_objects(worker: int) -> None:
    """For `worker_init_fn` of a DataLoader: a forked worker does not tidy up what it has from its parent.

    Among that may be the workers of an earlier loader, which end with "can only test a child process" in the wrong process.
    """
    gc.freeze()


def published_checksums() -> dict[str, str]:
    """MD5 of each of CIFAR-10's eight files, from torchvision."""
    return {**dict(CIFAR10.train_list), **dict(CIFAR10.test_list), CIFAR10.meta["filename"]: CIFAR10.meta["md5"]}


def sample_checksums(folder: Path) -> dict[str, str]:
    """MD5 of each file of the sample's own folder, as recorded beside them; recorded when they are first used."""
    record = folder / CHECKSUMS
    if not record.is_file():
        _check_files(folder, dict.fromkeys(published_checksums()), SAMPLE_REMEDY)
        lines = "".join(f"{digest(folder / name, 'md5')}  {name}\n" for name in published_checksums())
        write_whole(record, lambda file: file.write_text(lines, encoding="utf-8"))
    return {name: md5 for md5, name in (line.split() for line in record.read_text(encoding="utf-8").splitlines())}


def own_checksums(folder: Path) -> dict[str, str]:
    """MD5 of each file of a folder that a user names, once its pickles are known to hold arrays and plain values alone.

    Raises:
        FileNotFoundError, ValueError: naming all files that are absent, or hold something else.
    """
    _check_files(folder, dict.fromkeys(published_checksums()), OWN_REMEDY)
    foreign = [name for name in published_checksums() if not _holds_arrays_alone(folder / name)]
    if foreign:
        raise ValueError(
            f"load_cifar10: in {folder}, these files are damaged, or hold more than arrays and plain values, which is not "
            f"read: {', '.join(foreign)}. {OWN_REMEDY}"
        )
    return {name: digest(folder / name, "md5") for name in published_checksums()}


def picture_tensors(dataset: CIFAR10, count: int | None = None) -> tuple[Tensor, Tensor]:
    """The first `count` raw images, uint8 (count, 3, 32, 32), and their labels, int64 (count,); None takes all."""
    want_kind("picture_tensors", "a data set of load_cifar10", CIFAR10, dataset=dataset)
    if count is not None:
        check_sizes("picture_tensors", count=count)
    pictures = torch.from_numpy(dataset.data[:count]).permute(0, 3, 1, 2).contiguous()
    return pictures, torch.tensor(dataset.targets[:count])


def normalise(pictures: Tensor) -> Tensor:
    """Images (…, 3, H, W), uint8 or float in [0, 1], less CIFAR-10's mean, over its standard deviation: float."""
    _check_pictures("normalise", pictures)
    if pictures.dtype == torch.uint8:
        pictures = pictures.float() / 255
    mean, std = (pictures.new_tensor(value)[:, None, None] for value in (CIFAR10_MEAN, CIFAR10_STD))
    return (pictures - mean) / std


def unnormalise(views: Tensor) -> Tensor:
    """Normalised images (…, 3, H, W) back in [0, 1], to be shown."""
    want_tensors("unnormalise", views=views)
    _check_pictures("unnormalise", views)
    mean, std = (views.new_tensor(value)[:, None, None] for value in (CIFAR10_MEAN, CIFAR10_STD))
    return (views * std + mean).clamp(0, 1)


def _check_pictures(function: str, pictures: Tensor) -> None:
    want_tensors(function, floating=False, pictures=pictures)
    if pictures.dtype != torch.uint8:
        want_tensors(function, pictures=pictures)
    if pictures.ndim < 3 or pictures.shape[-3] != 3:
        raise ValueError(
            f"{function}: wanted images (…, 3, H, W), got {tuple(pictures.shape)}. Move channels first with permute(2, 0, 1)."
        )


def _few(dataset: CIFAR10) -> CIFAR10:
    count = settings.shortened(len(dataset), 1000 if dataset.train else 400)
    dataset.data, dataset.targets = dataset.data[:count], dataset.targets[:count]
    return dataset


class _ArraysAlone(pickle.Unpickler):
    """Reads pickles that name nothing but numpy's arrays; no code of the file runs."""

    def find_class(self, module: str, name: str) -> object:
        if (module.replace("numpy._core", "numpy.core"), name) not in NUMPY_NAMES:
            raise pickle.UnpicklingError(f"{module}.{name}")
        return super().find_class(module, name)


def _holds_arrays_alone(file: Path) -> bool:
    try:
        with open(file, "rb") as opened:
            return isinstance(_ArraysAlone(opened, encoding="latin1").load(), dict)
    except Exception:  # a damaged pickle can raise anything
        return False


def _check_files(folder: Path, sums: Mapping[str, str | None], remedy: str) -> None:
    """Raise unless every file is there with its MD5; None stands for any."""
    missing = [name for name in sums if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(f"load_cifar10: {folder} lacks {', '.join(missing)}. {remedy}")
    damaged = [name for name, md5 in sums.items() if not check_integrity(folder / name, md5)]
    if damaged:
        raise ValueError(
            f"load_cifar10: in {folder}, these files do not have their recorded MD5: {', '.join(damaged)}. {remedy}"
        )
