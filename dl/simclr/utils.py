"""Training with the contrastive loss, and two ways to ask what the features know: nearest neighbours, a linear probe.

Chen et al. 2020 (arXiv:2002.05709), Algorithm 1 and section 3; Wu et al. 2018 (arXiv:1805.01978), section 3.4, for the
weighted nearest neighbours. Accuracies are in percent; averages weigh every batch by its true length.

Axes: B images of a batch, M images of the memory, H width of the features, C classes.
Notebook: notebooks/Self_Supervised_Learning.ipynb
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from dl import settings
from dl.guards import check_sizes, want_kind, want_methods, want_numbers
from dl.guards import simclr as guards
from dl.simclr.contrastive_loss import simclr_loss_vectorized
from dl.simclr.model import Classifier, fingerprint
from dl.utils import eval_mode
from dl.weights.checkpoint import Checkpoint

Device = torch.device | str | None  # of an argument; None means where the model is


def train(
    model: nn.Module,
    data_loader: Iterable,
    train_optimizer: Optimizer,
    epoch: int,
    epochs: int,
    batch_size: int = 32,
    temperature: float = 0.5,
    device: Device = None,
    *,
    loss_function: Callable[..., Tensor] = simclr_loss_vectorized,
    on_batch: Callable[[int, float], None] | None = None,
    progress: bool = True,
) -> float:
    """One epoch of SimCLR (Algorithm 1); with DL_QUICK, its first 4 batches.

    Each branch passes through the network by itself, so batch norm sees one view of every image at a time.

    Args:
        model: images (B, 3, h, w) -> (feature, projection); the loss sees the projection. Put into train mode.
        data_loader: yields (x_i, x_j, target); targets are not used.
        epoch, epochs: for the text of the progress bar.
        batch_size: accepted for compatibility and not needed: the mean weighs each batch by its true number of pairs.
        temperature: tau of the loss, > 0.
        device: where to compute; None means where the model is.
        loss_function: (out_left, out_right, tau) -> scalar.
        on_batch: called after each step with the number of steps so far and the mean loss so far.
        progress: show a progress bar.
    Returns:
        mean loss over the pairs of the epoch.
    Raises:
        ValueError: if the loader is empty, for a batch of one image, or as soon as the loss is not finite.
    """
    guards.check_loop("train", model, device, data_loader=data_loader)
    want_methods("train", "step zero_grad", train_optimizer=train_optimizer)
    want_numbers("train", temperature=temperature)
    device = _device_of(model) if device is None else device
    model.train()
    total_loss, total_num = 0.0, 0
    bar = _bar(_few(data_loader), progress)
    for step, batch in enumerate(bar, start=1):
        x_i, x_j, _ = guards.parts_of("train", batch, 3, 3)
        if len(x_i) == 1:
            raise ValueError(
                f"train: batch {step} of epoch {epoch} is a single image, wanted at least two: alone it has nothing "
                "to be told apart from. Make the loader with drop_last=True, or with another batch size."
            )
        x_i, x_j = x_i.to(device, non_blocking=True), x_j.to(device, non_blocking=True)
        # EXERCISE train, about 6 lines. Hint: which of the model's two outputs does the loss compare? Compute `loss`
        # with `loss_function`, then do what every training step does with a loss.
        # BEGIN SOLUTION train
        _, out_left = model(x_i)
        _, out_right = model(x_j)
        loss = loss_function(out_left, out_right, temperature)
        train_optimizer.zero_grad()
        loss.backward()
        train_optimizer.step()
        # END SOLUTION train
        total_loss += _finite(loss, "train", f"batch {step} of epoch {epoch}") * len(x_i)
        total_num += len(x_i)
        bar.set_description(f"Train Epoch: [{epoch}/{epochs}] Loss: {total_loss / total_num:.4f}")
        if on_batch is not None:
            on_batch(step, total_loss / total_num)
    return total_loss / _not_empty(total_num, "train")


def train_val(
    model: nn.Module,
    data_loader: Iterable,
    train_optimizer: Optimizer | None,
    epoch: int,
    epochs: int,
    device: Device = None,
    progress: bool = True,
) -> tuple[float, float, float]:
    """One epoch of a classifier, training or evaluation.

    Args:
        model: images (B, 3, h, w) -> logits (B, C).
        data_loader: yields (x, target).
        train_optimizer: None evaluates: eval mode, no gradient. Otherwise the whole model is in train mode, so that
            batch norm uses and updates batch statistics even where weights are frozen, as in the reference setting.
        epoch, epochs, device, progress: as for `train`.
    Returns:
        mean cross-entropy in nats, top-1 and top-5 accuracy in percent (top-C with fewer than 5 classes).
    Raises:
        ValueError: if a label has no logit, the loader is empty, or the loss is not finite.
    """
    guards.check_loop("train_val", model, device, data_loader=data_loader)
    if train_optimizer is not None:
        want_methods("train_val", "step zero_grad", train_optimizer=train_optimizer)
    device = _device_of(model) if device is None else device
    is_train = train_optimizer is not None
    name = "Train" if is_train else "Test"
    if is_train:
        model.train()
    total_loss, total_num, correct = 0.0, 0, torch.zeros(2)
    bar = _bar(data_loader, progress)
    with torch.set_grad_enabled(is_train), nullcontext() if is_train else eval_mode(model):
        for step, batch in enumerate(bar, start=1):
            x, target = guards.parts_of("train_val", batch, 2, 2)
            logits = model(x.to(device, non_blocking=True))  # (B, C)
            _check_labels("train_val", target, logits.shape[1])
            target = target.to(device, non_blocking=True)
            loss = F.cross_entropy(logits, target)
            if train_optimizer is not None:
                train_optimizer.zero_grad()
                loss.backward()
                train_optimizer.step()
            read = torch.cat([loss.detach().float()[None], _count_correct(logits, target)]).cpu()  # one wait for a GPU
            total_loss += _finite(read[0], "train_val", f"batch {step} of epoch {epoch}") * len(x)
            total_num += len(x)
            correct += read[1:]
            top1, top5 = (100 * correct / total_num).tolist()
            bar.set_description(
                f"{name} Epoch: [{epoch}/{epochs}] Loss: {total_loss / total_num:.4f} Acc@1:{top1:.2f}% Acc@5:{top5:.2f}%"
            )
    return total_loss / _not_empty(total_num, "train_val"), top1, top5


def train_probe(
    classifier: Classifier,
    train_loader: Iterable,
    test_loader: Iterable,
    epochs: int = 10,
    rate: float = 1e-3,
    weight_decay: float = 1e-6,
    device: Device = None,
    progress: bool = True,
    checkpoint: str | Path | None = None,
) -> dict[str, list[float]]:
    """Train the linear layer of a classifier with its encoder frozen, and evaluate after every epoch.

    Args:
        classifier: the weights of `f` are frozen in place; those of `fc` are trained with Adam.
        train_loader, test_loader: yield (x, target).
        epochs, rate, weight_decay: the reference setting. With DL_QUICK, at most 2 epochs of 4 batches.
        checkpoint: file written after each epoch; the next call with the same encoder goes on from it, as if it had not
            stopped (on a GPU up to its own randomness).
    Returns:
        lists of one number per epoch: train_loss, train_acc@1, train_acc@5, test_loss, test_acc@1, test_acc@5.
    Raises:
        ValueError: as `train_val`, and for a checkpoint of other settings or of another encoder.
    """
    guards.check_loop("train_probe", classifier, device, train_loader=train_loader, test_loader=test_loader)
    want_kind("train_probe", "a Classifier", Classifier, classifier=classifier)
    check_sizes("train_probe", epochs=epochs)
    want_numbers("train_probe", rate=rate, weight_decay=weight_decay)
    if rate < 0 or weight_decay < 0:
        raise ValueError(f"train_probe: rate {rate} and weight_decay {weight_decay} must be 0 or more. Leave them out.")
    classifier.f.requires_grad_(False)
    optimizer = torch.optim.Adam(classifier.fc.parameters(), rate, weight_decay=weight_decay)
    chosen = {"rate": rate, "weight_decay": weight_decay, "encoder": fingerprint(classifier.f) if checkpoint else ""}
    saved = Checkpoint(checkpoint, chosen, classifier=classifier, optimizer=optimizer)
    results: dict[str, list[float]] = saved.resume().get("results", {})
    epochs = settings.shortened(epochs, 2)
    for epoch in range(len(results.get("test_loss", [])) + 1, epochs + 1):
        for split, loader, its_optimizer in (("train", train_loader, optimizer), ("test", test_loader, None)):
            scores = train_val(classifier, _few(loader), its_optimizer, epoch, epochs, device, progress)
            for name, score in zip(("loss", "acc@1", "acc@5"), scores, strict=True):
                results.setdefault(f"{split}_{name}", []).append(score)
        saved.save(results=results)
    return results


def test(
    model: nn.Module,
    memory_data_loader: Iterable,
    test_data_loader: Iterable,
    epoch: int,
    epochs: int,
    c: int,
    temperature: float = 0.5,
    k: int = 200,
    device: Device = None,
    progress: bool = True,
) -> tuple[float, float]:
    """Classify test images by their nearest neighbours among the features of the memory images.

    Args:
        model: images -> (feature, projection); the neighbours are found by the feature, of unit length.
        memory_data_loader, test_data_loader: yield (x, …, target); of several views the first is used. Both may
            shuffle and may wrap a Subset: labels come from the batches.
        epoch, epochs, device, progress: as for `train`.
        c: number of classes. temperature: of the neighbours' weights, > 0.
        k: number of neighbours, >= 1; at most all memory images are used.
    Returns:
        top-1 and top-5 accuracy in percent (top-c with fewer than 5 classes).
    Raises:
        ValueError: for k < 1, temperature <= 0, a label outside 0 … c - 1, an empty loader, or features that are not
            finite.
    """
    guards.check_loop("test", model, device, memory_data_loader=memory_data_loader, test_data_loader=test_data_loader)
    want_numbers("test", k=k, temperature=temperature)
    check_sizes("test", 1, c=c)
    if k < 1 or not temperature > 0:
        raise ValueError(
            f"test: got k = {k} neighbours and temperature = {temperature}; wanted k >= 1 and a "
            "temperature > 0. The reference setting is k = 200 and 0.5."
        )
    device = _device_of(model) if device is None else device
    with eval_mode(model), torch.no_grad():
        bar = _bar(memory_data_loader, progress, "Feature extracting")
        parts = ((batch[0], batch[-1]) for batch in (guards.parts_of("test", batch, 2) for batch in bar))
        batches = [(model(x.to(device, non_blocking=True))[0], target) for x, target in parts]
        _not_empty(len(batches), "test")
        bank = torch.cat([feature for feature, _ in batches])  # (M, H)
        labels = torch.cat([target for _, target in batches]).to(device)  # (M,)
        _check_labels("test", labels, c)
        if not bank.isfinite().all():
            raise ValueError(
                "test: the memory images' features are not all finite. Check the images for NaN; "
                "if it is the weights that have diverged, train again with a lower learning rate."
            )
        total_num, correct = 0, torch.zeros(2)
        bar = _bar(test_data_loader, progress)
        for batch in bar:
            x, *_, target = guards.parts_of("test", batch, 2)
            _check_labels("test", target, c)
            feature, _ = model(x.to(device, non_blocking=True))
            correct += _count_correct(knn_scores(feature, bank, labels, c, k, temperature), target.to(device)).cpu()
            total_num += len(x)
            top1, top5 = (100 * correct / total_num).tolist()
            bar.set_description(f"Test Epoch: [{epoch}/{epochs}] Acc@1:{top1:.2f}% Acc@5:{top5:.2f}%")
    _not_empty(total_num, "test")
    return top1, top5


def knn_scores(feature: Tensor, bank: Tensor, labels: Tensor, c: int, k: int, temperature: float) -> Tensor:
    """Score of every class: the sum of exp(similarity / temperature) over the k nearest images of that class.

    Args:
        feature: (B, H) float of unit length. bank: (M, H) float of unit length. labels: (M,) int64 in 0 … c - 1.
    Returns:
        (B, c) float >= 0, up to a factor for each row, which keeps the sums finite at small temperatures.
    """
    guards.check_neighbours(feature, bank, labels, c, k, temperature)
    similarity, nearest = (feature @ bank.T).topk(min(k, len(bank)))  # (B, k) each, descending
    weights = ((similarity - similarity[:, :1]) / float(temperature)).exp()  # (B, k), 1 for the nearest
    return weights.new_zeros(len(feature), c).scatter_add_(1, labels[nearest], weights)


def _count_correct(scores: Tensor, target: Tensor) -> Tensor:
    """How many targets are the highest score, and among the five highest: (2,)."""
    ranked = scores.topk(min(5, scores.shape[1])).indices  # (B, 5)
    hits = ranked == target[:, None]
    return torch.stack([hits[:, 0].sum(), hits.sum()])


def _check_labels(function: str, labels: Tensor, c: int) -> None:
    if labels.ndim != 1 or labels.is_floating_point() or labels.dtype == torch.bool:
        raise TypeError(
            f"{function}: labels are {labels.dtype} of shape {tuple(labels.shape)}, wanted integers (B,). Pass class numbers."
        )
    if labels.min() < 0 or labels.max() >= c:
        raise ValueError(
            f"{function}: labels run from {labels.min()} to {labels.max()}, but there are {c} classes. "
            "Give the classifier, or c, the number of classes of the data set."
        )


def _finite(loss: Tensor, function: str, place: str) -> float:
    value = loss.item()
    if not math.isfinite(value):
        raise ValueError(
            f"{function}: the loss is {value} at {place}; wanted a finite one. Check the images for "
            "NaN, or start again from the last good weights with a lower learning rate."
        )
    return value


def _not_empty(count: int, function: str) -> int:
    if count == 0:
        raise ValueError(
            f"{function}: the loader gave no batch. Use a batch size no larger than the data set, or drop_last=False."
        )
    return count


def _device_of(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _few(loader: Iterable) -> Iterable:
    """The batches of a training: all, or with DL_QUICK the first 4."""
    return islice(loader, 4) if settings.quick() else loader


def _bar(loader: Iterable, shown: bool, text: str = "") -> Any:
    from tqdm.auto import tqdm

    return tqdm(loader, desc=text, disable=not shown, leave=False)
