"""Checks of arguments of dl/clip_dino.py, and CLIP's tokenizer with errors in words."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from dl.guards import as_tensor, check_tensors, want_device, want_function, want_methods

MOST_CLASSES = 10_000  # the table of all pairs of classes has to fit into memory


class SegmentationHead(Protocol):
    """What the checks read of a `DINOSegmentation`."""

    device: torch.device | str
    num_classes: int
    inp_dim: int


def check_features(text: Tensor, image: Tensor) -> None:
    """A product of small matrices takes microseconds, so arguments that fit skip the detailed look."""
    name = "get_similarity_no_loop"
    if not (
        isinstance(text, Tensor)
        and isinstance(image, Tensor)
        and text.ndim == image.ndim == 2
        and text.shape[1] == image.shape[1]
        and text.dtype == image.dtype
    ):
        check_tensors(name, text_features=(text, "any N D"), image_features=(image, "any M D"))
    if not (text.is_floating_point() and image.is_floating_point()):
        raise TypeError(
            f"{name}: wanted floating features, got {text.dtype} and {image.dtype}. "
            "Pass what encode_text and encode_image return."
        )


def tokenize(function: str, texts: Sequence[str], device: torch.device | str) -> Tensor:
    """`clip.tokenize`, (N, 77) on the device, with errors in words."""
    fits = isinstance(texts, (Sequence, np.ndarray)) and not isinstance(texts, str)
    if not fits or isinstance(texts, np.ndarray) and not texts.ndim or not all(isinstance(text, str) for text in texts):
        raise TypeError(f"{function}: wanted a list of texts, got {texts!r:.60}. Pass strings in a list.")
    if not len(texts):
        raise ValueError(f"{function}: wanted at least one text, got none. Pass the classes to choose from.")
    device = want_device(function, device)
    tokenizer = _imported_tokenizer()
    try:
        return tokenizer(list(texts)).to(device)
    except RuntimeError as error:
        raise ValueError(
            f"{function}: a text has more than CLIP's 77 tokens (75 and the two of begin and end): "
            f"{str(error):.90}…. Shorten it."
        ) from error


@contextmanager
def quiet_clip_import() -> Iterator[None]:
    """Within it, `import clip` does not print setuptools' warning that `pkg_resources` is deprecated."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*pkg_resources.*")
        yield


def _imported_tokenizer() -> Callable:
    """`clip.tokenize`, or an error that says which package it is in and what that needs."""
    try:
        with quiet_clip_import():
            from clip import tokenize
    except ImportError as error:
        raise ImportError(
            f"clip_dino: the package clip cannot be used ({error}). Install it with "
            'python -m pip install "clip-anytorch>=2.6" "setuptools>=77.0.3,<82" (the package called clip is another one).'
        ) from error
    return tokenize


def check_query(query: str, k: int) -> int:
    """k as an int, for `CLIPImageRetriever.retrieve`."""
    if not isinstance(query, str):
        raise TypeError(f"CLIPImageRetriever.retrieve: wanted one text, got {type(query).__name__}. Pass a string.")
    try:
        if isinstance(k, bool):
            raise TypeError("True and False are no numbers of images")
        k = operator.index(k)
    except TypeError as error:
        raise TypeError(f"CLIPImageRetriever.retrieve: wanted a whole number k, got {k!r:.60}. Pass an int.") from error
    if k < 1:
        raise ValueError(f"CLIPImageRetriever.retrieve: wanted k >= 1, got {k}. Ask for at least one image.")
    return k


def check_model(function: str, model: object, preprocess: Callable, device: torch.device | str) -> None:
    """CLIP's two encoders, a function for its images, and a device."""
    want_methods(function, "encode_text encode_image", clip_model=model)
    want_function(function, "a function of an image", clip_preprocess=preprocess)
    want_device(function, device)


def check_head_size(device: torch.device | str, num_classes: int, inp_dim: int) -> None:
    """At least one class and one feature."""
    want_device("DINOSegmentation", device)
    try:
        sizes = int(num_classes), int(inp_dim)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise TypeError(
            f"DINOSegmentation: wanted numbers num_classes and inp_dim, got {num_classes!r:.40}, {inp_dim!r:.40}. Pass ints."
        ) from error
    if not 1 <= min(sizes) <= max(sizes) < 2**31:
        raise ValueError(
            f"DINOSegmentation: wanted num_classes and inp_dim of at least 1, got {num_classes} and {inp_dim}. "
            "masks.max() + 1 wraps to 0 in uint8 if a mask holds 255: write int(masks.max()) + 1."
        )


