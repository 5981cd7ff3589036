"""Plain data with many small tensors as one text and one long tensor a dtype: small on disk, quick to load.

A file of `torch.save` spends some 400 bytes and 30 microseconds on each tensor; recorded answers have tens of thousands.
"""

from __future__ import annotations

import json
import zlib

import torch
from torch import Tensor

from dl.checks.exercise import describe

KEPT = (str, int, float, bool, type(None))


class Packer:
    """Collects data; equal tensors are kept once."""

    def __init__(self) -> None:
        self._parts: dict[str, list[Tensor]] = {}
        self._ends: dict[str, int] = {}
        self._known: dict[tuple[str, bytes], int] = {}

    def add(self, value: object, strict: bool = True, single: bool = False) -> object:
        """What stands for a value in JSON.

        Args:
            strict: whether other things are an error; else their kind is kept, as a text.
            single: whether float64 may be kept in single precision, to 1 in 10 million. It takes half the space, and
                tensors that differ only by the order of their operations become one.
        Raises:
            TypeError: for what is neither a tensor, number, text or None, nor a list, tuple or dict of them.
        """
        if isinstance(value, Tensor):
            value = value.detach().cpu()
            kept = _single(value) if single and value.dtype == torch.float64 else value
            also = {} if kept.dtype == value.dtype else {"as": _name(value.dtype)}
            return {"tensor": self._place(kept), "shape": list(value.shape), **also}
        if isinstance(value, dict):
            return {"dict": [[self.add(key), self.add(kept, strict, single)] for key, kept in value.items()]}
        if isinstance(value, (list, tuple)):
            parts = [self.add(part, strict, single) for part in value]
            return parts if isinstance(value, list) else {"tuple": parts}
        if type(value) in KEPT:
            return value
        if not strict:
            return describe(value)
        raise TypeError(
            f"Packer: got a {type(value).__name__}; wanted tensors, numbers, texts, None, and lists, tuples or "
            "dicts of them. Let the case return such plain data."
        )

    def tensors(self) -> dict[str, Tensor]:
        """All elements, one tensor a dtype, by its name."""
        return {dtype: torch.cat(parts) for dtype, parts in self._parts.items()}

    def _place(self, tensor: Tensor) -> list:
        dtype = _name(tensor.dtype)
        flat = tensor.reshape(-1).clone(memory_format=torch.contiguous_format)
        key = dtype, flat.view(torch.uint8).numpy().tobytes()
        if key not in self._known:
            self._known[key] = self._ends.get(dtype, 0)
            self._ends[dtype] = self._known[key] + len(flat)
            self._parts.setdefault(dtype, []).append(flat)
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
    return tensors[dtype][start : start + shape.numel()].to(getattr(torch, kept.get("as", dtype)), copy=True).reshape(shape)


def to_bytes(value: object) -> Tensor:
    """JSON, compressed, as a tensor of bytes: what `torch.load` reads safely. NaN and infinities are kept."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return torch.frombuffer(bytearray(zlib.compress(text.encode(), 9)), dtype=torch.uint8)


def to_text(kept: Tensor) -> str:
    """The JSON of `to_bytes`."""
    return zlib.decompress(kept.numpy().tobytes()).decode()


def _single(value: Tensor) -> Tensor:
    """In single precision, unless that loses more than its rounding: too large, too small."""
    single = value.float()
    return single if torch.allclose(single.double(), value, rtol=1e-7, atol=0, equal_nan=True) else value


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
