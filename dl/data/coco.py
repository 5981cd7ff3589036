"""COCO's captions on disk: the data file `coco.pt`, and the folder `coco_captioning` in the format of CS231n."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dl import settings
from dl.files import read_lines, read_text

SPLITS = ("train", "val")


def coco_problems(data: object) -> list[str]:
    """Everything that keeps an object from being the captioning data; empty if it is."""
    if not isinstance(data, dict):
        return [f"it holds a {type(data).__name__}, not a dictionary"]
    names = [f"{split}_{kind}" for split in SPLITS for kind in ("images", "captions")]
    missing = [name for name in (*names, "vocab") if name not in data]
    if missing:
        return [f"it lacks {', '.join(missing)}"]
    problems = []
    for name in names:
        value, wanted = data[name], (torch.uint8, 4) if name.endswith("images") else (torch.int64, 2)
        if not isinstance(value, Tensor) or (value.dtype, value.ndim) != wanted:
            problems.append(f"{name} is not a {wanted[1]}-D {wanted[0]} tensor")
    vocab = data["vocab"]
    if not isinstance(vocab, dict) or not {"idx_to_token", "token_to_idx"} <= vocab.keys():
        return [*problems, "vocab lacks idx_to_token or token_to_idx"]
    tokens = vocab["idx_to_token"]
    if vocab["token_to_idx"] != {token: index for index, token in enumerate(tokens)}:
        problems.append("token_to_idx is not the inverse of idx_to_token")
    if problems:
        return problems
    for split in SPLITS:
        images, captions = data[f"{split}_images"], data[f"{split}_captions"]
        if len(images) != len(captions):
            problems.append(f"{split} has {len(images)} images but {len(captions)} captions")
        if len(captions) and not 0 <= int(captions.min()) <= int(captions.max()) < len(tokens):
            problems.append(f"{split}_captions hold indices outside the vocabulary of {len(tokens)} words")
        problems += [f"{split}_{problem}" for problem in _zeros(images, captions)]
    return problems


def _zeros(images: Tensor, captions: Tensor) -> list[str]:
    """What a hole of a broken copy leaves behind: neighbouring images that are black, captions of padding alone."""
    problems = []
    black = images.flatten(1).amax(1) == 0 if images.numel() else torch.zeros(0, dtype=torch.bool)
    if (black[1:] & black[:-1]).any():
        problems.append(f"images has {int(black.sum())} black ones")
    empty = (captions == 0).all(1)
    if empty.any() and captions.numel():
        problems.append(f"captions has {int(empty.sum())} without a word")
    return problems


# --- The folder ---


def captioning_problems(folder: Path) -> list[str]:
    """What `load_coco_data` without features would refuse."""
    try:
        read_folder(folder)
    except (FileNotFoundError, ValueError) as error:
        return [str(error).removeprefix("load_coco_data: ").removesuffix(f" {_remedy()}").removesuffix(".")]
    return []


def read_folder(folder: Path, widths: tuple[str, ...] = ()) -> dict[str, np.ndarray | list | dict]:
    """All that `load_coco_data` returns, the features of the widths "" or "_pca" alone, checked."""
    feature_files = {split: folder / f"{split}2014_vgg16_fc7{width}.h5" for width in widths for split in SPLITS}
    url_files = {split: folder / f"{split}2014_urls.txt" for split in SPLITS}
    captions_file, vocab_file = folder / "coco2014_captions.h5", folder / "coco2014_vocab.json"
    _want_files(folder, [captions_file, vocab_file, *feature_files.values(), *url_files.values()])
    data: dict[str, np.ndarray | list | dict] = dict(_read_h5(captions_file))
    for split, file in feature_files.items():
        data[f"{split}_features"] = _read_h5(file)["features"]
    try:
        vocab = json.loads(read_text(vocab_file))
        data["idx_to_word"], data["word_to_idx"] = vocab["idx_to_word"], vocab["word_to_idx"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"load_coco_data: {settings.shown(vocab_file)} is no vocabulary ({error!r}), wanted idx_to_word and "
            f"word_to_idx. {_remedy()}"
        ) from error
    for split, file in url_files.items():
        data[f"{split}_urls"] = _addresses(file)
    _check_data(folder, data)
    return data


def _read_h5(file: Path) -> dict[str, np.ndarray]:
    import h5py

    wanted = ("features",) if "fc7" in file.name else [f"{s}_{what}" for s in SPLITS for what in ("captions", "image_idxs")]
    try:
        with h5py.File(file) as opened:
            return {name: opened[name][()] for name in wanted}
    except (OSError, KeyError) as error:
        raise ValueError(
            f"load_coco_data: {settings.shown(file)} cannot be read ({error}), "
            f"wanted HDF5 with {', '.join(wanted)}. {_remedy()}"
        ) from error


def _addresses(file: Path) -> np.ndarray:
    """One per line, which may hold blanks; captions name images by the number of the line, so none may be empty."""
    try:
        lines = read_lines(file)
    except ValueError as error:
        raise ValueError(f"load_coco_data: {error}") from error
    empty = [str(number) for number, line in enumerate(lines, start=1) if not line]
    if empty:
        raise ValueError(
            f"load_coco_data: {settings.shown(file)} has no address in line {', '.join(empty[:5])}, wanted one in every line. "
            f"{_remedy()}"
        )
    return np.array(lines, dtype=str)


def _want_files(folder: Path, files: list[Path]) -> None:
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise FileNotFoundError(f"load_coco_data: {settings.shown(folder)} lacks {', '.join(missing)}. {_remedy()}")


def _check_data(folder: Path, data: dict) -> None:
    """The values are checked here, where they come in; from here on they are trusted."""
    problems = []
    if data["word_to_idx"] != {word: index for index, word in enumerate(data["idx_to_word"])}:
        problems.append("word_to_idx is not the inverse of idx_to_word")
    for split in SPLITS:
        captions, images, urls = (data[f"{split}_{what}"] for what in ("captions", "image_idxs", "urls"))
        if captions.ndim != 2 or images.shape != captions.shape[:1]:
            problems.append(f"{split} has captions {captions.shape} and image indices {images.shape}")
        if captions.size and not 0 <= captions.min() <= captions.max() < len(data["idx_to_word"]):
            problems.append(f"{split}_captions hold indices outside the vocabulary of {len(data['idx_to_word'])} words")
        if images.size and not 0 <= images.min() <= images.max() < len(urls):
            problems.append(f"{split} names image {images.max()}, but there are {len(urls)} addresses")
        features = data.get(f"{split}_features")
        if features is not None and (features.ndim != 2 or len(features) != len(urls)):
            problems.append(f"{split} has features {features.shape}, but {len(urls)} addresses")
    if problems:
        raise ValueError(
            f"load_coco_data: the files of {settings.shown(folder)} do not fit together: {'; '.join(problems)}. {_remedy()}"
        )


def _remedy() -> str:
    if settings.data_mode() == settings.SAMPLE:
        return "Delete this folder if it is the sample world's: the next call makes it again."
    return 'Run "python -m dl data fetch --again coco_captioning", or leave DL_DATA=sample.'
