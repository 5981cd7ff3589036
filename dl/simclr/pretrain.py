"""Train SimCLR on one device or many, from nothing or from where a killed run stopped.

    python -m dl.simclr.pretrain --epochs 100                              one process, on the device of DL_DEVICE
    torchrun --nproc-per-node=4 -m dl.simclr.pretrain --epochs 100         one process per device

Chen et al. 2020 (arXiv:2002.05709), section 2.2 and appendix B.9, with Adam in place of LARS: the learning rate rises
over the first tenth of the steps, then falls along a cosine. `--batch` is the global batch: all of it serves as
negatives, however many devices share it.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Subset, TensorDataset

from dl import settings
from dl.simclr.batch_augment import BatchAugmentation, PairBatches
from dl.simclr.data_utils import compute_train_transform, load_cifar10, picture_tensors
from dl.simclr.distributed import global_loss, is_distributed, synchronise_batch_norm
from dl.simclr.model import ENCODERS, Model
from dl.simclr.utils import train
from dl.utils import cosine_schedule
from dl.weights.checkpoint import Checkpoint


@dataclass(frozen=True)
class Recipe:
    """How to train, each field an option of the command. Adam's settings and the temperature are the reference setting's."""

    epochs: int = 100
    batch: int = 256  # pairs over all devices
    rate: float = 1e-3
    weight_decay: float = 1e-6
    warm_up: float = 0.1  # share of the steps
    temperature: float = 0.5
    feature_dim: int = 128
    encoder: str = "small"
    seed: int = 0
    workers: int = 0  # processes that load images, for each device
    bfloat16: bool = False  # mixed precision: the network in bfloat16, weights and loss in float32
    channels_last: bool = False  # memory order that convolutions prefer on CUDA, and on CPUs in bfloat16


def pretrain(
    dataset: Dataset,
    recipe: Recipe,
    checkpoint: Path,
    device: torch.device,
    augmentation: BatchAugmentation | None = None,
    stop_after: int | None = None,
    on_epoch: Callable[[int, float, Model], None] | None = None,
) -> Model:
    """Train, saving a checkpoint after every epoch; called on every rank of the process group, if there is one.

    A run that finds its checkpoint goes on from there and gives the weights that it would have given without the stop.
    Rank 0 alone reads and writes the checkpoint.

    Args:
        dataset: with an augmentation, items (image uint8 (3, h, w), target); without one, (x_i, x_j, target).
        augmentation: makes the views on the device, batch by batch.
        stop_after: end after so many epochs of this call, to go on later.
        on_epoch: called on rank 0 after each epoch with its number, the mean loss and the model.
    Returns:
        the trained model; equal on every rank.
    Raises:
        ValueError: if the ranks cannot share the batch, the data set is smaller than it, or the checkpoint is of
            another recipe.
    """
    rank, world = (dist.get_rank(), dist.get_world_size()) if is_distributed() else (0, 1)
    loader, sampler = _loader(dataset, recipe, device, rank, world)
    model = _first_model(recipe, device)
    pairs = loader if augmentation is None else PairBatches(loader, augmentation, device)
    optimizer = torch.optim.Adam(model.parameters(), recipe.rate, weight_decay=recipe.weight_decay)
    steps = recipe.epochs * len(loader)
    schedule = LambdaLR(optimizer, cosine_schedule(1.0, max(1, round(steps * recipe.warm_up)), steps))
    saved = Checkpoint(checkpoint, asdict(recipe), model=model, optimizer=optimizer, schedule=schedule)
    first = _resume_everywhere(saved).get("epoch", 0) + 1
    network: nn.Module = MixedPrecision(model) if recipe.bfloat16 else model
    if world > 1:
        network = DistributedDataParallel(network)
    last = recipe.epochs if stop_after is None else min(recipe.epochs, first - 1 + stop_after)
    for epoch in range(first, last + 1):
        sampler.set_epoch(epoch)
        torch.manual_seed(recipe.seed + epoch * world + rank)  # every rank's views differ, and repeat after a resume
        loss = train(
            network,
            pairs,
            optimizer,
            epoch,
            recipe.epochs,
            temperature=recipe.temperature,
            device=device,
            loss_function=global_loss,
            on_batch=lambda *_: schedule.step(),
            progress=rank == 0 and sys.stderr.isatty(),
        )
        if rank == 0:
            saved.save(epoch=epoch)
            if on_epoch is not None:
                on_epoch(epoch, loss, model)
    return model


def _loader(
    dataset: Dataset, recipe: Recipe, device: torch.device, rank: int, world: int
) -> tuple[DataLoader, DistributedSampler]:
    """This rank's part of every batch; the sampler shuffles, anew for each epoch."""
    size = len(dataset)  # type: ignore[arg-type]  # torch leaves __len__ out of Dataset
    if recipe.batch % world or not 0 < recipe.batch <= size:
        raise ValueError(
            f"pretrain: got a global batch of {recipe.batch} for {world} processes and {size} images. "
            "Choose a batch that the processes divide evenly and that is no larger than the data set."
        )
    sampler: DistributedSampler = DistributedSampler(dataset, world, rank, shuffle=True, seed=recipe.seed, drop_last=True)
    loader = DataLoader(
        dataset,
        recipe.batch // world,
        sampler=sampler,
        drop_last=True,
        num_workers=recipe.workers,
        pin_memory=device.type == "cuda",
    )
    return loader, sampler


