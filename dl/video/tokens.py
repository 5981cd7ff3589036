"""Video frames on their way through DINO: resized, normalised, turned into patch tokens, and remembered per model.

In memory, and in a folder if one is named: then a killed run finds the frames that it has done.

Axes: B frames, H x W pixels, P patches of a frame (row by row), D features.
"""

from __future__ import annotations

import hashlib
import weakref
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dl.console import write_whole
from dl.data.content import load_saved
from dl.files import save_tensors, user_path
from dl.guards import check_sizes, want_device, want_iterable, want_methods
from dl.guards.images import check_images
from dl.image_utils import IMAGENET_MEAN, IMAGENET_STD
from dl.utils import no_grad

FRAME_SIZE = 480  # reference setting: frames are resized to 480 x 480, whatever their aspect ratio
PATCH = 8  # side of a patch of the published ViT-S/8, in pixels
FRAMES_AT_ONCE = 32  # through DINO, if their attention matrices fit
ATTENTION_AT_ONCE = 13_000_000  # entries of one head's attention matrices at once: one frame of 3601 tokens
CACHE_BYTES = 700_000_000  # tokens kept for one model: 126 frames of 3600 x 384 in float32

# model -> tokens of frames, the most recently used last; an entry goes when its model does
_remembered: weakref.WeakKeyDictionary[nn.Module, OrderedDict[tuple, Tensor]] = weakref.WeakKeyDictionary()


def frame_tensor(frames: Sequence[np.ndarray], size: int = FRAME_SIZE) -> Tensor:
    """Frames as DINO expects them: resized to size x size (bilinear), scaled to [0, 1], normalised by ImageNet's statistics.

    Args:
        frames: B uint8 arrays (H, W, 3), RGB.
    Returns:
        (B, 3, size, size) float32, on the CPU; within 1e-6 of torchvision's transforms on PIL images.
    Raises:
        ValueError: without frames, or for frames of other shapes. TypeError: for frames that are not uint8.
    """
    check_sizes("frame_tensor", 1, size=size)
    return _normalised([_resized(frame, size) for frame in check_images("frame_tensor", frames, grey=False)])


def stream_tokens(
    frames: Iterable[np.ndarray],
    model: nn.Module,
    device: torch.device | str,
    size: int = FRAME_SIZE,
    folder: str | Path | None = None,
) -> Iterator[Tensor]:
    """Patch tokens (P, D) of one frame after another, in constant memory: `frames` may be a generator.

    Args:
        folder: keeps the tokens of each frame in a file (5.5 MB in the reference setting), for other processes with the
            same weights. Delete it after a change of the model's code. None keeps nothing.
    Raises:
        ValueError: for a size that the model's patches do not divide, or frames of other shapes.
        TypeError: for frames that are not uint8.
    """
    want_methods("process_frames", "get_intermediate_layers", dino_model=model)
    want_device("process_frames", device)
    want_iterable("process_frames", "a list of frames", frames=frames)
    check_sizes("process_frames", size=size)
    patch = getattr(model, "patch_size", PATCH)
    if size < PATCH or size % patch:
        raise ValueError(
            f"process_frames: got size {size}, wanted a multiple of the model's patch, {patch} pixels. "
            f"The course uses {FRAME_SIZE}."
        )
    kept = None if folder is None or not isinstance(model, nn.Module) else user_path(folder)  # others have no known state
    at_once = min(max(1, ATTENTION_AT_ONCE // (size // PATCH) ** 4), FRAMES_AT_ONCE)
    batch: list[np.ndarray] = []
    for frame in frames:
        batch.append(frame)
        if len(batch) == at_once:
            yield from _tokens_of_batch(batch, model, device, size, kept)
            batch = []
    if batch:
        yield from _tokens_of_batch(batch, model, device, size, kept)


@no_grad
def _tokens_of_batch(
    frames: list[np.ndarray], model: nn.Module, device: torch.device | str, size: int, folder: Path | None
) -> list[Tensor]:
    """(P, D) per frame, from memory, from the folder, or from one pass of the model over all frames that are new."""
    resized = [_resized(frame, size) for frame in check_images("process_frames", frames, grey=False)]
    known = _remembered_of(model)
    state = _state_of(model)
    keys = [(hashlib.sha256(image.tobytes()).digest(), *image.shape, *state) for image in resized]
    files = {key: folder / f"{hashlib.sha256(repr(key).encode()).hexdigest()}.pt" for key in keys} if folder else {}
    known.update({key: tokens for key, file in files.items() if key not in known for tokens in _read(file)})
    new = {key: image for key, image in zip(keys, resized) if key not in known}
    if new:
        images = _normalised(list(new.values())).to(device, _dtype_of(model))  # (B, 3, size, size)
        layers: Any = model.get_intermediate_layers  # Any: nn.Module declares its attributes as tensors or modules
        tokens = layers(images, n=1)[0][:, 1:]  # (B, P, D), without [CLS]
        known.update(zip(new, tokens.cpu().unbind()))
    for key, file in files.items():
        if not file.exists():
            write_whole(file, partial(save_tensors, known[key].clone()))  # a part of a batch would take all of it along
    found = []
    for key in keys:
        known.move_to_end(key)
        found.append(known[key].to(device, copy=True))
    while sum(tokens.nbytes for tokens in known.values()) > CACHE_BYTES:
        known.popitem(last=False)  # the least recently used
    return found


def _read(file: Path) -> list[Tensor]:
    """The tokens in a file; none if it is absent, or removed because it is damaged."""
    if not file.exists():
        return []
    tokens, _ = load_saved(file)
    if isinstance(tokens, Tensor) and tokens.ndim == 2:
        return [tokens]
    file.unlink()
    return []


def _remembered_of(model: nn.Module) -> OrderedDict[tuple, Tensor]:
    try:
        return _remembered.setdefault(model, OrderedDict())
    except TypeError:  # an object without a hash or weak references: nothing is kept for it
        return OrderedDict()


def _state_of(model: nn.Module) -> tuple:
    """What changes when the model does: its mode, and two sums over every tensor (`.data` leaves no other trace)."""
    if not isinstance(model, nn.Module):
        return ()
    tensors = [t.detach().flatten() for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()]
    sums = [s.to("cpu", torch.float64) for t in tensors for s in (t.sum(), torch.linalg.vector_norm(t))]
    return (model.training, *(torch.stack(sums).tolist() if sums else ()))


def _dtype_of(model: nn.Module) -> torch.dtype:
    parameters = model.parameters() if isinstance(model, nn.Module) else ()
    return next((p.dtype for p in parameters if p.is_floating_point()), torch.float32)


def _resized(frame: np.ndarray, size: int) -> np.ndarray:
    from PIL import Image

    return np.array(Image.fromarray(frame).resize((size, size), Image.Resampling.BILINEAR))


def _normalised(images: list[np.ndarray]) -> Tensor:
    """uint8 images (H, W, 3) of one size as (B, 3, H, W), with one multiplication and one subtraction per value."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    out = torch.empty(len(images), 3, *images[0].shape[:2])
    for slot, image in zip(out, images):
        slot.copy_(torch.from_numpy(image).permute(2, 0, 1))
    return out.mul_(1 / (255 * std)).sub_(mean / std)
