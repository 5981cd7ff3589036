"""Checks of arguments of dl/simclr/."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from dl.guards import check_sizes, want_device, want_iterable, want_kind, want_tensors


def check_loop(function: str, model: nn.Module, device: torch.device | str | None, **loaders: Iterable) -> None:
    """A model, where it computes, and what gives it batches."""
    want_kind(function, "a torch module", nn.Module, model=model)
    want_iterable(function, "a DataLoader", **loaders)
    if device is not None:
        want_device(function, device)


def parts_of(function: str, batch: Any, least: int, most: int | None = None) -> list[Any]:
    """The parts of a batch, each with as many rows: views, and at the end targets."""
    wanted = f"{least} tensors of one length" if most == least else f"{least} or more tensors of one length"
    if not isinstance(batch, (list, tuple)) or not least <= len(batch) <= (most or len(batch)):
        raise TypeError(f"{function}: the loader gave {batch!r:.60}, wanted batches of {wanted}. Look at its data set.")
    want_tensors(function, floating=False, **{f"part {n} of a batch": part for n, part in enumerate(batch, start=1)})
    if len({part.shape[:1] for part in batch}) > 1 or not batch[0].ndim or not len(batch[0]):
        shapes = ", ".join(str(tuple(part.shape)) for part in batch)
        raise ValueError(f"{function}: the loader gave {shapes}, wanted batches of {wanted}. Look at its data set.")
    return list(batch)


def check_seed(function: str, seed: int) -> None:
    """A number that Python's and torch's generators take."""
    want_kind(function, "a whole number", int, seed=seed)
    if not -(2**63) <= seed < 2**64:
        raise ValueError(f"{function}: seed {seed} has more than 64 bits. Pass an int such as 0.")


def check_network(function: str, encoders: tuple[str, ...], encoder: str, width: int = 1) -> None:
    """A known encoder, and a last layer of at least one output."""
    if not isinstance(encoder, str) or encoder not in encoders:
        raise ValueError(
            f"{function}: got encoder {encoder!r:.60}; it must be one of {', '.join(encoders)}. Pass one of these names."
        )
    check_sizes(function, 1, **{"the width of the last layer": width})


def check_views(function: str, module: nn.Module, x: Tensor) -> None:
    """RGB images (B, 3, height, width) of the dtype of a module's weights."""
    want_tensors(function, x=x)
    if x.ndim != 4 or x.shape[1] != 3 or 0 in x.shape:
        raise ValueError(
            f"{function}: wanted images (B, 3, height, width), got {tuple(x.shape)}. "
            "Stack single images with x[None]; move channels first with permute(0, 3, 1, 2)."
        )
    dtype = next(module.parameters()).dtype
    if x.dtype != dtype and not torch.is_autocast_enabled(x.device.type):
        raise TypeError(f"{function}: x is {x.dtype}, wanted {dtype} like the weights. Convert one of them with .to(dtype).")


def check_neighbours(feature: Tensor, bank: Tensor, labels: Tensor, c: int, k: int, temperature: float) -> None:
    """What `knn_scores` multiplies and counts."""
    want_tensors("knn_scores", feature=feature, bank=bank)
    want_tensors("knn_scores", floating=False, labels=labels)
    check_sizes("knn_scores", 1, c=c, k=k)
    want_kind("knn_scores", "a number", (int, float), temperature=temperature)
    fits = feature.ndim == bank.ndim == 2 and feature.shape[1] == bank.shape[1] and labels.shape == bank.shape[:1]
    if not fits or not len(bank) or not temperature > 0 or feature.dtype != bank.dtype or labels.dtype != torch.int64:
        raise ValueError(
            f"knn_scores: got feature {tuple(feature.shape)} {feature.dtype}, bank {tuple(bank.shape)} {bank.dtype}, labels "
            f"{tuple(labels.shape)} {labels.dtype}, temperature {temperature}; wanted (B, H), (M, H) of one dtype, (M,) "
            "int64, and a temperature > 0. Take features from one model."
        )
