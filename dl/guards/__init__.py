"""Checks of arguments, so that a wrong call is explained in words before torch fails deep inside.

`check_tensors` compares shapes; the files beside it hold what is particular to one topic.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor


def check_tensors(function: str, **arguments: tuple[Tensor, str]) -> dict[str, int]:
    """Check the shapes of a function's tensors against each other; all floating ones must share one dtype.

    Args:
        function: its name, for the message.
        arguments: name=(tensor, axes), axes written with one name per axis, such as "N T D"; a number is that very
            size, "4H" four times the size of H. The same name must have the same size everywhere.
    Returns:
        size of every named axis.
    Raises:
        TypeError: if an argument is no tensor, or floating tensors differ in dtype.
        ValueError: naming every argument that does not fit.
    """
    sizes: dict[str, int] = {}
    origin: dict[str, str] = {}
    problems = []
    for name, (tensor, axes) in arguments.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(
                f"{function}: {name} must be a torch tensor of shape ({_listed(axes)}), got "
                f"{type(tensor).__name__}. Convert it with torch.as_tensor."
            )
        wanted = axes.split()
        if tensor.ndim != len(wanted):
            problems.append(f"{name} has shape {tuple(tensor.shape)}, wanted ({_listed(axes)})")
            continue
        for axis, size in zip(wanted, tensor.shape):
            factor, letter = re.findall(r"^(\d*)(\w*)$", axis)[0]
            if not letter:
                known, source = int(factor), ""
            else:
                times = int(factor or 1)
                origin.setdefault(letter, name)
                known = times * sizes.setdefault(letter, size // times)
                source = f" with {letter} = {sizes[letter]} from {origin[letter]}"
            if size != known:
                problems.append(f"{name} has shape {tuple(tensor.shape)}, wanted ({_listed(axes)}){source}")
                break
    if problems:
        raise ValueError(f"{function}: shapes do not fit: {'; '.join(problems)}. Pass tensors of the named sizes.")
    dtypes = {name: tensor.dtype for name, (tensor, _) in arguments.items() if tensor.is_floating_point()}
    if len(set(dtypes.values())) > 1 and not torch.is_autocast_enabled("cpu") and not torch.is_autocast_enabled("cuda"):
        listed = ", ".join(f"{name} {dtype}" for name, dtype in dtypes.items())
        raise TypeError(f"{function}: floating tensors must share one dtype, got {listed}. Convert them with .to(dtype).")
    return sizes


def _listed(axes: str) -> str:
    return ", ".join(axes.split())
