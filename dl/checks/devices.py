"""Does a function stay on its inputs' device? Asked on a computer that has one device only.

`device_case` takes tensors on "meta", a device that has shapes and no numbers: it finds tensors that are made elsewhere;
`named_device_case` names that device to a function that takes one.
Where torch has to load its Python code for it, that takes a second; `move_case` only watches for calls that move a tensor.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from dl.checks.exercise import Case, Draw, Fault, Values

STRANGERS = ("is not on the expected device", "Cannot copy out of meta tensor", "can't convert meta device")


def device_case(draw: Callable[[Draw], Values], call: Callable[..., object], name: str = "device followed") -> Case:
    """A case whose tensors lie on another device than the CPU.

    Args:
        draw: as of `Case`. call: (lesson, inputs) -> tensor, on the inputs' device.
    """

    def run(lesson, inputs: Values) -> Values:
        moved = {key: value.to("meta") if isinstance(value, Tensor) else value for key, value in inputs.items()}
        return _device_of_result(lambda: call(lesson, moved))

    return Case(name, draw, run, judge=_judge, compares=False)


def named_device_case(
    draw: Callable[[Draw], Values], call: Callable[..., object], name: str = "another device by name"
) -> Case:
    """A case whose tensors lie on the CPU while the function is told to work on another device.

    Args:
        draw: as of `Case`. call: (lesson, inputs, device) -> tensor, on that device.
    """

    def run(lesson, inputs: Values) -> Values:
        return _device_of_result(lambda: call(lesson, inputs, torch.device("meta")))

    return Case(name, draw, run, judge=_judge, compares=False)


def move_case(draw: Callable[[Draw], Values], call: Callable[..., object], name: str = "device followed") -> Case:
    """A case that notes calls by which a tensor leaves its device for a named one.

    Args:
        draw: as of `Case`. call: (lesson, inputs) -> tensor, on the inputs' device.
    """

    def run(lesson, inputs: Values) -> Values:
        with _Moves() as moves:
            call(lesson, inputs)
        return {"moves": moves.names}

    return Case(name, draw, run, judge=_judge_moves, compares=False)


def _device_of_result(call: Callable[[], object]) -> Values:
    try:
        result = call()
    except (RuntimeError, TypeError, NotImplementedError) as error:
        if any(words in str(error) for words in STRANGERS):
            return {"device": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
        return {"device": "meta"}  # a question to numbers that are not there (a mask as index, an if): nothing is known
    return {"device": str(result.device) if isinstance(result, Tensor) else "none"}


class _Moves(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        named = name == "to" and any(isinstance(value, str) for value in (*args, *kwargs.values()))
        if named or name in ("cpu", "cuda", "numpy", "tolist"):
            self.names.append(name)
        return func(*args, **kwargs)


def _judge_moves(inputs: Values, got: Values, right: Values) -> Fault | None:
    if not got["moves"]:
        return None
    return Fault(
        f"the tensors leave their device by {', '.join(got['moves'])}",
        "device-not-followed",
        "a tensor made inside, or the result, is not on the device of the inputs",
    )


def _judge(inputs: Values, got: Values, right: Values) -> Fault | None:
    device = got.get("device")
    if device == str(torch.device("meta")):
        return None
    return Fault(
        f"wanted on the device meta, result: {device}",
        "device-not-followed",
        "a tensor made inside, or the result, is not on the device of the inputs",
    )
