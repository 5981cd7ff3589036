"""The network of SimCLR: an encoder f, whose features are kept, and a projection head g, which only the loss sees.

Chen et al. 2020 (arXiv:2002.05709), section 2.1 and appendix B.9: h = f(x) is the average-pooled output of a ResNet
(He et al. 2016, arXiv:1512.03385) whose first convolution is made for 32 x 32 images; z = g(h) is what is compared.

Axes: B images, H width of the features (2048 for ResNet-50, 256 for the small encoder), D width of the projection.
Notebook: notebooks/Self_Supervised_Learning.ipynb
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dl.guards import simclr as guards
from dl.guards import want_kind, want_tensors

ENCODERS = ("resnet50", "small")
SMALL_STAGES = ((32, 2), (64, 2), (128, 2), (256, 1))  # width and stride of each stage: 16, 8, 4, 4 pixels a side
SMALL_STEM = 32
HEAD_WIDTH = 512
THOP_COUNTERS = ("total_ops", "total_params")  # what the profiler thop leaves in a model, and so in its state dict


class Model(nn.Module):
    """Encoder `f` and projection head `g`.

    Args:
        feature_dim: D, width of the projection.
        encoder: "resnet50", torchvision's with a 3 x 3 first convolution and without max-pooling (24.6 M parameters
            with the head), or "small", one residual block per stage (1.4 M), which trains on a CPU.
    Raises:
        ValueError: for another encoder.
    """

    def __init__(self, feature_dim: int = 128, encoder: str = "resnet50") -> None:
        super().__init__()
        guards.check_network("Model", ENCODERS, encoder, feature_dim)
        self.f = _resnet50() if encoder == "resnet50" else _small_resnet()
        self.feature_width = 2048 if encoder == "resnet50" else SMALL_STAGES[-1][0]
        self.g = nn.Sequential(
            nn.Linear(self.feature_width, HEAD_WIDTH, bias=False),
            nn.BatchNorm1d(HEAD_WIDTH),
            nn.ReLU(inplace=True),
            nn.Linear(HEAD_WIDTH, feature_dim),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features and projections, both of unit length.

        Args:
            x: (B, 3, height, width) float, normalised images, 32 x 32 in CIFAR-10.
        Returns:
            feature (B, H): h / |h|. projection (B, D): g(h) / |g(h)|; g sees h before it is normalised.
        Raises:
            ValueError: if `x` holds no RGB images.
        """
        guards.check_views("Model.forward", self, x)
        feature = self.f(x).flatten(start_dim=1)  # (B, H)
        return F.normalize(feature, dim=-1), F.normalize(self.g(feature), dim=-1)


