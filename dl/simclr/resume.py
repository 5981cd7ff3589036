"""Long SimCLR runs that can be killed at any time: the training and the evaluation go on where they were last saved.

Notebook: notebooks/Self_Supervised_Learning.ipynb
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from dl import settings
from dl.simclr.batch_augment import PairBatches
from dl.simclr.model import fingerprint
from dl.simclr.utils import Device, test, train
from dl.utils import eval_mode
from dl.weights.checkpoint import Checkpoint

SAVE_EVERY = 300  # seconds: what a kill costs at most, and the time of a step


def train_epochs(
    model: nn.Module,
    data_loader: DataLoader | PairBatches,
    train_optimizer: Optimizer,
    epochs: int,
    checkpoint: str | Path | None = None,
    **options: Any,
) -> list[float]:
    """`train` for several epochs; with a file, a killed run goes on where it was, also within an epoch.

    It then has the weights that it would have had without the kill (on a GPU up to its own randomness), and the same
    losses up to rounding: the loader gives the batches of the epoch once more, and those that are done are left out. So
    what the loader draws must come from torch's global generator, as in a DataLoader over `CIFAR10Pair`.

    Args:
        model, data_loader, train_optimizer: as for `train`. epochs: 0 changes nothing.
        checkpoint: written after each epoch, and every `SAVE_EVERY` seconds within; None keeps nothing.
        options: further ones of `train`.
    Returns:
        mean loss of each epoch.
    Raises:
        ValueError: as `train`, and for a checkpoint of other settings.
    """
    if checkpoint is None:
        return [train(model, data_loader, train_optimizer, epoch, epochs, **options) for epoch in range(1, epochs + 1)]
    chosen = {"batches": len(data_loader), "rate": train_optimizer.param_groups[0]["lr"]}
    chosen |= {name: options[name] for name in ("batch_size", "temperature") if name in options}
    saved = Checkpoint(checkpoint, chosen, model=model, optimizer=train_optimizer)
    kept = saved.resume()
    losses: list[float] = kept.get("losses", [])
    for epoch in range(len(losses) + 1, epochs + 1):
        rest = _Rest(data_loader, saved, losses, kept.pop("epoch", {}))
        loss = train(model, rest, train_optimizer, epoch, epochs, on_batch=rest.save_now_and_then, **options)
        losses.append(rest.mean(loss))
        saved.save(losses=losses)
    return losses


class _Rest:
    """The batches of an epoch that are still to do, and what is saved of the epoch on the way.

    Args:
        kept: what was saved of it: the random state at its start, steps and pairs done, their mean loss; may be empty.
    """

    def __init__(self, loader: DataLoader | PairBatches, saved: Checkpoint, losses: list[float], kept: dict[str, Any]) -> None:
        self.loader, self.saved, self.losses = loader, saved, losses
        self.steps = settings.shortened(len(loader), 4)  # as `train` does
        self.start: Tensor | None = kept.get("start")
        self.steps_before, self.pairs_before, self.loss_before = (kept.get(name, 0) for name in ("steps", "pairs", "loss"))
        self.pairs = self.pairs_before
        self.last_saved = time.monotonic()

    def __len__(self) -> int:
        return self.steps - self.steps_before

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        now = torch.get_rng_state()
        self.start = now if self.start is None else self.start
        torch.set_rng_state(self.start)
        batches = islice(self.loader, self.steps)
        for _ in islice(batches, self.steps_before):  # drawn, and left out
            pass
        if self.steps_before:
            torch.set_rng_state(now)
        for batch in batches:
            self.pairs += len(batch[0])
            yield batch

    def mean(self, loss: float) -> float:
        """Mean loss over all pairs of the epoch, from that over the pairs since the start or the last kill."""
        return loss + (self.loss_before - loss) * (self.pairs_before / self.pairs)

    def save_now_and_then(self, step: int, loss: float) -> None:
        steps = self.steps_before + step
        if time.monotonic() - self.last_saved < SAVE_EVERY or steps == self.steps:
            return
        epoch = {"start": self.start, "steps": steps, "pairs": self.pairs, "loss": self.mean(loss)}
        self.saved.save(losses=self.losses, epoch=epoch)
        self.last_saved = time.monotonic()


def evaluate(
    model: nn.Module,
    memory_data_loader: DataLoader,
    test_data_loader: DataLoader,
    epoch: int,
    epochs: int,
    c: int,
    checkpoint: str | Path | None = None,
    device: Device = None,
    progress: bool = True,
    **options: Any,
) -> tuple[float, float]:
    """`test`; with a file, the features that are computed are kept, and a killed run computes the others only.

    Args:
        checkpoint: written every `SAVE_EVERY` seconds and at the end (490 MB for CIFAR-10 and ResNet-50); None keeps
            nothing. The rest as for `test`.
    Raises:
        ValueError: as `test`, and for a checkpoint of other weights or loaders.
    """
    if checkpoint is None:
        return test(model, memory_data_loader, test_data_loader, epoch, epochs, c, device=device, progress=progress, **options)
    from tqdm.auto import tqdm

    device = next(model.parameters()).device if device is None else device
    loaders = {"memory": memory_data_loader, "test": test_data_loader}
    lengths = {f"{name}_batches": len(loader) for name, loader in loaders.items()}
    saved = Checkpoint(checkpoint, {"weights": fingerprint(model), **lengths})
    kept = saved.resume() or {"start": torch.get_rng_state(), **{name: [] for name in loaders}}
    torch.set_rng_state(kept["start"])  # the loaders start again, in the same order
    last_saved = time.monotonic()
    with eval_mode(model), torch.no_grad():
        for name, loader in loaders.items():
            batches = tqdm(loader, desc=f"Feature extracting ({name})", disable=not progress, leave=False)
            for number, (x, *_, target) in enumerate(batches):
                if number < len(kept[name]):
                    continue
                kept[name].append((model(x.to(device, non_blocking=True))[0].cpu(), target))
                if time.monotonic() - last_saved >= SAVE_EVERY:
                    saved.save(**kept)
                    last_saved = time.monotonic()
    saved.save(**kept)
    return test(_Unchanged(), kept["memory"], kept["test"], epoch, epochs, c, device=device, progress=progress, **options)


class _Unchanged(nn.Module):
    """Takes features for images."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x
