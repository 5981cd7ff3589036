"""The sample world on disk, in the formats of the real data sets, so that one reader serves both.

    coco.pt               as the course's file: uint8 images and word indices, plus a split of kept-out pairs
    cifar-10-batches-py/  as CIFAR-10's Python version: pickled batches of 32 x 32 images
    coco_captioning/      as the captioned images for CLIP: HDF5 captions, JSON vocabulary, lists of addresses
    DAVIS/                as DAVIS 2017 at 480p: JPEG frames, palette PNG masks, lists of names

`sample_path(name)` makes a data set on its first use and afterwards only returns where it is. The same code and
libraries give the same bytes in every process and on every machine of one kind.
"""

from __future__ import annotations

import json
import pickle
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from filelock import FileLock
from tqdm.auto import tqdm

from dl import settings
from dl.console import write_whole
from dl.files import save_tensors
from dl.world.captions import describe
from dl.world.render import render
from dl.world.scenes import CLASSES, Scene, generator, sample_scene
from dl.world.videos import Video, easy_video, hard_video

VERSION = "1"  # raise it when any byte of the exported data changes: each version has a cache folder of its own
SPLIT_KEYS = {"train": 1, "val": 2, "held_out": 3, "cifar_train": 4, "cifar_test": 5, "easy": 6, "hard": 7}

SPECIAL_TOKENS = ("<NULL>", "<START>", "<END>", "<UNK>")
CAPTION_LENGTH = 17  # <START>, at most 15 words, <END>
MIN_COUNT = 12  # words seldomer than this in the training captions become <UNK>

COCO_SIDE, CLIP_SIDE, CIFAR_SIDE = 112, 112, 32
COCO_COUNTS = {"train": 3000, "val": 500, "held_out": 300}
CLIP_COUNTS = {"train": 500, "val": 500}
# Stand-ins for the VGG features, which the notebook reads and does not use: grey thumbnails of the same widths.
THUMBNAILS = {"fc7_pca": (32, 16), "fc7": (64, 64)}
CIFAR_BATCH, CIFAR_TEST = 2000, 2000
VIDEO_SIZE = (180, 320)
# Sorted by the rule of `DavisDataset` (md5), the eighth is "playground": the notebook's main video, an easy one.
EASY_VIDEOS = {"playground": 60, "harbour": 24, "garden": 24, "meadow": 24}  # name -> frames
HARD_VIDEOS = {
    name: 20
    for name in (
        "regatta",
        "village",
        "picnic",
        "street",
        "lagoon",
        "kitchen",
        "orchard",
        "market",
        "circus",
        "skyline",
        "beach",
        "forest",
        "parade",
        "carnival",
        "window",
        "shelf",
    )
}


def sample_path(name: str) -> Path:
    """Path of a data set of the sample world, made now if this is its first use.

    Args:
        name: "coco.pt", "cifar-10-batches-py", "coco_captioning" or "DAVIS".
    Raises:
        ValueError: for another name.
    """
    if name not in WRITERS:
        raise ValueError(f"sample_path: the sample world has no {name!r}; it has {', '.join(WRITERS)}.")
    path = settings.sample_home() / f"v{VERSION}" / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(settings.sample_home() / f".{name}.lock"):
            if not path.exists():  # else another process was faster
                write_whole(path, WRITERS[name])
    return path


def scenes(split: str, count: int) -> Iterator[Scene]:
    """The first `count` scenes of "train", "val" or "held_out": what the images of those splits show, in order."""
    for index in range(count):
        yield sample_scene(generator(SPLIT_KEYS[split], index), held_out=split == "held_out")


def sentences(split: str, count: int) -> Iterator[str]:
    """One caption for each of the scenes of a split."""
    for index, scene in enumerate(scenes(split, count)):
        yield describe(scene, generator(SPLIT_KEYS[split], index, 1))


