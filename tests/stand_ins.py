"""Every entry of the registry in small: real formats, real names, the tensors that its network has; and how it is read."""

import hashlib
import io
import tarfile
import warnings
import zipfile
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torchvision.datasets import CIFAR10

import a2_helper
import rnn_lstm_captioning
from dl.clip_dino import DavisDataset
from dl.coco_utils import load_coco_data
from dl.data import ENTRIES, content, manifest
from dl.models import small_clip, vit
from dl.simclr import model
from dl.simclr.data_utils import load_cifar10
from dl.simclr.model import starting_weights
from dl.training import networks
from dl.world.export import write_cifar, write_coco_captioning, write_davis

TINY_VIT = dict(patch_size=8, width=24, depth=1, num_heads=2, image_size=32)
TINY_CLIP = dict(
    embed_dim=8,
    image_resolution=32,
    vision_layers=1,
    vision_width=64,
    vision_patch_size=16,
    context_length=77,
    vocab_size=49408,
    transformer_width=64,
    transformer_heads=1,
    transformer_layers=1,
)
WEIGHTS = ("regnet", "simclr", "dino_vits8", "dino_vits16", "clip")
ARCHIVES = ("cifar10", "coco_captioning", "davis")
READERS = {
    "coco": lambda: a2_helper.load_coco_captions(verbose=False),
    "regnet": rnn_lstm_captioning.pretrained_regnet,
    "cifar10": lambda: load_cifar10(train=True),
    "simclr": starting_weights,
    "coco_captioning": load_coco_data,
    "davis": lambda: [DavisDataset().get_sample(index) for index in range(2)],
    "clip": partial(small_clip.load_clip, "cpu"),
    "dino_vits8": partial(vit.load_dino, "cpu", 8),
    "dino_vits16": partial(vit.load_dino, "cpu", 16),
}


def tiny_clip():
    with small_clip.quiet_clip_import():
        from clip.model import CLIP
    return CLIP(**TINY_CLIP)


def tiny_resnet() -> nn.Sequential:
    """The small encoder, widened to ResNet-50's features."""
    return nn.Sequential(*model._small_resnet(), nn.Conv2d(model.SMALL_STAGES[-1][0], 2048, 1))


def state_dict(name: str) -> dict[str, Tensor]:
    """Tensors of the entry's network, different in every value and cheap to make."""
    return {
        key: torch.ones(tensor.shape, dtype=tensor.dtype)
        if tensor.numel() < 9
        else torch.arange(tensor.numel(), dtype=tensor.dtype).reshape(tensor.shape) / tensor.numel()
        for key, tensor in content.network_tensors(name).items()
    }


def coco_data() -> dict:
    words = ["<NULL>", "<START>", "<END>", "<UNK>", "cat"]
    data = {"vocab": {"idx_to_token": words, "token_to_idx": {word: index for index, word in enumerate(words)}}}
    numbers = torch.Generator().manual_seed(0)
    for split, count in (("train", 3), ("val", 2)):
        data[f"{split}_images"] = torch.randint(1, 256, (count, 3, 112, 112), dtype=torch.uint8, generator=numbers)
        data[f"{split}_captions"] = torch.ones(count, 17, dtype=torch.int64)
    return data


def download_of(name: str, folder) -> bytes:
    """What the entry's address gives, in small; `folder` is for what is packed."""
    if name in ARCHIVES:
        place = folder / ENTRIES[name].path
        if name == "cifar10":
            write_cifar(place, batch=2, test=2)
        elif name == "davis":
            write_davis(place, easy={"playground": 3, "garden": 2}, hard={})
        else:
            write_coco_captioning(place, {"train": 2, "val": 3})
        return packed(place, "tar" if name == "cifar10" else "zip")
    file = io.BytesIO()
    if name == "clip":  # OpenAI's file is an archive of TorchScript
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            texts = torch.zeros(1, 77, dtype=torch.int64)
            torch.jit.save(torch.jit.trace(tiny_clip().eval(), (torch.zeros(1, 3, 32, 32), texts)), file)
        return file.getvalue()
    torch.save(coco_data() if name == "coco" else state_dict(name), file)
    return file.getvalue()


def packed(folder, kind: str) -> bytes:
    body = io.BytesIO()
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    if kind == "tar":
        with tarfile.open(fileobj=body, mode="w:gz") as archive:
            for file in files:
                archive.add(file, file.relative_to(folder.parent))
    else:
        with zipfile.ZipFile(body, "w") as archive:
            for file in files:
                archive.write(file, file.relative_to(folder.parent))
    return body.getvalue()


def stand_in(monkeypatch, name: str, body: bytes, address: str = "http://127.0.0.1:9/nothing") -> None:
    """Let the registry want this body, from this address, in the place of what is published."""
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}" if ENTRIES[name].digest else None
    made = replace(ENTRIES[name], addresses=(address,), about=len(body), digest=digest, size=ENTRIES[name].size and len(body))
    monkeypatch.setitem(ENTRIES, name, made)


def shrink_networks(monkeypatch) -> None:
    """Let the large networks be tiny ones of the same classes, for the registry and the readers alike."""
    monkeypatch.setattr(small_clip, "published_network", tiny_clip)
    monkeypatch.setattr(model, "_resnet50", tiny_resnet)
    for patch_size in (8, 16):
        monkeypatch.setitem(vit.DINO_CONFIGURATIONS, patch_size, {**TINY_VIT, "patch_size": patch_size})
    monkeypatch.setattr(content, "network_tensors", networks.state_of)


def publish_cifar(monkeypatch, folder) -> None:
    """Let the files of a folder pass for CIFAR-10's published ones."""
    sums = {file.name: manifest.digest(file, "md5") for file in folder.iterdir()}
    monkeypatch.setattr(CIFAR10, "train_list", [[name, sums[name]] for name, _ in CIFAR10.train_list])
    monkeypatch.setattr(CIFAR10, "test_list", [[name, sums[name]] for name, _ in CIFAR10.test_list])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": sums["batches.meta"]})
