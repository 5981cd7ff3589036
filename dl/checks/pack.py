"""Plain data with many small tensors as one text and one long tensor a dtype: small on disk, quick to load.

A file of `torch.save` spends some 400 bytes and 30 microseconds on each tensor; recorded answers have tens of thousands.
"""

from __future__ import annotations

import json

import torch
from torch import Tensor

KEPT = (str, int, float, bool, type(None))


class Packer:
    """Collects data; equal tensors are kept once."""

    def __init__(self) -> None:
        self._parts: dict[str, list[Tensor]] = {}
        self._ends: dict[str, int] = {}
        self._known: dict[tuple[str, bytes], int] = {}

    def add(self, value: object) -> object:
        """What stands for a value in JSON.

        Raises:
            TypeError: for what is neither a tensor, number, text or None, nor a list, tuple or dict of them.
        """
        if isinstance(value, Tensor):
            return {"tensor": self._place(value.detach().cpu()), "shape": list(value.shape)}
        if isinstance(value, dict):
            return {"dict": [[self.add(key), self.add(kept)] for key, kept in value.items()]}
        if isinstance(value, (list, tuple)):
            kept = [self.add(part) for part in value]
            return kept if isinstance(value, list) else {"tuple": kept}
        if type(value) in KEPT:
            return value
        raise TypeError(f"Packer: got a {type(value).__name__}; wanted tensors, numbers, texts, None, and lists, tuples or "
                        "dicts of them. Let the probe return such plain data.")

    def tensors(self) -> dict[str, Tensor]:
        """All elements, one tensor a dtype, by its name."""
        return {dtype: torch.cat(parts) for dtype, parts in self._parts.items()}

    def _place(self, tensor: Tensor) -> list:
        dtype = str(tensor.dtype).removeprefix("torch.")
        flat = tensor.contiguous().reshape(-1)
        key = dtype, flat.view(torch.uint8).numpy().tobytes()
        if key not in self._known:
            self._known[key] = self._ends.get(dtype, 0)
            self._ends[dtype] = self._known[key] + len(flat)
            self._parts.setdefault(dtype, []).append(flat.clone())
        return [dtype, self._known[key]]


def unpack(kept: object, tensors: dict[str, Tensor]) -> object:
    """The value again, with tensors of its own."""
    if isinstance(kept, list):
        return [unpack(part, tensors) for part in kept]
    if not isinstance(kept, dict):
        return kept
    if "dict" in kept:
        return {unpack(key, tensors): unpack(value, tensors) for key, value in kept["dict"]}
    if "tuple" in kept:
        return tuple(unpack(part, tensors) for part in kept["tuple"])
    dtype, start = kept["tensor"]
    shape = torch.Size(kept["shape"])
    return tensors[dtype][start : start + shape.numel()].clone().reshape(shape)


def to_text(value: object) -> str:
    """JSON without blanks; NaN and infinities are kept."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
