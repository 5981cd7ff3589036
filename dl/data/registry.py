"""The one list of real data sets and pretrained weights: addresses, sizes and hashes where published, licences, places.

A size or hash of None was not published (or not seen by us); then only the content is checked. `datasets/README.md`
shows the same list to people; a test keeps the two equal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from dl import settings
from dl.data import content

DATA, WEIGHTS = "data", "weights"
MB = 1_000_000
TOPICS = {  # the notebooks whose name stands for the entries that it reads
    "captioning": "rnn_lstm_captioning",
    "simclr": "Self_Supervised_Learning",
    "clip_dino": "CLIP_DINO",
}


@dataclass(frozen=True)
class Entry:
    """A file, a folder unpacked from an archive, or a collection of files each with its own address.

    Args:
        name: as in `data fetch NAME`. kind: DATA or WEIGHTS. topic: whose notebook reads it, one of TOPICS, or "".
        addresses: tried in order, after DL_MIRROR.
        path: of the file or folder, below `data_home()` or `weights_home()`.
        about: bytes to download, near enough for a message.
        licence: what is known of the terms of use.
        problems: takes the path of the file or folder and lists, within seconds, what is wrong with its content; runs no
            code from it.
        size: exact bytes of the download; None if not published.
        digest: "sha256:…" or "md5:…" of the download, as many leading hex digits as were published; None if not.
        archive: the download is a zip or tar file; `path` is the folder inside it, or the folder of it all.
        convertible: a file put there by hand may hold the same saved anew: another size, and content that fits.
        collection: files that each have an address of their own, instead of one download.
    """

    name: str
    kind: str
    addresses: tuple[str, ...]
    path: str
    about: int
    licence: str
    problems: Callable[[Path], list[str]]
    topic: str = ""
    size: int | None = None
    digest: str | None = None
    archive: bool = False
    convertible: bool = False
    collection: bool = False

    @property
    def location(self) -> Path:
        """Where the entry is kept, whether or not it is there."""
        return (settings.data_home() if self.kind == DATA else settings.weights_home()) / self.path

    @property
    def is_folder(self) -> bool:
        return self.archive or self.collection

    def problems_in(self, path: Path) -> list[str]:
        """What is wrong with a file or folder in its place; a published hash vouches for what cannot be read."""
        if self.convertible and content.published(path, self.digest):
            return []
        problems = self.problems(path)
        return ["it has not the published hash", *problems] if problems and self.convertible and self.digest else problems

    @property
    def present(self) -> bool:
        return self.location.is_dir() if self.is_folder else self.location.is_file()

    @property
    def filenames(self) -> list[str]:
        """Names that the download has at its addresses, on a mirror and on the disk of whoever fetched it by hand."""
        return list(dict.fromkeys(PurePosixPath(urlsplit(address).path).name for address in self.addresses))

    @property
    def megabytes(self) -> str:
        """The size of the download in words; "about" where it was not published exactly."""
        return ("" if self.size else "about ") + f"{(self.size or self.about) / MB:.0f} MB"

    @property
    def shown_location(self) -> str:
        """The location as messages show it: relative to the project where it lies in it."""
        return settings.shown(self.location)

    @property
    def command(self) -> str:
        """What fetches it anew."""
        return f"python -m dl data fetch --again {self.name}"


_ENTRIES = (
    Entry(
        name="coco",
        kind=DATA,
        topic="captioning",
        path="coco.pt",
        size=396_583_632,
        convertible=True,
        about=397 * MB,
        addresses=(
            "https://web.eecs.umich.edu/~justincj/teaching/eecs498/coco.pt",
            "http://web.eecs.umich.edu/~justincj/teaching/eecs498/coco.pt",
        ),
        licence="COCO captions CC BY 4.0; images under their owners' Flickr terms",
        problems=content.coco,
    ),
    Entry(
        name="regnet",
        kind=WEIGHTS,
        topic="captioning",
        path="regnet_x_400mf-adf1edd5.pth",
        about=22_300_000,
        digest="sha256:adf1edd5",
        addresses=("https://download.pytorch.org/models/regnet_x_400mf-adf1edd5.pth",),
        licence="none stated (torchvision itself BSD-3-Clause); trained on ImageNet, for non-commercial research",
        problems=partial(content.weights, network="regnet"),
    ),
    Entry(
        name="cifar10",
        kind=DATA,
        topic="simclr",
        path="cifar-10-batches-py",
        size=170_498_071,
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
        topic="simclr",
        path="pretrained_simclr_model.pth",
        about=99 * MB,
        addresses=(
            "https://cs231n.stanford.edu/2025/storage/a3/pretrained_simclr_model.pth",
            "http://downloads.cs.stanford.edu/downloads/cs231n/pretrained_simclr_model.pth",
            "http://cs231n.stanford.edu/2025/storage/a3/pretrained_simclr_model.pth",
        ),
        licence="none stated (course CS231n); trained on CIFAR-10",
        problems=partial(content.weights, network="simclr"),
    ),
    Entry(
        name="coco_captioning",
        kind=DATA,
        topic="clip_dino",
        path="coco_captioning",
        about=1000 * MB,
        archive=True,
        addresses=("https://cs231n.stanford.edu/coco_captioning.zip", "http://cs231n.stanford.edu/coco_captioning.zip"),
        licence="COCO captions CC BY 4.0; images, by address, under their owners' Flickr terms",
        problems=content.coco_captioning,
    ),
    Entry(
        name="coco_examples",
        kind=DATA,
        topic="clip_dino",
        path="pictures_by_url",
        about=2 * MB,
        collection=True,
        addresses=(),
        licence="under their owners' Flickr terms",
        problems=content.examples,
    ),
    Entry(
        name="davis",
        kind=DATA,
        topic="clip_dino",
        path="DAVIS",
        size=832_766_765,
        digest="sha256:e3d0b5b77c3d031b000a19e0e25e3e2cac65d183755601bc2cf066df1a2aa492",
        about=833 * MB,
        archive=True,
        addresses=("https://data.vision.ee.ethz.ch/csergi/share/davis/DAVIS-2017-trainval-480p.zip",),
        licence="rights with the authors, non-commercial scholarly use; cite Pont-Tuset et al. 2017",
        problems=content.davis,
    ),
    Entry(
        name="clip",
        kind=WEIGHTS,
        topic="clip_dino",
        path="ViT-B-32.pt",
        size=353_976_522,
        about=354 * MB,
        digest="sha256:40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
        addresses=(
            "https://openaipublic.azureedge.net/clip/models/"
            "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af/ViT-B-32.pt",
            "https://openaipublic.blob.core.windows.net/clip/models/"
            "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af/ViT-B-32.pt",
        ),
        licence="MIT",
        convertible=True,
        problems=partial(content.weights, network="clip"),
    ),
    Entry(
        name="dino_vits8",
        kind=WEIGHTS,
        topic="clip_dino",
        path="dino_deitsmall8_pretrain.pth",
        size=86_728_949,
        digest="sha256:55c8b267f479b614ec20858947ce361ba804846c193e20be74263a096bb6d75e",
        about=87 * MB,
        convertible=True,
        addresses=("https://dl.fbaipublicfiles.com/dino/dino_deitsmall8_pretrain/dino_deitsmall8_pretrain.pth",),
        licence="Apache-2.0",
        problems=partial(content.weights, network="dino_vits8"),
    ),
    Entry(
        name="dino_vits16",
        kind=WEIGHTS,
        path="dino_deitsmall16_pretrain.pth",
        about=87 * MB,
        addresses=("https://dl.fbaipublicfiles.com/dino/dino_deitsmall16_pretrain/dino_deitsmall16_pretrain.pth",),
        licence="Apache-2.0",
        problems=partial(content.weights, network="dino_vits16"),
    ),
)
ENTRIES = {entry.name: entry for entry in _ENTRIES}