def _first_model(recipe: Recipe, device: torch.device) -> Model:
    """The same first weights on every rank."""
    torch.manual_seed(recipe.seed)
    model = Model(recipe.feature_dim, recipe.encoder)
    if is_distributed():
        synchronise_batch_norm(model)
    return model.to(device).to(memory_format=torch.channels_last if recipe.channels_last else torch.preserve_format)


def _resume_everywhere(saved: Checkpoint) -> dict:
    """Rank 0 reads the file; every rank restores what it read."""
    state = [saved.read() if not is_distributed() or dist.get_rank() == 0 else None]
    if is_distributed():
        dist.broadcast_object_list(state)
    return saved.restore(state[0])


class MixedPrecision(nn.Module):
    """Runs a model in bfloat16 where that is safe, and gives its outputs in float32."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        with torch.autocast(x.device.type, torch.bfloat16):
            outputs = self.model(x)
        return tuple(output.float() for output in outputs)


def start_process_group(name: str | None = None) -> torch.device:
    """Join the process group if torchrun started this process; returns the device of this process.

    Args:
        name: "cuda", "mps" or "cpu"; None as `settings.get_device` chooses.
    """
    device = settings.get_device(name)
    if not dist.is_torchelastic_launched():
        return device
    if device.type == "mps":
        raise ValueError(
            "pretrain: torchrun was asked to share an MPS device, which serves one process only. Run "
            "python -m dl.simclr.pretrain without torchrun, or add --device cpu."
        )
    if device.type == "cuda":
        device = torch.device("cuda", dist.get_node_local_rank())
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    print(f"pretrain: rank {dist.get_rank()} of {dist.get_world_size()} on {device}, process {os.getpid()}", flush=True)
    return device


_OPTIONS = {  # field of Recipe -> help
    "epochs": "passes over the images",
    "batch": "pairs per step, over all devices",
    "rate": "peak learning rate",
    "weight_decay": "of Adam",
    "warm_up": "share of the steps with a rising learning rate",
    "temperature": "tau of the loss",
    "feature_dim": "width of the projection",
    "seed": "of weights, order and views",
    "workers": "loading processes for each device",
    "bfloat16": "mixed precision",
    "channels_last": "memory order that suits convolutions",
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dl.simclr.pretrain",
        description="Train SimCLR on the images that DL_DATA chooses.",
        epilog="Example: torchrun --nproc-per-node=2 -m dl.simclr.pretrain --epochs 2 --images 1000 --device cpu",
    )
    defaults = Recipe()
    parser.add_argument("--encoder", choices=ENCODERS, default=defaults.encoder)
    for name, text in _OPTIONS.items():
        value = getattr(defaults, name)
        if isinstance(value, bool):
            parser.add_argument(f"--{name.replace('_', '-')}", action="store_true", help=text)
        else:
            parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value, help=f"{text} ({value})")
    parser.add_argument("--images", type=int, help="train on the first so many images only")
    parser.add_argument("--augmentation", choices=("batched", "pil"), default="batched", help="how views are made (batched)")
    parser.add_argument("--device", choices=settings.DEVICES, help="default: DL_DEVICE, or the best there is")
    parser.add_argument(
        "--checkpoint", type=Path, default=Path("build/train/pretrain.pt"), help="read at the start, written after every epoch"
    )
    parser.add_argument("--stop-after", type=int, help="end after so many epochs of this call")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code: 0 done, 1 another rank failed, 2 wrong use."""
    options = vars(_parser().parse_args(arguments))
    recipe = Recipe(**{name: options[name] for name in asdict(Recipe())})
    try:
        device = start_process_group(options["device"])
        dataset, augmentation = _pictures(options["augmentation"], options["images"])
        started = time.time()

        def report(epoch: int, loss: float, model: Model) -> None:
            print(f"pretrain: epoch {epoch}/{recipe.epochs} loss {loss:.4f} {time.time() - started:.0f} s", flush=True)

        pretrain(dataset, recipe, options["checkpoint"], device, augmentation, options["stop_after"], report)
    except (ValueError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 2
    except RuntimeError as error:
        if not is_distributed():
            raise
        print(
            f"pretrain: rank {dist.get_rank()} cannot go on, most often because another rank has ended "
            f"({str(error).splitlines()[0]}). Start the same command again: it goes on from the last checkpoint.",
            file=sys.stderr,
            flush=True,
        )
        return 1
    if not is_distributed() or dist.get_rank() == 0:
        print(f"pretrain: wrote {options['checkpoint']}")
    if is_distributed():
        dist.destroy_process_group()
    return 0


def _pictures(kind: str, count: int | None) -> tuple[Dataset, BatchAugmentation | None]:
    """Training images as raw tensors for the batched augmentation, or as CIFAR10Pair."""
    if kind == "batched":
        return TensorDataset(*picture_tensors(load_cifar10(train=True), count)), BatchAugmentation()
    dataset = load_cifar10(train=True, transform=compute_train_transform(), pairs=True)
    return Subset(dataset, range(count or len(dataset))), None


if __name__ == "__main__":
    sys.exit(main())
