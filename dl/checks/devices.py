"""Does a function stay on its inputs' device? Asked on a computer that has one device only.

`device_case` takes tensors that say they lie on "meta", and finds tensors that are made elsewhere; `named_device_case` names
that device to a function that takes one.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

from dl.checks.exercise import Case, Draw, Fault, Values

THERE = torch.device("meta")
FROM_CPU = ("copy_", "index", "index_put", "index_put_")  # take tensors and indices on the CPU, on every device
STRANGERS = ("is not on the expected device", "Cannot copy out of meta tensor", ".numpy() is not supported")


class _There(Tensor):
    """A tensor that says it lies on `THERE`; its numbers are in `held`, on the CPU.

    A plain "meta" tensor has no numbers, and torch loads two seconds' worth of Python to compute with one.
    """

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> _There:
        made = Tensor._make_wrapper_subclass(
            cls, held.shape, held.stride(), held.storage_offset(), dtype=held.dtype, device=THERE
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return NotImplemented


class _Elsewhere(TorchDispatchMode):
    """While it is on, tensors on `THERE` compute among themselves, and refuse those on the CPU, as on a second device."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:  # to be skipped by torch's compiler, it would load it: two seconds
        return False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs, name = kwargs or {}, func.overloadpacket.__name__
        tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        inside = [tensor for tensor in tensors if tensor.device == THERE]
        strangers = [tensor for tensor in tensors if tensor.device != THERE and tensor.dim() > 0]
        wanted = kwargs.get("device")
        if inside and (wanted not in (None, THERE) or (name == "copy_" and args[0].device != THERE)):
            raise NotImplementedError("Cannot copy out of meta tensor; no data!")
        if inside and strangers and name not in FROM_CPU:
            raise RuntimeError(
                f"Expected all tensors on one device: {strangers[0].device} is not on the expected device {THERE}"
            )
        result = func(*tree_map(_held, args), **tree_map(_held, kwargs))
        if not inside and wanted != THERE:
            return result
        return return_and_correct_aliasing(func, args, kwargs, tree_map(_there, result))


def _held(value: object) -> object:
    if isinstance(value, _There):
        return value.held
    if isinstance(value, Tensor) and value.device == THERE:  # made by torch itself, without numbers
        return torch.zeros(value.shape, dtype=value.dtype)
    return torch.device("cpu") if value == THERE else value


def _there(value: object) -> object:
    return _There(value) if isinstance(value, Tensor) else value


def device_case(draw: Callable[[Draw], Values], call: Callable[..., object], name: str = "device followed") -> Case:
    """A case whose tensors lie on another device than the CPU.

    Args:
        draw: as of `Case`. call: (lesson, inputs) -> tensor, on the inputs' device.
    """

    def run(lesson, inputs: Values) -> Values:
        return _device_of_result(lambda: call(lesson, tree_map(_there, dict(inputs))))

    return Case(name, draw, run, judge=_judge, compares=False)


def named_device_case(
    draw: Callable[[Draw], Values], call: Callable[..., object], name: str = "another device by name"
) -> Case:
    """A case whose tensors lie on the CPU while the function is told to work on another device.

    Args:
        draw: as of `Case`. call: (lesson, inputs, device) -> tensor, on that device.
    """

    def run(lesson, inputs: Values) -> Values:
        return _device_of_result(lambda: call(lesson, inputs, THERE))

    return Case(name, draw, run, judge=_judge, compares=False)


def _device_of_result(call: Callable[[], object]) -> Values:
    try:
        with _Elsewhere():
            result = call()
    except (RuntimeError, TypeError, NotImplementedError) as error:
        if any(words in str(error) for words in STRANGERS):
            return {"device": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
        return {"device": "meta"}  # a question to numbers that are not there (a mask as index, an if): nothing is known
    return {"device": str(result.device) if isinstance(result, Tensor) else "none"}


def _judge(inputs: Values, got: Values, right: Values) -> Fault | None:
    device = got.get("device")
    if device == str(THERE):
        return None
    return Fault(
        f"wanted on the device meta, result: {device}",
        "device-not-followed",
        "a tensor made inside, or the result, is not on the device of the inputs",
    )