class Classifier(nn.Module):
    """Linear probe: encoder `f` of a `Model` and one linear layer on its features, which are not normalised here.

    Args:
        num_class: number of classes. encoder: as for `Model`.
    """

    def __init__(self, num_class: int, encoder: str = "resnet50") -> None:
        super().__init__()
        guards.check_network("Classifier", ENCODERS, encoder, num_class)
        model = Model(encoder=encoder)
        self.f = model.f
        self.fc = nn.Linear(model.feature_width, num_class)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 3, height, width) -> logits (B, num_class)."""
        guards.check_views("Classifier.forward", self, x)
        return self.fc(self.f(x).flatten(start_dim=1))


def starting_weights(encoder: str = "resnet50") -> dict[str, Tensor]:
    """State dict that the notebook starts from: the downloaded file for "resnet50", the project's own for "small".

    Raises:
        FileNotFoundError: if the file for "resnet50" has not been fetched. ValueError: if it is damaged.
    """
    guards.check_network("starting_weights", ENCODERS, encoder)
    if encoder == "small":
        from dl import weights

        return weights.load("simclr")
    from dl.data import read_weights

    return read_weights("simclr")


def load_pretrained(module: Model | Classifier, state_dict: dict[str, Tensor]) -> list[str]:
    """Load SimCLR weights strictly: every tensor of `f`, and of `g` if the module has one, must be there and fit.

    Args:
        module: a `Model`, or a `Classifier`, whose `fc` stays as it is. Changed in place.
        state_dict: of a `Model`.
    Returns:
        names of the extra tensors: counters of the profiler thop and, for a classifier, the projection head.
    Raises:
        ValueError: naming all tensors that are missing, unknown, or of another shape.
    """
    want_kind("load_pretrained", "a Model or a Classifier", (Model, Classifier), module=module)
    want_kind("load_pretrained", "a dictionary of tensors", Mapping, state_dict=state_dict)
    want_tensors("load_pretrained", floating=False, **state_dict)
    own = {name: tensor for name, tensor in module.state_dict().items() if not name.startswith("fc.")}
    leftovers = [name for name in state_dict if name.split(".")[-1] in THOP_COUNTERS]
    if isinstance(module, Classifier):
        leftovers += [name for name in state_dict if name.startswith("g.") and name not in leftovers]
    given = {name: tensor for name, tensor in state_dict.items() if name not in leftovers}
    problems = [f"{name} is missing" for name in own if name not in given]
    problems += [f"{name} is unknown" for name in given if name not in own]
    problems += [
        f"{name} has shape {tuple(given[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in own.items()
        if name in given and given[name].shape != tensor.shape
    ]
    if problems:
        shown = "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
        raise ValueError(
            f"load_pretrained: the weights are of another architecture: {shown}. "
            "Make the module with the encoder and the feature_dim that the weights were trained with."
        )
    module.load_state_dict(given, strict=False)  # nothing but a classifier's fc can be missing
    return leftovers


def fingerprint(module: nn.Module) -> str:
    """Digits that differ as soon as a weight or a statistic does."""
    made = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        made.update(name.encode())
        made.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return made.hexdigest()[:16]


class LeanSequential(nn.Sequential):
    """Modules in a row, some of which keep only their input for the backward pass and compute the rest once more then.

    Chen et al. 2016 (arXiv:1604.06174). The first stages of a ResNet have the largest feature maps: without theirs, a
    step on 64 pairs needs 2.3 GB less, and a seventh more time. Values and gradients are the same.

    Args:
        lean: positions of the modules to compute again; none of these may change its input in place.
    """

    def __init__(self, *modules: nn.Module, lean: tuple[int, ...]) -> None:
        super().__init__(*modules)
        self.lean = lean

    def forward(self, input: Tensor) -> Tensor:
        for position, module in enumerate(self):
            if position in self.lean and self.training and torch.is_grad_enabled():
                input = checkpoint(module, input, use_reentrant=False, context_fn=partial(_contexts, module))
            else:
                input = module(input)
        return input


def _contexts(module: nn.Module) -> tuple[AbstractContextManager, AbstractContextManager]:
    """Around the first forward pass, and around the one that is computed again."""
    return nullcontext(), _as_it_was(module)


@contextmanager
def _as_it_was(module: nn.Module) -> Iterator[None]:
    """Put the statistics of batch norm back afterwards: a batch that is computed again counts once."""
    kept = [(buffer, buffer.clone()) for buffer in module.buffers()]
    try:
        yield
    finally:  # PyTorch leaves by an exception, as soon as it has what it needs
        for buffer, value in kept:
            buffer.data.copy_(value)


def _resnet50() -> nn.Sequential:
    from torchvision.models import resnet50

    children = dict(resnet50().named_children())
    children["conv1"] = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
    kept = {name: module for name, module in children.items() if name not in ("maxpool", "fc")}
    return LeanSequential(*kept.values(), lean=tuple([*kept].index(name) for name in ("layer1", "layer2")))


def _small_resnet() -> nn.Sequential:
    from torchvision.models.resnet import BasicBlock

    layers = [
        nn.Conv2d(3, SMALL_STEM, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(SMALL_STEM),
        nn.ReLU(inplace=True),
    ]
    width = SMALL_STEM
    for new_width, stride in SMALL_STAGES:
        shortcut = nn.Sequential(nn.Conv2d(width, new_width, 1, stride, bias=False), nn.BatchNorm2d(new_width))
        layers.append(nn.Sequential(BasicBlock(width, new_width, stride, shortcut)))
        width = new_width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1))
