"""Train the SimCLR notebook's starting weights, small encoder and projection head, on close-ups of the sample world.

    python -m dl train-weights simclr        about 8 minutes on one core; stops and resumes at any time

Images are drawn afresh and never those of the exported data set; labels only serve to score. Views are made with
stronger colour changes and wider crops than CIFAR-10's recipe: here the background and the colour of an image tell its
two views from all others far too easily.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from dl import settings, weights
from dl.console import write_json
from dl.simclr.batch_augment import BatchAugmentation
from dl.simclr.data_utils import load_cifar10, normalise, picture_tensors
from dl.simclr.model import Model
from dl.simclr.pretrain import Recipe, pretrain
from dl.simclr.utils import test
from dl.world.render import render
from dl.world.scenes import CLASSES, generator, sample_scene

NAME = "simclr"
SEED = 11  # names the training images; the data sets of the world use keys below 10
VALIDATION_SEED = 12
PICTURES, VALIDATION, SIDE = 40_000, 3_000, 32
RECIPE = Recipe(epochs=6, rate=2e-3, temperature=0.2, bfloat16=True, channels_last=True, seed=SEED)
AUGMENTATION = BatchAugmentation(scale=(0.3, 1.0), strength=(0.8, 0.8, 0.8, 0.4), grey=0.3)
PROBE_LABELS, NEIGHBOURS = 1000, 20  # as many labels as the notebook's probes see
BANK, ASKED, NOTEBOOK_NEIGHBOURS = 2000, 1000, 50  # images of the exported data set with which the notebook draws its curves


def train() -> Path:
    """Train from nothing (or from the checkpoint in `build/`), save the weights and write the card."""
    checkpoint = settings.project_root() / "build" / "train" / f"{NAME}.pt"
    print(f"{NAME}: drawing {PICTURES + VALIDATION:,} images", flush=True)
    dataset = TensorDataset(*draw_pictures(SEED, PICTURES))
    held_out = draw_pictures(VALIDATION_SEED, VALIDATION)
    started = time.process_time()
    kept = checkpoint.with_suffix(".json")
    if not checkpoint.is_file():
        torch.manual_seed(SEED)
        write_json(kept, {"images": [0], "loss": [], "knn": [notebook_knn(Model(encoder=RECIPE.encoder))]})
    history = json.loads(kept.read_text(encoding="utf-8"))

    def report(epoch: int, loss: float, model: Model) -> None:
        history["images"].append(epoch * (PICTURES // RECIPE.batch) * RECIPE.batch)
        history["loss"].append(round(loss, 3))
        history["knn"].append(notebook_knn(model))
        write_json(kept, history)
        scores = evaluate(model, *held_out) if epoch % 2 == 0 else ""
        seconds = time.process_time() - started
        print(f"{NAME}: epoch {epoch}/{RECIPE.epochs} loss {loss:.3f} {seconds:.0f} s {scores}", flush=True)

    model = pretrain(dataset, RECIPE, checkpoint, torch.device("cpu"), AUGMENTATION, on_epoch=report)
    return finish(model, held_out, history, minutes=(time.process_time() - started) / 60)


def draw_pictures(key: int, count: int) -> tuple[Tensor, Tensor]:
    """Close-ups named by the key: uint8 (count, 3, 32, 32), and their classes, int64 (count,)."""
    pictures, labels = np.empty((count, 3, SIDE, SIDE), dtype=np.uint8), []
    for index in range(count):
        scene = sample_scene(generator(key, index), close_up=True)
        pictures[index] = render(scene, SIDE)[0].transpose(2, 0, 1)
        labels.append(CLASSES.index(scene.objects[0].category))
    return torch.from_numpy(pictures), torch.tensor(labels)


def evaluate(model: Model, pictures: Tensor, labels: Tensor) -> dict[str, float]:
    """Percent right on images never trained on, by nearest neighbours and by a linear probe, from 1,000 labels."""
    known, asked = (
        DataLoader(TensorDataset(normalise(pictures[part]), labels[part]), 250)
        for part in (slice(PROBE_LABELS), slice(PROBE_LABELS, None))
    )
    knn, _ = test(model, known, asked, 1, 1, len(CLASSES), temperature=0.1, k=NEIGHBOURS, progress=False)
    return {"knn": round(knn, 1), "probe": round(linear_probe(model, known, asked), 1)}


def notebook_knn(model: Model) -> float:
    """Percent of test images of the exported data set that nearest neighbours name, measured as in the notebook's curves."""
    parts = (picture_tensors(load_cifar10(train=train), count) for train, count in ((True, BANK), (False, ASKED)))
    bank, asked = (DataLoader(TensorDataset(normalise(images), labels), 250) for images, labels in parts)
    found, _ = test(model, bank, asked, 1, 1, len(CLASSES), temperature=0.1, k=NOTEBOOK_NEIGHBOURS, progress=False)
    return round(found, 1)