def build_vocabulary(captions: list[str]) -> list[str]:
    """Special tokens, then the words that occur `MIN_COUNT` times or more, most frequent first, ties by alphabet."""
    counts = Counter(word for caption in captions for word in caption.split())
    kept = [word for word, count in counts.items() if count >= MIN_COUNT]
    return [*SPECIAL_TOKENS, *sorted(kept, key=lambda word: (-counts[word], word))]


def encode(captions: list[str], word_to_idx: dict[str, int]) -> np.ndarray:
    """Captions as word indices, int64 (n, 17): `<START>`, words (unknown ones `<UNK>`), `<END>`, `<NULL>` to the end."""
    encoded = np.full((len(captions), CAPTION_LENGTH), word_to_idx["<NULL>"], dtype=np.int64)
    for row, caption in zip(encoded, captions):
        words = ["<START>", *caption.split(), "<END>"]
        row[: len(words)] = [word_to_idx.get(word, word_to_idx["<UNK>"]) for word in words]
    return encoded


def write_coco_pt(path: Path, counts: dict[str, int] = COCO_COUNTS) -> None:
    """The captioning data: `<split>_images` uint8 (n, 3, 112, 112), `<split>_captions` int64 (n, 17), `vocab`."""
    captions = {split: list(sentences(split, count)) for split, count in counts.items()}
    idx_to_token = build_vocabulary(captions["train"])
    token_to_idx = {token: index for index, token in enumerate(idx_to_token)}
    data = {}
    with _bar("captioned images", sum(counts.values())) as bar:
        for split, count in counts.items():
            images = torch.empty(count, 3, COCO_SIDE, COCO_SIDE, dtype=torch.uint8)
            for index, scene in enumerate(scenes(split, count)):
                images[index] = torch.from_numpy(render(scene, COCO_SIDE)[0]).permute(2, 0, 1)
                bar.update()
            data[f"{split}_images"] = images
            data[f"{split}_captions"] = torch.from_numpy(encode(captions[split], token_to_idx))
    save_tensors({**data, "vocab": {"idx_to_token": idx_to_token, "token_to_idx": token_to_idx}}, path)


def write_cifar(folder: Path, batch: int = CIFAR_BATCH, test: int = CIFAR_TEST) -> None:
    """Close-ups of single objects with their class: five pickled training batches, a test batch, the class names."""
    folder.mkdir()
    files = {f"data_batch_{n + 1}": ("cifar_train", range(n * batch, (n + 1) * batch)) for n in range(5)}
    files["test_batch"] = ("cifar_test", range(test))
    with _bar("32 x 32 images", 5 * batch + test) as bar:
        for name, (split, indices) in files.items():
            pixels = np.empty((len(indices), 3 * CIFAR_SIDE * CIFAR_SIDE), dtype=np.uint8)
            labels = []
            for row, index in zip(pixels, indices):
                scene = sample_scene(generator(SPLIT_KEYS[split], index), close_up=True)
                row[:] = render(scene, CIFAR_SIDE)[0].transpose(2, 0, 1).ravel()  # channel by channel
                labels.append(CLASSES.index(scene.objects[0].category))
                bar.update()
            _pickle(
                folder / name,
                {
                    "batch_label": name.replace("_", " "),
                    "labels": labels,
                    "data": pixels,
                    "filenames": [f"{split}_{index:05d}.png" for index in indices],
                },
            )
    _pickle(folder / "batches.meta", {"num_cases_per_batch": batch, "label_names": list(CLASSES), "num_vis": 3072})


