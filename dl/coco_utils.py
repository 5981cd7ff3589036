"""Captioned images in the format of the course CS231n: captions as word indices, a vocabulary, addresses of images.

    coco2014_captions.h5                    train_captions, val_captions int32 (n, 17); train_image_idxs, val_image_idxs (n,)
    coco2014_vocab.json                     idx_to_word, word_to_idx
    {train,val}2014_urls.txt                an address a line
    {train,val}2014_vgg16_fc7{_pca,}.h5     features float32 (images, 512 or 4096), of use to other notebooks

The sample world's captioned scenes lie in the same format; their addresses are paths within the folder.
Notebook: notebooks/CLIP_DINO.ipynb
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from dl import settings
from dl.data import locate
from dl.data.coco import SPLITS, read_folder
from dl.files import user_path
from dl.guards import check_sizes, want_kind

NULL, END = "<NULL>", "<END>"


def load_coco_data(
    base_dir: str | Path | None = None, max_train: int | None = None, pca_features: bool = True, features: bool = True
) -> dict[str, np.ndarray | list | dict]:
    """Read the folder; prints where it is.

    Args:
        base_dir: the folder; None takes the one that DL_DATA chooses.
        max_train: draw so many training captions, **with replacement, from numpy's global generator** (captions and
            image indices only); None keeps all in their order.
        pca_features: the features of 512 values, else those of 4096. features: False leaves them out: they are large.
    Returns:
        train_captions, val_captions: int32 (n, 17) word indices. train_image_idxs, val_image_idxs: int32 (n,).
        train_features, val_features: float32 (images, values). idx_to_word: list. word_to_idx: dict.
        train_urls, val_urls: arrays of strings.
    Raises:
        FileNotFoundError: naming every file that is absent. ValueError: naming one that is damaged, or what does not fit.
    """
    if max_train is not None:
        check_sizes("load_coco_data", max_train=max_train)
    folder = locate("coco_captioning") if base_dir is None else user_path(base_dir)
    data = read_folder(folder, ("_pca" if pca_features else "",) if features else ())
    print(f"base dir  {settings.shown(folder)}")
    if max_train is not None:
        chosen = np.random.randint(len(data["train_captions"]), size=max_train)
        for name in ("train_captions", "train_image_idxs"):
            data[name] = data[name][chosen]
    return data


def decode_captions(captions: Tensor | np.ndarray | Sequence, idx_to_word: Sequence[str] | Mapping) -> str | list[str]:
    """Word indices as text: words joined by single blanks, `<NULL>` left out, nothing after the first `<END>`.

    Args:
        captions: integers (T,) or (N, T), on any device. idx_to_word: word of every index; as keys, text will do, as in
            a dictionary that was JSON.
    Returns:
        one string for (T,), a list of N strings for (N, T). `<START>`, `<UNK>` and the closing `<END>` stay.
    Raises:
        ValueError: if an index has no word, or captions are not 1-D or 2-D, or no integers. TypeError: for other vocabularies.
    """
    rows = captions.detach().cpu().numpy() if isinstance(captions, Tensor) else np.asarray(captions)
    if rows.ndim not in (1, 2) or rows.dtype.kind not in "iu":
        raise ValueError(
            f"decode_captions: captions must be integers (T,) or (N, T), got {rows.dtype} {rows.shape}. "
            "Pass one caption or a batch of them; convert word indices with .long()."
        )
    words = _words_by_index(idx_to_word)
    unknown = set(rows.ravel().tolist()) - words.keys()
    if unknown:
        raise ValueError(
            f"decode_captions: index {min(unknown)} has no word among {len(words)}. "
            "Decode with the vocabulary that the captions were made with."
        )
    texts = [_sentence([words[index] for index in row]) for row in np.atleast_2d(rows).tolist()]
    return texts if rows.ndim == 2 else texts[0]


def _words_by_index(idx_to_word: Sequence[str] | Mapping) -> dict[int, str]:
    if isinstance(idx_to_word, (list, tuple)):
        return dict(enumerate(idx_to_word))
    if not isinstance(idx_to_word, dict):
        raise TypeError(
            f"decode_captions: wanted a list of words, got {idx_to_word!r:.60}. Pass vocab['idx_to_token'] of the captions, "
            "or data['idx_to_word'] of load_coco_data."
        )
    try:
        return {int(index): word for index, word in idx_to_word.items()}
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"decode_captions: the keys of idx_to_word must be indices, got {next(iter(idx_to_word))!r}. "
            "Pass idx_to_word, not word_to_idx."
        ) from error


def _sentence(words: list[str]) -> str:
    words = words[: words.index(END) + 1] if END in words else words
    return " ".join(word for word in words if word != NULL)


def sample_coco_minibatch(
    data: dict, batch_size: int = 100, split: str = "train"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Captions drawn with replacement from numpy's global generator, with their images' features and addresses.

    Args:
        data: from `load_coco_data`, with features. split: "train" or "val".
    Returns:
        captions (batch_size, 17), features (batch_size, values), addresses (batch_size,).
    Raises:
        ValueError: for another split, or data without features.
    """
    check_sizes("sample_coco_minibatch", batch_size=batch_size)
    want_kind("sample_coco_minibatch", "the dictionary of load_coco_data", dict, data=data)
    if not isinstance(split, str) or split not in SPLITS or f"{split}_features" not in data:
        raise ValueError(
            f"sample_coco_minibatch: wanted the split 'train' or 'val' of data with features, got {split!r:.60} and "
            f"{', '.join(data)}. Call load_coco_data with features=True."
        )
    chosen = np.random.choice(len(data[f"{split}_captions"]), batch_size)
    images = data[f"{split}_image_idxs"][chosen]
    return data[f"{split}_captions"][chosen], data[f"{split}_features"][images], data[f"{split}_urls"][images]
