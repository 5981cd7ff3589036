"""Which tensors the published weights have to hold: python -m dl.training.networks writes `dl/data/networks.json`.

They are read from the networks that load them. A test fails until that is done.
"""

from __future__ import annotations

import json

import torch
from torch import Tensor
from torchvision.models import regnet_x_400mf

from dl.data.content import TENSORS
from dl.models import small_clip, vit
from dl.simclr.model import Model

NETWORKS = {  # by the names of `dl.data.ENTRIES`
    "regnet": regnet_x_400mf,
    "simclr": Model,
    "dino_vits8": lambda: vit.VisionTransformer(**vit.DINO_CONFIGURATIONS[8]),
    "dino_vits16": lambda: vit.VisionTransformer(**vit.DINO_CONFIGURATIONS[16]),
    "clip": lambda: small_clip.published_network(),
}


def state_of(name: str) -> dict[str, Tensor]:
    """State dict of a network before any training."""
    with torch.random.fork_rng(devices=[]):
        return NETWORKS[name]().state_dict()


def derive() -> str:
    """Contents of `networks.json`: dtype and shape of each tensor, a line each."""
    networks = []
    for name in NETWORKS:
        kept = {key: [str(tensor.dtype).removeprefix("torch."), list(tensor.shape)] for key, tensor in state_of(name).items()}
        lines = (f"  {json.dumps(key)}: {json.dumps(about)}" for key, about in kept.items())
        networks.append(f" {json.dumps(name)}: {{\n" + ",\n".join(lines) + "\n }")
    return "{\n" + ",\n".join(networks) + "\n}\n"


if __name__ == "__main__":
    TENSORS.write_text(derive(), encoding="utf-8")
    print(f"Written: dl/data/{TENSORS.name}")