def write_coco_captioning(folder: Path, counts: dict[str, int] = CLIP_COUNTS) -> None:
    """Captioned images for CLIP: one caption per image; addresses are paths relative to the folder."""
    folder.mkdir()
    captions = {split: list(sentences(split, count)) for split, count in counts.items()}
    idx_to_word = build_vocabulary(list(sentences("train", COCO_COUNTS["train"])))
    word_to_idx = {word: index for index, word in enumerate(idx_to_word)}
    (folder / "coco2014_vocab.json").write_text(json.dumps({"idx_to_word": idx_to_word, "word_to_idx": word_to_idx}))
    arrays: dict[str, np.ndarray] = {}
    for split, sentences_of_split in captions.items():
        encoded = encode(sentences_of_split, word_to_idx).astype(np.int32)
        arrays |= {f"{split}_captions": encoded, f"{split}_image_idxs": np.arange(len(encoded), dtype=np.int32)}
    _write_hdf5(folder / "coco2014_captions.h5", arrays)
    with _bar("images for CLIP", sum(counts.values())) as bar:
        for split, count in counts.items():
            (folder / "images" / split).mkdir(parents=True)
            features = {name: np.empty((count, width * height), np.float32) for name, (width, height) in THUMBNAILS.items()}
            lines = [f"images/{split}/{index:05d}.png" for index in range(count)]
            for index, (line, scene) in enumerate(zip(lines, scenes(split, count))):
                picture, _ = render(scene, CLIP_SIDE)
                _write_image(folder / line, picture[..., ::-1])
                grey = picture.mean(axis=2, dtype=np.float32) / 255
                for name, size in THUMBNAILS.items():
                    features[name][index] = cv2.resize(grey, size, interpolation=cv2.INTER_AREA).ravel()
                bar.update()
            (folder / f"{split}2014_urls.txt").write_text("".join(f"{line}\n" for line in lines))
            for name, thumbnails in features.items():
                _write_hdf5(folder / f"{split}2014_vgg16_{name}.h5", {"features": thumbnails})


def write_davis(folder: Path, easy: dict[str, int] = EASY_VIDEOS, hard: dict[str, int] = HARD_VIDEOS) -> None:
    """Videos with object masks in the layout of DAVIS 2017; all are validation videos."""
    names = sorted([*easy, *hard])
    (folder / "ImageSets" / "2017").mkdir(parents=True)
    (folder / "ImageSets" / "2017" / "train.txt").write_text("")
    (folder / "ImageSets" / "2017" / "val.txt").write_text("".join(f"{name}\n" for name in names))
    with _bar("video frames", sum(easy.values()) + sum(hard.values())) as bar:
        for kind, make, videos in (("easy", easy_video, easy), ("hard", hard_video, hard)):
            for index, (name, frames) in enumerate(videos.items()):
                _write_video(folder, name, make(generator(SPLIT_KEYS[kind], index), *VIDEO_SIZE), frames, bar)


def _write_video(folder: Path, name: str, video: Video, frames: int, bar: tqdm) -> None:
    from PIL import Image

    pictures, masks = folder / "JPEGImages" / "480p" / name, folder / "Annotations" / "480p" / name
    pictures.mkdir(parents=True)
    masks.mkdir(parents=True)
    for index, moment in enumerate(np.linspace(-1, 1, frames)):
        picture, mask = video.frame(moment)
        _write_image(pictures / f"{index:05d}.jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
        palette = Image.fromarray(mask, mode="P")
        palette.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0])
        palette.save(masks / f"{index:05d}.png")
        bar.update()


def _write_image(path: Path, bgr: np.ndarray, options: list[int] | None = None) -> None:
    ok, encoded = cv2.imencode(path.suffix, bgr, options or [])
    if not ok:
        raise OSError(f"sample world: OpenCV could not encode {path.name}. Reinstall opencv-python.")
    path.write_bytes(encoded.tobytes())  # not cv2.imwrite, which fails silently on paths with accents on Windows


def _write_hdf5(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Data sets by name; made in memory, because on a full disk the library HDF5 ends the process."""
    import h5py

    with h5py.File(path, "w", driver="core", backing_store=False) as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array)
        file.flush()
        path.write_bytes(file.id.get_file_image())


def _pickle(path: Path, value: dict) -> None:
    path.write_bytes(pickle.dumps(value, protocol=2))


def _bar(what: str, total: int) -> tqdm:
    return tqdm(total=total, desc=f"Sample world: {what}", unit="", leave=False)


WRITERS: dict[str, Callable[[Path], object]] = {
    "coco.pt": write_coco_pt,
    "cifar-10-batches-py": write_cifar,
    "coco_captioning": write_coco_captioning,
    "DAVIS": write_davis,
}
