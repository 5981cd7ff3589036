"""What the recorded checks of `transformers.py` need: known parameters, and dropout that repeats recorded masks."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def fill_with_ramp(module: nn.Module, low: float = -1.4, high: float = 1.3) -> nn.Module:
    """Overwrite every parameter with evenly spaced numbers from `low` to `high`; returns the module."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.linspace(low, high, parameter.numel()).reshape(parameter.shape))
    return module


class ReplayedDropout(nn.Module):
    """Stands in a block's place of `dropout` and keeps what the recorded masks keep, call by call.

    Current versions of PyTorch draw other masks from a seed than those with which the expected tensors were made.

    Args:
        calls: the record's `dropout_calls`: dicts with keep_mask (0 or 1, shaped like the input) and scale.
    """

    def __init__(self, calls: list[dict]):
        super().__init__()
        self.calls = iter(calls)

    def forward(self, x: Tensor) -> Tensor:
        call = next(self.calls)
        return x * torch.tensor(call["keep_mask"]) * call["scale"]
