"""Checks of arguments, so that a wrong call is explained in words before torch fails deep inside.

`check_tensors` compares shapes; the files beside it hold what is particular to one topic.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from numbers import Integral

import torch
from torch import Tensor


def check_tensors(function: str, **arguments: tuple[Tensor, str]) -> dict[str, int]:
    """Check the shapes of a function's tensors against each other; all floating ones must share one dtype.

    Args:
        function: its name, for the message.
        arguments: name=(tensor, axes), axes written with one name per axis, such as "N T D"; a number is that very
            size, "4H" four times the size of H. The same name must have the same size everywhere. Tensors are floating
            ones, but for those whose axes begin with "any", such as "any N T".
    Returns:
        size of every named axis.
    Raises:
        TypeError: if an argument is no tensor, not floating, or floating tensors differ in dtype.
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
        wanted = axes.removeprefix("any ").split()
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
    for name, (tensor, axes) in arguments.items():
        if not axes.startswith("any "):
            want_tensors(function, True, **{name: tensor})
    dtypes = {name: tensor.dtype for name, (tensor, _) in arguments.items() if tensor.is_floating_point()}
    if len(set(dtypes.values())) > 1 and not torch.is_autocast_enabled("cpu") and not torch.is_autocast_enabled("cuda"):
        listed = ", ".join(f"{name} {dtype}" for name, dtype in dtypes.items())
        raise TypeError(f"{function}: floating tensors must share one dtype, got {listed}. Convert them with .to(dtype).")
    return sizes


def want_tensors(function: str, floating: bool = True, **tensors: Tensor) -> None:
    """A TypeError unless all are tensors, and floating ones if `floating`."""
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(
                f"{function}: {name} must be a torch tensor, got {type(tensor).__name__}. Convert it with torch.as_tensor."
            )
        if floating and not tensor.is_floating_point():
            raise TypeError(f"{function}: {name} must be a floating tensor, got {tensor.dtype}. Convert it with .float().")


def want_words(function: str, name: str, words: object) -> None:
    """A TypeError unless it is a list of words, or something else that holds words."""
    if not isinstance(words, (Sequence, Set, Mapping)) or not all(isinstance(word, str) for word in words):
        raise TypeError(f"{function}: {name} must hold words, got {words!r:.60}. Pass a list of strings.")


def as_tensor(function: str, name: str, value: object) -> Tensor:
    """A tensor as it is, else on the CPU; or a TypeError in words for what is no tensor, array, number or list of numbers."""
    if isinstance(value, Tensor):
        return value  # torch.as_tensor would move it to the default device
    try:
        return torch.as_tensor(value, device="cpu")
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise TypeError(
            f"{function}: {name} must be a tensor, or what torch.as_tensor takes, got {value!r:.60}. Pass a tensor."
        ) from error


def check_sizes(function: str, **sizes: int) -> None:
    """Whole numbers of 0 or more."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, Integral) or not 0 <= size < 2**31:
            raise (ValueError if isinstance(size, Integral) else TypeError)(
                f"{function}: {name} must be a whole number of 0 or more, got {size!r:.60}. Pass an int such as 4."
            )


def _listed(axes: str) -> str:
    return ", ".join(axes.removeprefix("any ").split())
