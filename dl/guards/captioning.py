"""Checks of arguments of rnn_lstm_captioning.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from dl.guards import check_sizes, check_tensors, want_tensors, want_words


def check_cache(function: str, forward: str, name: str, gradient: Tensor, axes: str, cache: object) -> None:
    """A gradient, and a cache that can belong to it. What a forward function keeps, and how, is up to its author.

    So a cache is refused only if its tensors have the gradient's sizes in no axis, or its dtype nowhere.
    """
    sizes = check_tensors(function, **{name: (gradient, axes)})
    kept = [*_tensors(cache)]
    lengths = {size for tensor in kept for size in tensor.shape} | {*_lengths(cache)}
    rows = {sizes["N"], sizes["N"] * sizes.get("T", 1)}
    fits = sizes["H"] in lengths and not rows.isdisjoint(lengths) and sizes.get("T", 1) in {1, *rows, *lengths}
    own_kind = callable(cache) or hasattr(cache, "__dict__")  # into which we do not look
    if not (fits if kept else own_kind) or isinstance(cache, Tensor):
        found = ", ".join(str(tuple(tensor.shape)) for tensor in kept) or "no tensors"
        raise (ValueError if kept else TypeError)(
            f"{function}: {name} has shape {tuple(gradient.shape)} and the cache holds {found}; wanted what {forward} "
            f"returned for the same ({axes}). Pass its cache as it is, and a gradient shaped like its result."
        )
    dtypes = {tensor.dtype for tensor in kept if tensor.is_floating_point()}
    if dtypes and gradient.dtype not in dtypes and not any(map(torch.is_autocast_enabled, ("cpu", "cuda"))):
        raise TypeError(
            f"{function}: {name} is {gradient.dtype} but the cache holds {min(map(str, dtypes))}. Convert one with .to(dtype)."
        )


def _tensors(kept: object) -> Iterator[Tensor]:
    if isinstance(kept, Tensor):
        yield kept
    elif isinstance(kept, (list, tuple, Mapping)):
        for part in kept.values() if isinstance(kept, Mapping) else kept:
            yield from _tensors(part)


def _lengths(kept: object) -> Iterator[int]:
    if isinstance(kept, (list, tuple, Mapping)):
        yield len(kept)
        for part in kept.values() if isinstance(kept, Mapping) else kept:
            yield from _lengths(part)


def check_captioner(
    word_to_idx: Mapping[str, int], input_dim: int, wordvec_dim: int, hidden_dim: int, cell_type: str, ignore: int | None
) -> None:
    """Types and sizes of a `CaptioningRNN`."""
    want_words("CaptioningRNN", "word_to_idx", word_to_idx)
    if not isinstance(word_to_idx, Mapping) or not isinstance(cell_type, str):
        raise TypeError(
            f"CaptioningRNN: wanted a dictionary word_to_idx and a word cell_type, got {word_to_idx!r:.60} and "
            f"{cell_type!r:.60}. Pass vocab['token_to_idx'] and one of 'rnn', 'lstm', 'attn'."
        )
    check_sizes("CaptioningRNN", 1, input_dim=input_dim, wordvec_dim=wordvec_dim, hidden_dim=hidden_dim)
    check_ignored("CaptioningRNN", ignore)


def check_ignored(function: str, ignore_index: int | None) -> None:
    """A whole number, of any sign, or None."""
    if ignore_index is not None and (isinstance(ignore_index, bool) or not isinstance(ignore_index, int)):
        raise TypeError(f"{function}: ignore_index must be an int or None, got {ignore_index!r:.60}. Pass an index.")
    if ignore_index is not None and not -(2**63) <= ignore_index < 2**63:
        raise ValueError(f"{function}: ignore_index {ignore_index} is no int64. Pass the index of a word, or None.")


def check_pictures(function: str, images: Tensor, dtype: torch.dtype, channels: str = "3") -> None:
    """Images (N, 3, H, W), or features, of at least one pixel: bytes, or of the dtype of the weights that they will meet."""
    want_tensors(function, floating=False, images=images)
    check_tensors(function, images=(images, f"any N {channels} height width"))
    if not (images.dtype == torch.uint8 and channels == "3") and images.dtype != dtype:
        if not images.is_floating_point() or not torch.is_autocast_enabled(images.device.type):
            raise TypeError(
                f"{function}: images are {images.dtype}, wanted uint8 in 0..255 or {dtype}, the dtype of the weights. "
                "Convert them with .to(dtype)."
            )
    if 0 in images.shape[2:]:
        raise ValueError(
            f"{function}: images of shape {tuple(images.shape)} have no pixels, wanted (N, {channels}, H, W) with at least "
            "one. Look at how they were cut."
        )