def check_tokens(head: SegmentationHead, method: str, X: Tensor) -> Tensor:
    """Tokens (N, D) as float32 on the head's device, without gradient."""
    function = f"DINOSegmentation.{method}"
    check_tensors(function, X=(X, f"any N {head.inp_dim}"))
    if not X.is_floating_point():
        raise TypeError(f"{function}: wanted tokens as floats, got {X.dtype}. Convert them with .float().")
    if not X.isfinite().all():
        raise ValueError(
            f"{function}: the tokens of {(~X.isfinite()).any(dim=1).sum().item()} of {len(X)} patches are NaN or infinite, "
            "wanted finite ones. Look for NaN in the model's weights and the frames."
        )
    return X.detach().to(head.device, torch.float32)


def check_finite_head(head: SegmentationHead, X: Tensor, num_iters: int) -> None:
    """After training: a loss that became NaN or infinite has left its trace in the weights."""
    modules = [part for part in vars(head).values() if isinstance(part, nn.Module)]
    if not all(parameter.isfinite().all() for module in modules for parameter in module.parameters()):
        raise ValueError(
            f"DINOSegmentation.train: after {num_iters} steps the head's weights are not finite, wanted a loss that falls. "
            f"Scale the tokens down: their largest value is {X.abs().max().item():.3g}."
        )


def check_patch_labels(head: SegmentationHead, method: str, Y: Tensor, count: int) -> Tensor:
    """Classes (N,) of as many tokens, as int64 on the head's device."""
    function = f"DINOSegmentation.{method}"
    check_tensors(function, Y_train=(Y, f"any {count}"))
    if Y.is_floating_point() or Y.dtype == torch.bool:
        raise TypeError(f"{function}: wanted classes as integers, got {Y.dtype}. Convert them with .long().")
    if not len(Y) or Y.min() < 0 or Y.max() >= head.num_classes:
        span = f"{int(Y.min())} to {int(Y.max())}" if len(Y) else "none"
        raise ValueError(
            f"{function}: wanted classes from 0 to {head.num_classes - 1}, got {span}. "
            "Count the classes over all masks, and set undecided pixels (255) to 0."
        )
    return Y.to(head.device, torch.int64)


def integer_labels(labels: Tensor | np.ndarray) -> Tensor:
    """Labels of any integer dtype, from arrays however they lie in memory, as a tensor of one that torch computes with."""
    if isinstance(labels, np.ndarray):
        labels = labels.astype(np.int64 if labels.dtype.kind in "iu" else labels.dtype, copy=True)
    labels = as_tensor("compute_iou", "a labelling", labels)
    return labels.long() if labels.dtype in (torch.uint16, torch.uint32, torch.uint64) else labels


def check_labels(pred: Tensor, gt: Tensor, num_classes: int) -> int:
    """The number of classes as an int, or an error in words."""
    try:
        num_classes = operator.index(num_classes)
    except TypeError as error:
        raise TypeError(
            f"compute_iou: wanted a whole number num_classes, got {num_classes!r:.60}. Pass int(masks.max()) + 1."
        ) from error
    if num_classes > MOST_CLASSES:
        raise ValueError(
            f"compute_iou: wanted num_classes of at most {MOST_CLASSES:,}, got {num_classes}. Number the classes from 0 "
            "without gaps."
        )
    if pred.is_floating_point() or gt.is_floating_point():
        raise TypeError(
            f"compute_iou: wanted classes as integers, got {pred.dtype} and {gt.dtype}. "
            "Pass class numbers, such as scores.argmax(dim=-1)."
        )
    if pred.shape != gt.shape or not pred.numel():
        raise ValueError(
            f"compute_iou: wanted two labellings of one shape, got {tuple(pred.shape)} and {tuple(gt.shape)}. "
            "Bring both to one size by nearest neighbour."
        )
    ends = [int(end) for labels in (pred, gt) for end in labels.aminmax()]
    if num_classes < 1 or min(ends) < 0 or max(ends) >= num_classes:
        raise ValueError(
            f"compute_iou: wanted classes from 0 to num_classes - 1, got {min(ends)} to {max(ends)} and "
            f"num_classes {num_classes}. Count the classes over all masks, int(masks.max()) + 1, and set "
            "undecided pixels (255) to 0."
        )
    return num_classes