@torch.no_grad()
def linear_probe(model: Model, known: DataLoader, asked: DataLoader) -> float:
    """Percent right of logistic regression on the frozen features, scaled to mean 0 and deviation 1."""
    from sklearn.linear_model import LogisticRegression

    model.eval()
    (x, y), (test_x, test_y) = (
        (torch.cat([model.f(x).flatten(start_dim=1) for x, _ in loader]), torch.cat([y for _, y in loader]))
        for loader in (known, asked)
    )
    mean, deviation = x.mean(dim=0), x.std(dim=0) + 1e-3
    probe = LogisticRegression(C=0.1, max_iter=1000).fit(((x - mean) / deviation).numpy(), y.numpy())
    return 100 * probe.score(((test_x - mean) / deviation).numpy(), test_y.numpy())


def finish(model: Model, held_out: tuple[Tensor, Tensor], history: dict[str, list], minutes: float) -> Path:
    random_scores = evaluate(Model(encoder=RECIPE.encoder), *held_out)
    facts = {"encoder": RECIPE.encoder, "epochs": str(RECIPE.epochs), "seed": str(SEED), "history": json.dumps(history)}
    path = weights.save(NAME, model.state_dict(), facts)
    shipped = Model(encoder=RECIPE.encoder)
    shipped.load_state_dict(weights.load(NAME))
    scores = evaluate(shipped, *held_out)  # of what is shipped, after rounding to half precision
    weights.write_card(
        NAME,
        CARD.format(
            **vars(RECIPE),
            **vars(AUGMENTATION),
            **scores,
            images=PICTURES,
            held_out=VALIDATION - PROBE_LABELS,
            labels=PROBE_LABELS,
            random_knn=random_scores["knn"],
            random_probe=random_scores["probe"],
            parameters=sum(p.numel() for p in model.parameters()) / 1e6,
            megabytes=path.stat().st_size / 1e6,
            steps=RECIPE.epochs * (PICTURES // RECIPE.batch),
            neighbours=NEIGHBOURS,
            curve=", ".join(f"{knn:.0f}" for knn in history["knn"]),
            minutes=minutes,
            torch=torch.__version__,
        ),
    )
    print(f"{NAME}: {scores}, random weights {random_scores}; wrote {path.name} and its card")
    return path


CARD = """
# simclr: small SimCLR encoder and projection head

`dl.simclr.model.Model(128, encoder="{encoder}")`, {parameters:.2f} M parameters with the head, trained from nothing by
`python -m dl train-weights simclr`. Half precision, {megabytes:.1f} MB.

- **Data:** {images:,} close-ups of single objects of the sample world, 32x32, drawn for this training: no image of
  the exported data set, and no label.
- **Method:** SimCLR: two views of every image, NT-Xent loss, temperature {temperature}.
- **Views:** crops of {scale[0]} to 1 of the area, mirrored half of the time, with probability {jitter} the colours
  jittered (brightness, contrast, saturation {strength[0]}, hue {strength[3]}), grey with probability {grey}. That is
  stronger in colour, and wider, than the notebook's `compute_train_transform`.
- **Settings:** Adam, peak learning rate {rate}, weight decay {weight_decay}, {epochs} epochs = {steps:,} steps of {batch} pairs,
  warm-up of {warm_up:.0%}, then cosine; bfloat16, channels last; seed {seed}.
- **Time:** {minutes:.0f} minutes of one processor core since the last start, torch {torch}.
- **Scores** on {held_out:,} images never trained on, from {labels:,} labelled ones: linear probe {probe} %
  (random weights {random_probe} %), {neighbours} nearest neighbours {knn} % (random weights {random_knn} %).
- **History:** loss of each epoch, and kNN accuracy on the exported images before the first and after
  each ({curve} %), are in the file's metadata: `json.loads(dl.weights.metadata("simclr")["history"])`.

Limits: it knows the ten shapes of the sample world at 32x32 and is no substitute for weights trained on CIFAR-10. It
was made not to see colours: ask it for shapes.
"""
