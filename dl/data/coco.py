"""The captioning data file `coco.pt`: where it is, and what keeps an object from being one."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from dl import settings

SPLITS = ("train", "val")


def coco_file() -> Path:
    """The sample world's file with DL_DATA=sample, the fetched one with DL_DATA=real.

    Raises:
        FileNotFoundError: with DL_DATA=real, if it has not been fetched; names the command.
    """
    if settings.data_mode() == settings.SAMPLE:
        from dl.world.export import sample_path

        return sample_path("coco.pt")
    from dl.data import require

    return require("coco")


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
