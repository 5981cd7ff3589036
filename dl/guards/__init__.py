"""Checks of arguments, so that a wrong call is explained in words before torch fails deep inside.

`check_tensors` compares shapes; the files beside it hold what is particular to one topic.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from numbers import Integral, Real

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


def check_sizes(function: str, least: int = 0, /, **sizes: int) -> None:
    """Whole numbers of `least` or more."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, Integral) or not least <= size < 2**31:
            raise (ValueError if isinstance(size, Integral) else TypeError)(
                f"{function}: {name} must be a whole number of {least} or more, got {size!r:.60}. Pass an int such as 4."
            )


def check_index(function: str, index: int, count: int) -> None:
    """A position in something of that length; an IndexError for one beyond it, at which Python's loops end."""
    if isinstance(index, bool) or not isinstance(index, Integral):
        raise TypeError(f"{function}: wanted a whole number as index, got {index!r:.60}. Pass an int.")
    if not -count <= index < count:
        raise IndexError(f"{function}: got index {index}, wanted one of {count} items. Pass an int from 0 to {count - 1}.")


def want_numbers(function: str, **values: float) -> None:
    """Finite numbers."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, Real):
            raise TypeError(f"{function}: {name} must be a number, got {value!r:.60}. Pass a number such as 0.1.")
        if not -1e300 < value < 1e300 or isinstance(value, Integral) and abs(value) >= 2**63:  # more than torch takes
            raise ValueError(f"{function}: {name} must be a finite number of 64 bits, got {value}. Pass one such as 0.1.")


def want_kind(function: str, wanted: str, kind: type | tuple[type, ...], **values: object) -> None:
    """A TypeError unless all are of that kind."""
    for name, value in values.items():
        if not isinstance(value, kind):
            raise TypeError(f"{function}: {name} must be {wanted}, got {value!r:.60}. Pass {wanted}.")


def want_function(function: str, wanted: str, **values: object) -> None:
    """A TypeError unless all can be called."""
    for name, value in values.items():
        if not callable(value):
            raise TypeError(f"{function}: {name} must be {wanted}, got {value!r:.60}. Pass {wanted}.")


def want_iterable(function: str, wanted: str, **values: object) -> None:
    """A TypeError unless a loop can go over all of them, as it cannot over arrays without an axis."""
    for name, value in values.items():
        if not isinstance(value, Iterable) or not getattr(value, "ndim", 1):
            raise TypeError(f"{function}: {name} must be {wanted}, got {value!r:.60}. Pass {wanted}.")


def want_methods(function: str, names: str, **values: object) -> None:
    """A TypeError unless all have these methods, such as "encode_text encode_image"."""
    for name, value in values.items():
        if not all(callable(getattr(value, method, None)) for method in names.split()):
            wanted = f"an object with {' and '.join(names.split())}"
            raise TypeError(f"{function}: {name} must be {wanted}, got {value!r:.60}. Pass {wanted}.")


def want_device(function: str, device: torch.device | str) -> torch.device:
    """A device that torch knows and, for CUDA, finds on this machine."""
    want_kind(function, "a device such as 'cpu'", (str, torch.device), device=device)
    try:
        made = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"{function}: torch knows no device {device!r}. Pass a device such as 'cpu'.") from error
    if made.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"{function}: got device {device!r}, but torch finds no CUDA here. Pass 'cpu', or leave it out.")
    return made


def want_indices(function: str, count: int, **tensors: Tensor) -> None:
    """Integer tensors with values from 0 to count - 1."""
    for name, tensor in tensors.items():
        want_tensors(function, floating=False, **{name: tensor})
        if tensor.dtype not in (torch.int32, torch.int64):
            raise TypeError(f"{function}: {name} must hold integers, got {tensor.dtype}. Convert it with .long().")
        if tensor.numel() and not 0 <= int(tensor.min()) <= int(tensor.max()) < count:
            raise ValueError(
                f"{function}: {name} runs from {int(tensor.min())} to {int(tensor.max())}, wanted 0 to {count - 1}. "
                "Use the vocabulary, or the classes, that the model was made for."
            )


def _listed(axes: str) -> str:
    return ", ".join(axes.removeprefix("any ").split())
