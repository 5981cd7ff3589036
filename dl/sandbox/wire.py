"""Plain data between processes: one JSON header and the bytes of its tensors. Nothing is pickled.

What arrives may have been written by anybody: sizes are bounded, and what does not fit together is a `ValueError`.
"""

from __future__ import annotations

import json
import struct
from typing import Any

import torch
from torch import Tensor

from dl.checks.exercise import describe

HEAD = struct.Struct(">IQ")  # bytes of the header and of the tensors
MOST_HEADER, MOST_BYTES = 2**24, 2**28
DEEPEST = 32  # lists in lists, of one value
LONGEST = 20_000  # characters of a text
KINDS = "bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64 complex64 complex128"
DTYPES = {name: getattr(torch, name) for name in KINDS.split()}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


class Outgoing:
    """A frame in the making. What is put in is copied at once, so that nothing can change it afterwards."""

    def __init__(self) -> None:
        self._buffers: list[bytes] = []
        self._bytes = 0

    def put(self, value: object, depth: int = DEEPEST) -> object:
        """What stands for a value in the header; for what is no plain data, its kind."""
        if depth == 0:
            return {"other": "value nested too deep"}
        if isinstance(value, Tensor):
            return self._put_tensor(value)
        if isinstance(value, dict):
            return {"dict": [[self.put(key, depth - 1), self.put(part, depth - 1)] for key, part in value.items()]}
        if isinstance(value, (list, tuple)):
            parts = [self.put(part, depth - 1) for part in value]
            return parts if isinstance(value, list) else {"tuple": parts}
        if type(value) is str:
            return value[:LONGEST]
        if value is None or type(value) in (bool, int, float):
            return value
        if isinstance(value, float):  # numpy's float64
            return float(value)
        return {"other": type(value).__name__[:LONGEST]}

    def frame(self, header: object) -> bytes:
        """The whole frame; `header` is made of what `put` returned."""
        text = json.dumps(header).encode()
        return HEAD.pack(len(text), self._bytes) + text + b"".join(self._buffers)

    def _put_tensor(self, tensor: Tensor) -> object:
        tensor = tensor.detach()
        if tensor.dtype not in NAMES or tensor.layout != torch.strided:
            return {"other": describe(tensor)}
        kept = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape)}
        if tensor.device.type == "meta":
            return {"meta": kept}
        tensor = tensor.cpu().resolve_conj().resolve_neg()
        order = sorted(range(tensor.dim()), key=tensor.stride, reverse=True)  # a transposed tensor arrives transposed
        tensor = tensor.permute(order)
        flat = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")  # .contiguous() keeps the strides of one element
        flat.copy_(tensor)
        start = self._bytes
        self._buffers.append(flat.reshape(-1).view(torch.uint8).numpy().tobytes())
        self._bytes += len(self._buffers[-1])
        return {"tensor": {**kept, "order": order, "start": start}}


def to_frame(value: object) -> bytes:
    """A value as bytes: tensors, numbers, texts, None, and lists, tuples and dicts of them; of other things the kind."""
    outgoing = Outgoing()
    return outgoing.frame(outgoing.put(value))


def size_of(frame: bytes | bytearray) -> int | None:
    """How long the frame is that begins with these bytes; None if that cannot be told yet.

    Raises:
        ValueError: if it is longer than any may be.
    """
    if len(frame) < HEAD.size:
        return None
    header, body = HEAD.unpack_from(frame)
    if header > MOST_HEADER or body > MOST_BYTES:
        raise ValueError(f"a frame of {header} + {body} bytes; at most {MOST_HEADER} + {MOST_BYTES} are taken")
    return HEAD.size + header + body


def from_frame(frame: bytes | bytearray) -> Any:
    """The value of a frame, with tensors of its own; of a kind that was not sent, an empty object of that name.

    Raises:
        ValueError: if it is none, or its parts do not fit together.
    """
    try:
        if size_of(frame) != len(frame):
            raise ValueError(f"{len(frame)} bytes are no whole frame")
        end = HEAD.size + HEAD.unpack_from(frame)[0]
        return _get(json.loads(bytes(frame[HEAD.size : end])), memoryview(frame)[end:], 2 * DEEPEST)
    except (TypeError, KeyError, IndexError, AttributeError, RuntimeError, OverflowError, RecursionError) as error:
        raise ValueError(f"a frame whose parts do not fit together: {type(error).__name__}") from error


def _get(kept, body: memoryview, depth: int):
    if depth == 0:
        raise ValueError("a frame nested too deep")
    if isinstance(kept, list):
        return [_get(part, body, depth - 1) for part in kept]
    if not isinstance(kept, dict):
        return kept
    ((kind, value),) = kept.items()
    if kind == "dict":
        return {_key(key): _get(part, body, depth - 1) for key, part in value}
    if kind == "tuple":
        return tuple(_get(part, body, depth - 1) for part in value)
    if kind == "other":
        return type(str(value).replace("\0", "")[:LONGEST], (), {})()
    shape, dtype = torch.Size(value["shape"]), DTYPES[value["dtype"]]
    if any(size < 0 for size in shape):
        raise ValueError(f"a tensor of shape {tuple(shape)}")
    if kind == "meta":
        return torch.empty(shape, dtype=dtype, device="meta")
    return _get_tensor(shape, dtype, value["order"], value["start"], body)


def _get_tensor(shape: torch.Size, dtype: torch.dtype, order: list[int], start: int, body: memoryview) -> Tensor:
    if sorted(order) != list(range(len(shape))):
        raise ValueError(f"axes {order} of a tensor of shape {tuple(shape)}")
    size = dtype.itemsize
    for length in shape:
        size *= length
    if not 0 <= start <= start + size <= len(body):
        raise ValueError(f"a tensor of {size} bytes, from byte {start} of {len(body)}")
    stored = [shape[axis] for axis in order]
    if size == 0:
        return torch.empty(stored, dtype=dtype).permute(_inverse(order))
    flat = torch.frombuffer(bytearray(body[start : start + size]), dtype=torch.uint8)
    flat = flat.bool() if dtype == torch.bool else flat.view(dtype)
    return flat.reshape(stored).permute(_inverse(order))


def _inverse(order: list[int]) -> list[int]:
    return sorted(range(len(order)), key=order.__getitem__)


def _key(key: object) -> object:
    if key is not None and not isinstance(key, (str, int, float)):
        raise ValueError(f"a key that is a {type(key).__name__}")
    return key
