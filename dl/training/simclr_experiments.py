"""Experiments of the SimCLR notebook that take too long to run in it: which augmentations matter, what labels are worth.

    python -m dl.training.simclr_experiments        about 10 minutes on one core

Every pretraining run uses the small encoder, the sample world's training images without their labels, and one recipe;
only the augmentation differs. Every supervised run trains the same encoder from scratch on a few labelled images. One
seed each. Results go to `simclr_experiments.json` beside this file; a run that is recorded there is not repeated.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from dl.console import write_json
from dl.simclr.batch_augment import BatchAugmentation, PairBatches
from dl.simclr.data_utils import load_cifar10, normalise, picture_tensors
from dl.simclr.model import Classifier, Model
from dl.simclr.utils import knn_scores, train, train_val
from dl.training.simclr import AUGMENTATION
from dl.utils import eval_mode

RESULTS = Path(__file__).with_suffix(".json")
SEED, CLASSES = 0, 10
SCORED = 64  # images at once when features are computed: ResNet-50 takes much memory for each
KNOWN, ASKED, NEIGHBOURS = 2000, 1000, 50  # labelled training images and test images that score a model
BATCH, RATE, TEMPERATURE = 128, 3e-3, 0.2
SIDE, FULL_SIDE = 16, 32  # of a view and of an image, in pixels: the small one costs a quarter; the encoder takes either
BASE = replace(AUGMENTATION, size=SIDE)
PLAIN = replace(BASE, jitter=0.0, grey=0.0)
VIEWS = {
    "all augmentations": BASE,
    "no colour changes": PLAIN,
    "no crop": replace(BASE, scale=(1.0, 1.0), ratio=(1.0, 1.0)),
    "neither": replace(PLAIN, scale=(1.0, 1.0), ratio=(1.0, 1.0)),
}
LAST = 20  # batches over which a training loss is averaged
LONGEST = 2  # epochs with all augmentations, for the curve; the others take one
PER_CLASS = (5, 20, 100)
UPDATES, LABELLED_BATCH, LABELLED_RATE = 1200, 64, 1e-3  # of the supervised runs; their augmentation is BASE


@torch.no_grad()
def features(model: Model, images: Tensor) -> tuple[Tensor, Tensor]:
    """Features h and projections z of images uint8 (n, 3, h, w), in eval mode: (n, H) and (n, D) of unit length, on the CPU."""
    device = next(model.parameters()).device
    with eval_mode(model):
        outputs = [model(normalise(part).to(device)) for part in images.split(SCORED)]
    h, z = (torch.cat(side).cpu() for side in zip(*outputs, strict=True))
    return h, z


def probe_accuracy(known: Tensor, labels: Tensor, asked: Tensor, asked_labels: Tensor) -> float:
    """Percent of the rows `asked` whose class a logistic regression names that was fitted to the rows `known`.

    Args:
        known, asked: (n, width) float, each column scaled to mean 0 and deviation 1 over `known`. labels: (n,) each.
    """
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000)).fit(known.numpy(), labels.numpy())
    return 100 * probe.score(asked.numpy(), asked_labels.numpy())


def scores(model: Model, known: tuple[Tensor, Tensor], asked: tuple[Tensor, Tensor]) -> dict[str, float]:
    """Percent of the images `asked` whose class is found from those `known`, by kNN and by logistic regression.

    Args:
        known, asked: images uint8 (n, 3, 32, 32) and labels (n,).
    Returns:
        "knn", "probe"; and the same with the images scaled down to the size of the training views: "knn_16", "probe_16".
    """
    found = {}
    for side, ending in ((FULL_SIDE, ""), (SIDE, f"_{SIDE}")):
        (bank, _), (feature, _) = (features(model, scaled(images, side)) for images, _ in (known, asked))
        votes = knn_scores(feature, bank, known[1], CLASSES, NEIGHBOURS, temperature=0.1).argmax(dim=1)
        found[f"knn{ending}"] = round(100 * (votes == asked[1]).float().mean().item(), 1)
        found[f"probe{ending}"] = round(probe_accuracy(bank, known[1], feature, asked[1]), 1)
    return found


def scaled(images: Tensor, side: int) -> Tensor:
    """Images uint8 (n, 3, h, w) at side x side pixels."""
    if images.shape[-1] == side:
        return images
    return F.interpolate(images.float(), (side, side), mode="area").round().to(torch.uint8)


def pretrained(augmentation: BatchAugmentation, epochs: int, count: int | None = None) -> dict[str, list[float]]:
    """Train from scratch, without labels; loss of each epoch, and scores before the first and after each."""
    images, labels = picture_tensors(load_cifar10(train=True), count)
    known, asked = (images[:KNOWN], labels[:KNOWN]), picture_tensors(load_cifar10(train=False), ASKED)
    torch.manual_seed(SEED)
    model = Model(encoder="small").to(memory_format=torch.channels_last)
    loader = DataLoader(TensorDataset(images, labels), BATCH, shuffle=True, drop_last=True)
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    curve: dict[str, list[float]] = {"images": [0], "loss": [], **{k: [v] for k, v in scores(model, known, asked).items()}}
    for epoch in range(1, epochs + 1):
        pairs = PairBatches(loader, augmentation)
        loss = train(model, pairs, optimizer, epoch, epochs, temperature=TEMPERATURE, progress=False)
        curve["images"].append(epoch * len(loader) * BATCH)
        curve["loss"].append(round(loss, 3))
        for name, score in scores(model, known, asked).items():
            curve[name].append(score)
    return curve


def supervised(per_class: int, updates: int = UPDATES) -> dict[str, float]:
    """Train the encoder and a linear layer from scratch on so many labelled images per class.

    Returns:
        "train_loss", the mean of the last `LAST` batches, in nats, and test "accuracy" in percent, of whichever size of the test
        images is better, 32 pixels or the training views' 16.
    """
    images, labels = picture_tensors(load_cifar10(train=True))
    rows = torch.cat([(labels == number).nonzero()[:per_class, 0] for number in range(CLASSES)])
    test_images, test_labels = picture_tensors(load_cifar10(train=False), ASKED)
    torch.manual_seed(SEED)
    model = Classifier(CLASSES, encoder="small").to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), LABELLED_RATE)
    losses = []
    for _ in range(updates):
        chosen = rows[torch.randint(len(rows), (LABELLED_BATCH,))]
        loss, *_ = train_val(model, [(BASE(images[chosen]), labels[chosen])], optimizer, 1, 1, progress=False)
        losses.append(loss)
    sizes = (normalise(scaled(test_images, side)) for side in (FULL_SIDE, SIDE))
    tests = (DataLoader(TensorDataset(x, test_labels), 250) for x in sizes)
    accuracy = max(train_val(model, test, None, 1, 1, progress=False)[1] for test in tests)
    return {"accuracy": round(accuracy, 1), "train_loss": round(sum(losses[-LAST:]) / len(losses[-LAST:]), 3)}


def read() -> dict[str, dict]:
    """What is recorded: runs by name, in two groups, "views" and "supervised"."""
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    return {"views": {}, "supervised": {}, **kept}


def after(run: dict, epoch: int) -> dict[str, float]:
    """Scores in percent of a recorded pretraining run after an epoch, 0 for before, for both sizes of the test images."""
    sizes = {SIDE: f"_{SIDE}", FULL_SIDE: ""}
    return {
        f"{title}, {side} px": run[f"{name}{ending}"][epoch]
        for name, title in (("knn", "kNN"), ("probe", "probe"))
        for side, ending in sizes.items()
    }


def epochs_of(name: str) -> int:
    return LONGEST if name == "all augmentations" else 1


def settings_of(name: str) -> dict:
    """What a recorded run must have been made with."""
    if name in VIEWS:
        recipe = {"epochs": epochs_of(name), "batch": BATCH, "rate": RATE, "temperature": TEMPERATURE, **asdict(VIEWS[name])}
    else:
        recipe = {"updates": UPDATES, "batch": LABELLED_BATCH, "rate": LABELLED_RATE, **asdict(BASE)}
    return json.loads(json.dumps(recipe))  # as the file has it: lists for tuples


def main() -> int:
    torch.set_num_threads(1)
    runs: list[tuple[str, str, Callable[[], dict]]] = [
        ("views", name, partial(pretrained, VIEWS[name], epochs_of(name))) for name in reversed(VIEWS)
    ]
    runs += [("supervised", str(count), partial(supervised, count)) for count in PER_CLASS]
    for group, name, run in runs:
        kept = read()
        if kept[group].get(name, {}).get("settings") == settings_of(name):
            continue
        started = time.process_time()
        result = run()
        seconds = round(time.process_time() - started)
        kept[group][name] = {"settings": settings_of(name), "cpu_seconds": seconds, **result}
        write_json(RESULTS, kept)
        print(f"{group}, {name}: {seconds} s, {result}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
