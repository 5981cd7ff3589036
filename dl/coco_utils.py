"""Captioned pictures in the format of the course CS231n: captions as word indices, a vocabulary, addresses of pictures.

    coco2014_captions.h5                    train_captions, val_captions int32 (n, 17); train_image_idxs, val_image_idxs (n,)
    coco2014_vocab.json                     idx_to_word, word_to_idx
    {train,val}2014_urls.txt                an address a line
    {train,val}2014_vgg16_fc7{_pca,}.h5     features float32 (pictures, 512 or 4096), of use to other notebooks

The sample world's captioned scenes lie in the same format; their addresses are paths within the folder.
Notebook: notebooks/CLIP_DINO.ipynb
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dl import settings
from dl.files import read_lines, read_text, user_path

NULL, END = "<NULL>", "<END>"
SPLITS = ("train", "val")


def captioning_folder() -> Path:
    """The sample world's folder with DL_DATA=sample, the fetched one with DL_DATA=real.

    Raises:
        FileNotFoundError: with DL_DATA=real, if it has not been fetched; names the command.
    """
    if settings.data_mode() == settings.SAMPLE:
        from dl.world.export import sample_path

        return sample_path("coco_captioning")
    from dl.data import require

    return require("coco_captioning")


def load_coco_data(
    base_dir: str | Path | None = None, max_train: int | None = None, pca_features: bool = True, features: bool = True
) -> dict[str, np.ndarray | list | dict]:
    """Read the folder; prints where it is.

    Args:
        base_dir: the folder; None takes the one that DL_DATA chooses.
        max_train: draw so many training captions, **with replacement, from numpy's global generator** (captions and
            picture indices only); None keeps all in their order.
        pca_features: the features of 512 values, else those of 4096. features: False leaves them out: they are large.
    Returns:
        train_captions, val_captions: int32 (n, 17) word indices. train_image_idxs, val_image_idxs: int32 (n,).
        train_features, val_features: float32 (pictures, values). idx_to_word: list. word_to_idx: dict.
        train_urls, val_urls: arrays of strings.
    Raises:
        FileNotFoundError: naming every file that is absent. ValueError: naming one that is damaged, or what does not fit.
    """
    folder = captioning_folder() if base_dir is None else user_path(base_dir)
    data = read_folder(folder, ("_pca" if pca_features else "",) if features else ())
    print(f"base dir  {settings.shown(folder)}")
    if max_train is not None:
        chosen = np.random.randint(len(data["train_captions"]), size=max_train)
        for name in ("train_captions", "train_image_idxs"):
            data[name] = data[name][chosen]
    return data


def captioning_problems(folder: Path) -> list[str]:
    """What `load_coco_data` without features would refuse."""
    try:
        read_folder(folder)
    except (FileNotFoundError, ValueError) as error:
        return [str(error).removeprefix("load_coco_data: ").removesuffix(f" {_remedy()}").removesuffix(".")]
    return []


def decode_captions(captions: np.ndarray | Sequence[int], idx_to_word: Sequence[str]) -> str | list[str]:
    """Word indices as text: words joined by a blank, `<NULL>` left out, nothing after the first `<END>`.

    Args:
        captions: integer (T,), or (N, T). idx_to_word: the vocabulary.
    Returns:
        one string, or a list of N; `<START>`, `<END>` and `<UNK>` stay in it.
    Raises:
        ValueError: for another shape, or indices outside the vocabulary.
    """
    captions = np.asarray(captions)
    if not isinstance(idx_to_word, (list, tuple, dict)):
        raise TypeError(
            f"decode_captions: wanted a list of words, got {idx_to_word!r:.60}. Pass data['idx_to_word'] of load_coco_data."
        )
    if isinstance(idx_to_word, dict):  # as JSON gives it, with text for keys
        idx_to_word = [word for _, word in sorted((int(index), word) for index, word in idx_to_word.items())]
    if captions.ndim not in (1, 2) or captions.dtype.kind not in "iu":
        raise ValueError(
            f"decode_captions: wanted integers (T,) or (N, T), got {captions.dtype} {captions.shape}. "
            "Pass rows of val_captions."
        )
    if captions.size and not 0 <= captions.min() <= captions.max() < len(idx_to_word):
        raise ValueError(
            f"decode_captions: wanted indices from 0 to {len(idx_to_word) - 1}, got {captions.min()} to "
            f"{captions.max()}. Pass the vocabulary that the captions were written with."
        )
    if captions.ndim == 2:
        return [str(decode_captions(caption, idx_to_word)) for caption in captions]
    words = [idx_to_word[index] for index in captions]
    words = words[: words.index(END) + 1] if END in words else words
    return " ".join(word for word in words if word != NULL)


def sample_coco_minibatch(
    data: dict, batch_size: int = 100, split: str = "train"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Captions drawn with replacement from numpy's global generator, with their pictures' features and addresses.

    Args:
        data: from `load_coco_data`, with features. split: "train" or "val".
    Returns:
        captions (batch_size, 17), features (batch_size, values), addresses (batch_size,).
    Raises:
        ValueError: for another split, or data without features.
    """
    if split not in SPLITS or f"{split}_features" not in data:
        raise ValueError(
            f"sample_coco_minibatch: wanted the split 'train' or 'val' of data with features, got {split!r} and "
            f"{', '.join(data)}. Call load_coco_data with features=True."
        )
    chosen = np.random.choice(len(data[f"{split}_captions"]), batch_size)
    pictures = data[f"{split}_image_idxs"][chosen]
    return data[f"{split}_captions"][chosen], data[f"{split}_features"][pictures], data[f"{split}_urls"][pictures]


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
    """One a line, which may hold blanks; captions name pictures by the number of the line, so none may be empty."""
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
        captions, pictures, urls = (data[f"{split}_{what}"] for what in ("captions", "image_idxs", "urls"))
        if captions.ndim != 2 or pictures.shape != captions.shape[:1]:
            problems.append(f"{split} has captions {captions.shape} and picture indices {pictures.shape}")
        if captions.size and not 0 <= captions.min() <= captions.max() < len(data["idx_to_word"]):
            problems.append(f"{split}_captions hold indices outside the vocabulary of {len(data['idx_to_word'])} words")
        if pictures.size and not 0 <= pictures.min() <= pictures.max() < len(urls):
            problems.append(f"{split} names picture {pictures.max()}, but there are {len(urls)} addresses")
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
