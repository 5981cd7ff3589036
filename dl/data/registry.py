"""The one list of real data sets and pretrained weights: addresses, sizes and hashes where published, licences, places.

A size or hash of None was not published (or not seen by us); then only the content is checked. `datasets/README.md`
shows the same list to people; a test keeps the two equal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dl import settings
from dl.data import content

DATA, WEIGHTS = "data", "weights"
MB = 1_000_000


@dataclass(frozen=True)
class Entry:
    """A file, or a folder unpacked from an archive.

    Args:
        name: as in `data fetch NAME`. kind: DATA or WEIGHTS.
        addresses: tried in order.
        path: of the file or folder, below `data_home()` or `weights_home()`.
        about: bytes to download, near enough for a message.
        licence: what is known of the terms of use.
        problems: takes the path of the file or folder and lists what is wrong with its content; runs no code from it.
        size: exact bytes of the download; None if not published.
        digest: "sha256:…" or "md5:…" of the download, as many leading hex digits as were published; None if not.
        archive: the download is a zip or tar file; `path` is the folder inside it, or the folder of it all.
    """

    name: str
    kind: str
    addresses: tuple[str, ...]
    path: str
    about: int
    licence: str
    problems: Callable[[Path], list[str]]
    size: int | None = None
    digest: str | None = None
    archive: bool = False

    @property
    def location(self) -> Path:
        """Where the entry is kept, whether or not it is there."""
        return (settings.data_home() if self.kind == DATA else settings.weights_home()) / self.path

    @property
    def present(self) -> bool:
        return self.location.is_dir() if self.archive else self.location.is_file()

    @property
    def megabytes(self) -> str:
        """The size of the download in words; "about" where it was not published exactly."""
        return ("" if self.size else "about ") + f"{(self.size or self.about) / MB:.0f} MB"

    @property
    def shown_location(self) -> str:
        """The location as messages show it: relative to the project where it lies in it."""
        root = settings.project_root()
        return (self.location.relative_to(root) if self.location.is_relative_to(root) else self.location).as_posix()


_ENTRIES = (
    Entry(
        name="coco",
        kind=DATA,
        path="coco.pt",
        size=396_583_632,
        about=397 * MB,
        addresses=(
            "https://web.eecs.umich.edu/~justincj/teaching/eecs498/coco.pt",
            "http://web.eecs.umich.edu/~justincj/teaching/eecs498/coco.pt",
        ),
        licence="COCO captions CC BY 4.0; pictures under their owners' Flickr terms",
        problems=content.coco,
    ),
    Entry(
        name="regnet",
        kind=WEIGHTS,
        path="regnet_x_400mf-adf1edd5.pth",
        about=21 * MB,
        digest="sha256:adf1edd5",
        addresses=("https://download.pytorch.org/models/regnet_x_400mf-adf1edd5.pth",),
        licence="BSD-3-Clause (torchvision); trained on ImageNet, for non-commercial research",
        problems=partial(content.state_dict, shapes={"stem.0.weight": (32, 3, 3, 3), "fc.weight": (1000, 400)}),
    ),
    Entry(
        name="cifar10",
        kind=DATA,
        path="cifar-10-batches-py",
        about=170 * MB,
        archive=True,
        digest="md5:c58f30108f718f92721af3b95e74349a",
        addresses=("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
        licence="none stated; cite Krizhevsky 2009",
        problems=content.cifar10,
    ),
    Entry(
        name="simclr",
        kind=WEIGHTS,
        path="pretrained_simclr_model.pth",
        about=99 * MB,
        addresses=(
            "http://downloads.cs.stanford.edu/downloads/cs231n/pretrained_simclr_model.pth",
            "http://cs231n.stanford.edu/2025/storage/a3/pretrained_simclr_model.pth",
        ),
        licence="none stated (course CS231n); trained on CIFAR-10",
        problems=partial(content.state_dict, shapes={"f.0.weight": (64, 3, 3, 3), "g.3.weight": (128, 512)}),
    ),
    Entry(
        name="coco_captioning",
        kind=DATA,
        path="coco_captioning",
        about=1000 * MB,
        archive=True,
        addresses=("https://cs231n.stanford.edu/coco_captioning.zip", "http://cs231n.stanford.edu/coco_captioning.zip"),
        licence="COCO captions CC BY 4.0; pictures, by address, under their owners' Flickr terms",
        problems=content.coco_captioning,
    ),
    Entry(
        name="davis",
        kind=DATA,
        path="DAVIS",
        about=800 * MB,
        archive=True,
        addresses=("https://data.vision.ee.ethz.ch/csergi/share/davis/DAVIS-2017-trainval-480p.zip",),
        licence="rights with the authors, non-commercial scholarly use; cite Pont-Tuset et al. 2017",
        problems=content.davis,
    ),
    Entry(
        name="clip",
        kind=WEIGHTS,
        path="ViT-B-32.pt",
        about=338 * MB,
        digest="sha256:40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
        addresses=(
            "https://openaipublic.azureedge.net/clip/models/"
            "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af/ViT-B-32.pt",
        ),
        licence="MIT",
        problems=content.hash_only,
    ),
    Entry(
        name="dino_vits8",
        kind=WEIGHTS,
        path="dino_deitsmall8_pretrain.pth",
        about=83 * MB,
        addresses=("https://dl.fbaipublicfiles.com/dino/dino_deitsmall8_pretrain/dino_deitsmall8_pretrain.pth",),
        licence="Apache-2.0",
        problems=partial(content.state_dict, shapes={"pos_embed": (1, 785, 384), "patch_embed.proj.weight": (384, 3, 8, 8)}),
    ),
    Entry(
        name="dino_vits16",
        kind=WEIGHTS,
        path="dino_deitsmall16_pretrain.pth",
        about=83 * MB,
        addresses=("https://dl.fbaipublicfiles.com/dino/dino_deitsmall16_pretrain/dino_deitsmall16_pretrain.pth",),
        licence="Apache-2.0",
        problems=partial(content.state_dict, shapes={"pos_embed": (1, 197, 384), "patch_embed.proj.weight": (384, 3, 16, 16)}),
    ),
)
ENTRIES = {entry.name: entry for entry in _ENTRIES}


def require(name: str) -> Path:
    """Path of a fetched entry.

    Raises:
        FileNotFoundError: if it has not been fetched; the message names the command and the size.
    """
    entry = ENTRIES[name]
    if not entry.present:
        raise FileNotFoundError(
            f'require: {entry.shown_location} not found. Run "python -m dl data fetch {name}" ({entry.megabytes}), '
            "or leave DL_DATA=sample."
        )
    return entry.location
