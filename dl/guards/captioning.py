"""Checks of arguments of rnn_lstm_captioning.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from dl.guards import check_sizes, check_tensors, want_tensors, want_words


def check_cache(function: str, forward: str, name: str, gradient: Tensor, axes: str, cache: object) -> None:
    """A gradient that fits what a forward function has kept. What that is, is up to its author: only sizes are compared."""
    sizes = check_tensors(function, **{name: (gradient, axes)})
    kept = [*_tensors(cache)]
    shapes = [tuple(tensor.shape) for tensor in kept]
    steps = [shape for shape in shapes if len(shape) == 3]
    if steps and "T" in sizes:  # a whole sequence is among them, in either order of its axes
        fits = any({*shape[:2]} == {sizes["N"], sizes["T"]} for shape in steps)
    else:
        fits = (sizes["N"], sizes["H"]) in shapes or not sizes.get("T", 1)
    fits = fits and (not shapes or any(shape[-1:] == (sizes["H"],) for shape in shapes))
    if not isinstance(cache, (Sequence, Mapping)) or isinstance(cache, (str, bytes)) or not fits:
        raise (ValueError if kept else TypeError)(
            f"{function}: {name} has shape {tuple(gradient.shape)} and the cache holds "
            f"{', '.join(map(str, shapes)) or 'no tensors'}; wanted what {forward} returned for the same ({axes}). "
            f"Pass its cache as it is, and a gradient shaped like its result."
        )
    odd = [tensor.dtype for tensor in kept if tensor.is_floating_point() and tensor.dtype != gradient.dtype]
    if odd and not torch.is_autocast_enabled("cpu") and not torch.is_autocast_enabled("cuda"):
        raise TypeError(f"{function}: {name} is {gradient.dtype} but the cache holds {odd[0]}. Convert one with .to(dtype).")


def _tensors(kept: object) -> Iterator[Tensor]:
    if isinstance(kept, Tensor):
        yield kept
    elif isinstance(kept, (list, tuple, Mapping)):
        for part in kept.values() if isinstance(kept, Mapping) else kept:
            yield from _tensors(part)


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
