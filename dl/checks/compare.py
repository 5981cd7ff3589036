"""Comparison: what the student's code returned beside the right outputs, or beside those of a known mistake."""

from __future__ import annotations

import torch
from torch import Tensor

from dl.checks.calls import Record
from dl.checks.exercise import Case, Fault, Values, describe
from dl.grad import rel_error

SMALL = 12  # tensors of at most so many elements are printed whole
WIDTH = 150  # of a message's line


def differs(case: Case, right: Record, got: Record, inputs: Values) -> Fault | None:
    """The first thing in which a record is not the right one."""
    if got.error is not None:
        place = f" ({got.error['place']})" if got.error["place"] else ""
        kind = "" if got.error["kind"] == "WrongReturn" else f"raised {got.error['kind']}: "
        return Fault(cut(f"{kind}{got.error['message'].splitlines()[0]}") + ("\n" + cut(f"at{place}") if place else ""))
    assert got.outputs is not None and right.outputs is not None  # a record without an error has outputs
    if case.judge is not None:
        return case.judge(inputs, got.outputs, right.outputs)
    for name, wanted in right.outputs.items():
        if name not in got.outputs:
            return Fault(f"{name} is not there")
        fault = compare(name, got.outputs[name], wanted, case.rtol, case.atol, case.same_dtype)
        if fault is not None:
            return fault
    for name, wanted in (case.published or {}).items():
        assert case.limits is not None  # a published case has a limit for every output
        error = rel_error(torch.as_tensor(got.outputs[name]).double(), wanted.double())
        if not error <= case.limits[name]:
            return Fault(f"{name}: relative error {error:.1e} to the notebook's tensor, limit {case.limits[name]:.0e}")
    return None


def alike(case: Case, wrong: Record | None, got: Record) -> bool:
    """Whether a record is that of a known mistake; None: it is not known what that one returns."""
    if wrong is None:
        return False
    if wrong.error is not None or got.error is not None:
        if wrong.error is None or got.error is None:
            return False
        return all(wrong.error[k] == got.error[k] for k in ("kind", "message"))
    assert got.outputs is not None and wrong.outputs is not None
    return all(
        name in got.outputs and compare(name, got.outputs[name], value, case.rtol, case.atol, case.same_dtype) is None
        for name, value in wrong.outputs.items()
    )


def compare(name: str, got: object, right: object, rtol: float, atol: float, same_dtype: bool = True) -> Fault | None:
    """One output beside the right one: type, shape, dtype, values."""
    if isinstance(right, (list, tuple)):
        if not isinstance(got, (list, tuple)) or len(got) != len(right):
            return Fault(f"{name}: got {describe(got)}, expected {describe(right)}")
        faults = (compare(f"{name}[{i}]", got[i], right[i], rtol, atol, same_dtype) for i in range(len(right)))
        return next((fault for fault in faults if fault), None)
    if isinstance(right, dict):
        if not isinstance(got, dict) or list(got) != list(right):
            return Fault(f"{name}: got {cut(repr(got))}\nexpected {cut(repr(right))}")
        faults = (compare(f"{name}[{key!r}]", got[key], right[key], rtol, atol, same_dtype) for key in right)
        return next((fault for fault in faults if fault), None)
    if right is None or isinstance(right, (str, bool)):
        same = type(got) is type(right) and got == right
        return None if same else Fault(f"{name}: got {describe(got)}, expected {describe(right)}")
    if got is None:
        return _nothing(name, right)
    numbers = (Tensor, int, float)
    if not isinstance(got, numbers) or isinstance(got, bool) or not isinstance(right, numbers):
        return Fault(f"{name}: got {describe(got)}, expected {describe(right)}")
    if isinstance(got, Tensor) and (fault := _other_kind(name, got, right, same_dtype)):
        return fault
    return _compare_values(name, _as_tensor(got), _as_tensor(right), rtol, atol)


def _nothing(name: str, right: object) -> Fault:
    """None where a value, or a gradient, is wanted."""
    if name.startswith(("d", "grad_")) and isinstance(right, Tensor):
        of = name.removeprefix("grad_") if name.startswith("grad_") else name[1:]
        return Fault(
            f"{name}: no gradient arrives, expected {describe(right)}",
            "no-gradient",
            f"the result is cut off from {of} (detach, no_grad, .data, .item(), or not used at all)",
        )
    return Fault(f"{name}: got None, expected {describe(right)}")


def _other_kind(name: str, got: Tensor, right: object, same_dtype: bool) -> Fault | None:
    """A tensor of another dtype, or without values."""
    if isinstance(right, Tensor) and same_dtype and got.dtype != right.dtype:
        kind: tuple[str | None, str | None] = (None, None)
        if got.is_floating_point() and right.is_floating_point():
            kind = ("dtype-not-followed", "a tensor made inside has a dtype of its own instead of that of the inputs")
        if got.shape == right.shape or right.dim() == 0:
            return Fault(f"{name}: got dtype {_dtype(got)}, expected {_dtype(right)}", *kind)
    if got.device.type == "meta":
        return Fault(f"{name}: got a tensor on the device meta, expected {describe(right)} on the CPU")
    return None


def _compare_values(name: str, got: Tensor, right: Tensor, rtol: float, atol: float) -> Fault | None:
    if got.shape != right.shape:
        return Fault(f"{name}: got shape {tuple(got.shape)}, expected {tuple(right.shape)}")
    x, y = got.double(), right.double()
    agrees = torch.isclose(x, y, rtol=rtol, atol=atol, equal_nan=True)
    if bool(agrees.all()):
        return None
    gap = (x - y).abs().nan_to_num(nan=torch.inf).masked_fill(agrees, -1)
    worst = tuple(int(i) for i in torch.unravel_index(gap.argmax(), gap.shape)) if gap.dim() else ()
    share = f"{int((~agrees).sum())} of {agrees.numel()} elements differ"
    where = f"worst at [{', '.join(map(str, worst))}]" if worst else "value"
    digits = 6 if _number(x[worst]) != _number(y[worst]) else 12
    text = f"{name}: {share}, {where}: got {_number(x[worst], digits)}, expected {_number(y[worst], digits)}"
    if 1 < x.numel() <= SMALL:
        text += f"\ngot {_show(x, worst)}, expected {_show(y, worst)}"
    return Fault(text, details=lambda: f"{name}, got:\n{got}\n{name}, expected:\n{right}")


def _as_tensor(value: Tensor | float) -> Tensor:
    return value.detach() if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)


def cut(text: str, width: int = WIDTH) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _number(value: Tensor, digits: int = 6) -> str:
    return f"{float(value):.{digits}g}"


def _show(tensor: Tensor, worst: tuple[int, ...]) -> str:
    """A small tensor as nested lists, its worst element between arrows."""

    def text(value: Tensor, place: tuple[int, ...]) -> str:
        if value.dim():
            return "[" + ", ".join(text(part, (*place, i)) for i, part in enumerate(value)) + "]"
        number = f"{float(value):.4g}"
        return f">{number}<" if place == worst else number

    return text(tensor, ())
