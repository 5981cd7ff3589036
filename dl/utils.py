"""Seeds, threads, dropout, a learning-rate schedule and small image tools that notebooks, checks and trainings share."""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from numbers import Integral
from typing import ParamSpec, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dl.guards import check_sizes, want_kind, want_numbers, want_tensors

P = ParamSpec("P")
R = TypeVar("R")
CELL = 32  # pixels between the centres of the captioners' cells, the first at pixel 0
STRIP_HEIGHT = 25  # pixels above an attention image, room for one word


def reset_seed(number: int) -> None:
    """Seed Python's `random`, numpy's global stream and torch (all devices) with the same number."""
    if isinstance(number, bool) or not isinstance(number, Integral) or not -(2**63) <= number < 2**64:
        raise (ValueError if isinstance(number, Integral) else TypeError)(
            f"reset_seed: wanted a whole number of 64 bits as seed, got {number!r:.60}. Pass an int such as 0."
        )
    random.seed(number)
    np.random.seed(number % 2**32)
    torch.manual_seed(number)


def no_grad(function: Callable[P, R]) -> Callable[P, R]:
    """`torch.no_grad` as a decorator that IPython's autoreload sees through.

    Autoreload gives an edited function's attributes to the one that is in use, but cannot change what a decorator holds
    in its closure; so the function is kept as an attribute here.
    """

    @functools.wraps(function)
    def without_gradient(*args: P.args, **kwargs: P.kwargs) -> R:
        with torch.no_grad():
            return without_gradient.__wrapped__(*args, **kwargs)  # type: ignore[attr-defined, no-any-return]

    return without_gradient


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """A model in eval mode inside; afterwards each of its modules is in the mode it was in, also after an error."""
    want_kind("eval_mode", "a torch module", nn.Module, model=model)
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute with one thread inside: on tiny tensors several bring nothing, and wait long beside other programs."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def full_float32() -> Iterator[None]:
    """Let torch compute in full float32 inside: no TF32 on CUDA, no bfloat16 in products of float32 on CPUs.

    What was set before is put back. Newer versions of PyTorch have a second way to set it, `fp32_precision`, and refuse to
    be asked in the first way after it was used: PyTorch's own setting is put back then.
    """
    products, convolutions = "highest", True
    with suppress(RuntimeError):
        products = torch.get_float32_matmul_precision()
    with suppress(RuntimeError):
        convolutions = torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions


@contextmanager
def dropout_as(dropped: Callable[[Tensor, float], Tensor]) -> Iterator[None]:
    """Dropout in train mode, as module or as function, is what `dropped` (input, rate) makes."""
    original = F.dropout, torch.dropout

    def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        return dropped(input, float(p)) if training else input

    F.dropout, torch.dropout = dropout, lambda input, p, train: dropout(input, p, train)
    try:
        yield
    finally:
        F.dropout, torch.dropout = original


@contextmanager
def replayed_dropout(calls: Sequence[Mapping]) -> Iterator[list[Mapping]]:
    """Dropout keeps what the recorded masks keep, call by call; yields the calls that are left.

    Current versions of PyTorch draw other masks from a seed than those with which the expected tensors were made.
    Whoever draws dropout by hand, or for one sequence at a time, leaves some calls: then the record says nothing.

    Args:
        calls: the record's `dropout_calls`: dicts with keep_mask (0 or 1, shaped like the input) and scale.
    """
    left = list(calls)

    def dropped(input: Tensor, rate: float) -> Tensor:
        if not left or np.shape(left[0]["keep_mask"]) != input.shape:
            left[:] = calls
            return input
        call = left.pop(0)
        return input * torch.tensor(call["keep_mask"]).to(input) * call["scale"]

    with dropout_as(dropped):
        yield left


def cosine_schedule(lr: float, warmup: int, total: int) -> Callable[[int], float]:
    """Learning rate of update t = 0, 1, …: a line up to `lr` in `warmup` updates, then half a cosine to 0 at `total`."""
    want_numbers("cosine_schedule", lr=lr, warmup=warmup, total=total)

    def rate(update: int) -> float:
        if update < warmup:
            return lr * (update + 1) / warmup
        return lr * 0.5 * (1 + math.cos(math.pi * (update - warmup) / max(1, total - warmup)))

    return rate


def tensor_to_image(tensor: Tensor) -> np.ndarray:
    """Image tensor (3, H, W), uint8 or float in [0, 1], as a uint8 array (H, W, 3) in RGB order."""
    want_tensors("tensor_to_image", floating=False, tensor=tensor)
    if tensor.ndim != 3 or tensor.shape[0] != 3:
        raise ValueError(
            f"tensor_to_image: wanted one image (3, H, W), got shape {tuple(tensor.shape)}. Pass a single RGB image."
        )
    if tensor.dtype != torch.uint8:
        tensor = tensor.detach().clamp(0, 1).mul(255).round().to(torch.uint8)
    return tensor.permute(1, 2, 0).cpu().numpy()


def nearest_cell(pixels: int, cells: int) -> np.ndarray:
    """For each pixel along one side of an image, which cell's centre is nearest: (pixels,) int in [0, cells)."""
    check_sizes("nearest_cell", pixels=pixels)
    check_sizes("nearest_cell", 1, cells=cells)
    return np.minimum(np.rint(np.arange(pixels) / CELL).astype(int), cells - 1)


def attention_visualizer(img: Tensor, attn_weights: Tensor, token: str) -> np.ndarray:
    """One image under its attention map, the word above it.

    The weights are enlarged to the image by nearest neighbour and blended half and half with it; a black strip of
    25 pixels on top carries the word in white.

    Args:
        img: (3, H, W) uint8, RGB. attn_weights: (h, w) float in [0, 1]. token: the word, any text.
    Returns:
        uint8 array (H + 25, W, 3) in **B, G, R** order, ready for `transforms.ToTensor`; the notebook flips the channels.
    Raises:
        ValueError: if `img` is not (3, H, W) or `attn_weights` is not 2-D.
    """
    import cv2  # 0.1 s to import, and only this function draws text

    want_tensors("attention_visualizer", floating=False, img=img, attn_weights=attn_weights)
    if img.ndim != 3 or img.shape[0] != 3 or attn_weights.ndim != 2 or not img.numel() or not attn_weights.numel():
        raise ValueError(
            "attention_visualizer: wanted img (3, H, W) and attn_weights (h, w), got "
            f"{tuple(img.shape)} and {tuple(attn_weights.shape)}. Pass one image and one word's map."
        )
    want_kind("attention_visualizer", "a text", str, token=token)
    picture = tensor_to_image(img)  # (H, W, 3)
    H, W, _ = picture.shape
    weights = attn_weights.detach().float().cpu().numpy()
    weights = cv2.resize(weights, (W, H), interpolation=cv2.INTER_NEAREST)[..., None]  # (H, W, 1)
    blended = 0.5 * weights * 255 + 0.5 * picture  # (H, W, 3), 0..255
    strip = np.zeros((STRIP_HEIGHT, W, 3), dtype=np.uint8)
    cv2.putText(strip, token, (10, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    return np.concatenate([strip, blended.round().clip(0, 255).astype(np.uint8)[..., ::-1]], axis=0)
