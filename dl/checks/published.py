"""Tensors recorded in the course's specification: `expected/`, one JSON file per topic."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

EXPECTED = Path(__file__).parent / "expected"


@dataclass(frozen=True)
class RecordedCase:
    """One recorded check: tensors to put in, tensors that must come out, and how close they must be."""

    inputs: dict[str, Tensor]
    parameters: dict[str, Tensor]  # values of a module's parameters, empty for plain functions
    expected: dict[str, Tensor]
    tolerance: dict[str, float]

    def fill(self, module: nn.Module) -> nn.Module:
        """Overwrite the module's parameters with the recorded ones (moving it to their dtype and device); returns it."""
        module.to(next(iter(self.parameters.values())))
        for name, value in self.parameters.items():
            getattr(module, name).data.copy_(value)
        return module


@cache
def expected(topic: str) -> dict[str, dict]:
    """All recorded checks of a topic ("captioning", "transformers"), by name."""
    return {check["name"]: check for check in json.loads((EXPECTED / f"{topic}.json").read_text(encoding="utf-8"))["checks"]}


def load_case(topic: str, name: str, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu") -> RecordedCase:
    """A recorded check as tensors; floating ones in this dtype, all on this device.

    The tolerance is the tight one where the record has it.
    """
    check = expected(topic)[name]

    def tensor(recipe: dict) -> Tensor:
        if "values" in recipe:
            return torch.tensor(recipe["values"], device=device)
        low, high = recipe["linspace"]
        steps = torch.Size(recipe["shape"]).numel()
        return torch.linspace(low, high, steps, dtype=dtype, device=device).reshape(recipe["shape"])

    return RecordedCase(
        inputs={key: tensor(recipe) for key, recipe in check["inputs"].items()},
        parameters={key: tensor(recipe) for key, recipe in check.get("set_params", {}).items()},
        expected={key: torch.tensor(value, dtype=dtype, device=device) for key, value in check["expected"].items()},
        tolerance=check.get("tight_tolerance", check["tolerance"]),
    )


def fill_with_ramp(module: nn.Module, low: float = -1.4, high: float = 1.3) -> nn.Module:
    """Overwrite every parameter, each in its own shape, with evenly spaced numbers from low to high; returns the module."""
    for parameter in module.parameters():
        ramp = torch.linspace(low, high, parameter.numel(), dtype=parameter.dtype, device=parameter.device)
        parameter.data.copy_(ramp.view(parameter.shape))
    return module
