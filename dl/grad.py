"""Gradient checks: a numeric gradient by central differences, and one number for the distance of two tensors."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dl.guards import as_tensor, want_function, want_numbers, want_tensors


def compute_numeric_gradient(f: Callable[[Tensor], Tensor], x: Tensor, dLdf: Tensor | None = None, h: float = 1e-7) -> Tensor:
    """Gradient of sum(dLdf * f(x)) with respect to x, by central differences.

    Element by element, sum(dLdf * (f(x + h) - f(x - h))) / (2 h). Each element of `x` is moved in
    place and put back, so `f` may either use its argument or the outer `x` itself; `x` may require
    grad and may be a view or non-contiguous. Runs under `no_grad`.

    Args:
        f: function of `x`, called with `x` itself; returns a float tensor of any shape.
        x: float64 tensor of any shape, restored exactly afterwards.
        dLdf: upstream gradient shaped like f(x); None stands for ones.
        h: step, > 0. The default needs float64: in float32, x + 1e-7 is mostly x again.
    Returns:
        tensor shaped like `x`, same dtype and device.
    Raises:
        TypeError: if `x` is not float64 (float32 is accepted for h >= 1e-3).
        ValueError: if h <= 0, `x` shares memory between its own elements, or dLdf does not fit f(x).
    """
    if not isinstance(x, Tensor) or x.dtype not in (torch.float64, torch.float32):
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"compute_numeric_gradient: x must be a float64 tensor, got {kind}. Convert it with x.double().")
    if dLdf is not None:
        want_tensors("compute_numeric_gradient", floating=False, dLdf=dLdf)
    want_numbers("compute_numeric_gradient", h=h)
    want_function("compute_numeric_gradient", "a function of x", f=f)
    if h <= 0:
        raise ValueError(f"compute_numeric_gradient: the step h must be > 0, got {h}. Leave it out for 1e-7.")
    if x.dtype == torch.float32 and h < 1e-3:
        raise TypeError(
            f"compute_numeric_gradient: x is float32 and h is {h:g}: the step drowns in rounding and the result would "
            "be wrong. Convert x with x.double(), or pass h=1e-2 and expect two digits."
        )
    if any(stride == 0 and size > 1 for stride, size in zip(x.stride(), x.shape)):
        raise ValueError(
            f"compute_numeric_gradient: x of shape {tuple(x.shape)} is an expanded view whose elements share memory, "
            "so one cannot be moved alone. Pass x.clone()."
        )
    with torch.no_grad():
        values = x.detach()  # same memory, no graph; indexing writes through any stride
        upstream = torch.ones_like(f(x)) if dLdf is None else dLdf.detach()
        gradient = torch.zeros_like(values, memory_format=torch.contiguous_format)
        flat = gradient.view(-1)
        for position in range(values.numel()):
            index = _unravel(position, values.shape)
            original = values[index].item()
            try:
                values[index] = original + h
                above = f(x).clone()
                values[index] = original - h
                below = f(x).clone()
            finally:  # also when f raises, or the cell is interrupted
                values[index] = original
            if position == 0 and above.shape != upstream.shape:
                raise ValueError(
                    f"compute_numeric_gradient: f(x) has shape {tuple(above.shape)} but dLdf {tuple(upstream.shape)}. "
                    "Pass an upstream gradient shaped like f(x)."
                )
            flat[position] = ((above - below) * upstream.to(above)).sum() / (2 * h)
    return gradient


def rel_error(x: Tensor, y: Tensor, eps: float = 1e-10) -> float:
    """max |x - y| / max(max(|x| + |y|), eps): one number for the whole tensor.

    Args:
        x, y: tensors (or numbers) of the same shape, float or integer, on any devices; y is brought to x's device,
            and both to the CPU's float64 where they are not there already, so MPS works too.
        eps: floor of the denominator, for tensors of zeros.
    Returns:
        a Python float; nan if either holds a nan. 0.0 for two empty tensors.
    Raises:
        ValueError: if the shapes differ (broadcasting would hide a wrong shape).
        TypeError: for boolean or complex tensors.
    """
    want_numbers("rel_error", eps=eps)
    x, y = (as_tensor("rel_error", name, value).detach().cpu() for name, value in (("x", x), ("y", y)))
    if x.shape != y.shape:
        raise ValueError(f"rel_error: shapes differ, got {tuple(x.shape)} and {tuple(y.shape)}. Compare tensors of one shape.")
    for value in (x, y):
        if value.dtype == torch.bool or value.is_complex():
            raise TypeError(f"rel_error: cannot compare {value.dtype} tensors. Convert masks with .int() first.")
    if x.numel() == 0:
        return 0.0
    x, y = x.double(), y.double()
    return ((x - y).abs().max() / (x.abs() + y.abs()).max().clamp(min=eps)).item()


def _unravel(position: int, shape: torch.Size) -> tuple[int, ...]:
    index = []
    for size in reversed(shape):
        position, remainder = divmod(position, size)
        index.append(remainder)
    return tuple(reversed(index))
