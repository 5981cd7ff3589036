"""Recorded training runs of the captioning notebook: each model at several learning rates, and what teaches relations.

    python -m dl.training.captioning_experiments        eleven runs, minutes each on one core

Every run is one of the notebook's full training runs on the sample world, with the same initial weights; a run differs from
it in its learning rate, in a position code added to the features, or in showing every image twice, the second time as it is or
mirrored. One seed. Results go to `captioning_experiments.json` beside this file; a run that is recorded there is not repeated.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dl import settings
from dl.console import write_json
from dl.models.captioning import grid_code, mirrored
from dl.notebook import use_project_modules
from dl.utils import reset_seed
from dl.world.export import scenes, sentences
from dl.world.scoring import score_captions

if TYPE_CHECKING:
    from rnn_lstm_captioning import CaptioningRNN

RESULTS = Path(__file__).with_suffix(".json")
COMMON = 1e-3  # the learning rate that all three have in common
LEARNING_RATES = {"rnn": (5e-4, 1e-3, 1.5e-3), "lstm": (5e-4, 1e-3, 1.5e-3), "attn": (5e-4, 1e-3)}  # beside the notebook's
CHANGED: list[tuple[str, float, tuple[str, ...]]] = [  # the notebook makes the first two at once
    ("attn", 1.5e-3, ("position code",)),
    ("attn", 1.5e-3, ("every image twice",)),
    ("attn", 1.5e-3, ("position code", "mirrored images")),  # as many updates as with every image twice
]
SIZES: dict[str, Any] = {"input_dim": 400, "wordvec_dim": 256, "hidden_dim": 256}
TRAINING: dict[str, Any] = {"num_epochs": 15, "batch_size": 32, "lr_decay": 0.9, "drop_last": False}
SCORES = ("content", "two_both", "two_misbound", "two_relation")


@functools.cache
def encoded_data() -> tuple[dict, dict[str, Tensor]]:
    """The sample world's captions with their vocabulary, and the features of its images by split; "mirrored": of the
    training images."""
    import a2_helper

    data = a2_helper.load_coco_captions(verbose=False)
    images = {split: data[f"{split}_images"] for split in ("train", "val", "held_out")}
    images["mirrored"] = images["train"].flip(-1)
    reader = untrained(data, "rnn")
    return data, {split: a2_helper.encode_images(reader, shown) for split, shown in images.items()}


def untrained(data: dict, cell: str) -> CaptioningRNN:
    """A captioner with the trained encoder and a decoder as it is initialised, for the vocabulary of `data`."""
    import rnn_lstm_captioning as lesson

    words = data["vocab"]["token_to_idx"]
    return lesson.CaptioningRNN(words, cell_type=cell, ignore_index=words["<NULL>"], **SIZES)


def trained(cell: str, learning_rate: float, changes: Sequence[str] = ()) -> dict:
    """Train one captioner on the sample world.

    Args:
        cell: "rnn", "lstm" or "attn". changes: "position code", "mirrored images", "every image twice".
    Returns:
        "validation": loss after each epoch, in nats per caption. "training": mean loss over the last epoch. `SCORES` of the
        captions that it then writes for the validation images, and "held_out_both", both pairs of two objects that never
        occurred in training.
    """
    use_project_modules(settings.project_root())
    import a2_helper

    captions, features = encoded_data()
    code = grid_code(*features["train"].shape[1:]) if "position code" in changes else torch.zeros(())
    x, y = features["train"], captions["train_captions"]
    if "mirrored images" in changes:
        x, y = torch.cat([x, features["mirrored"]]), torch.cat([y, mirrored(y, captions["vocab"]["token_to_idx"])])
    if "every image twice" in changes:
        x, y = torch.cat([x, x]), torch.cat([y, y])
    reset_seed(0)
    model = untrained(captions, cell)
    validation: list[float] = []
    _, history = a2_helper.train_captioner(
        model,
        x + code,
        y,
        learning_rate=learning_rate,
        shuffle=torch.Generator().manual_seed(0),
        plot=False,
        after_epoch=lambda model: a2_helper.caption_loss(model, features["val"] + code, captions["val_captions"]),
        measured=validation,
        **TRAINING,
    )
    scores = {split: _scores(model, split, features[split] + code) for split in ("val", "held_out")}
    last = history[-(len(history) // len(validation)) :]
    return {
        "validation": [round(loss, 3) for loss in validation],
        "training": round(sum(last) / len(last), 3),
        **{name: round(scores["val"][name], 4) for name in SCORES if name in scores["val"]},
        "held_out_both": round(scores["held_out"]["two_both"], 4),
    }


def _scores(model: CaptioningRNN, split: str, features: Tensor) -> dict[str, float]:
    import a2_helper

    said, _ = a2_helper.caption_images(model, features)
    return score_captions(said, list(scenes(split, len(features))), list(sentences(split, len(features))))


def read() -> list[dict]:
    """What is recorded: one dict per run, in the order in which `main` makes them."""
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else []


def trials(cell: str) -> dict[float, tuple[float, float]]:
    """The recorded runs of a cell as it is in the notebook: learning rate -> (last validation loss, fraction of captions with
    every claim right)."""
    runs = [run for run in read() if run["cell"] == cell and not run["changes"]]
    return {run["learning_rate"]: (run["validation"][-1], run["content"]) for run in runs}


def changed() -> dict[str, dict]:
    """The recorded runs with changes, by what was changed."""
    return {" and ".join(run["changes"]): run for run in read() if run["changes"]}


def planned() -> list[dict]:
    """Cell, learning rate and changes of each run."""
    tried: list[tuple] = [(cell, rate, ()) for cell, rates in LEARNING_RATES.items() for rate in rates]
    return [{"cell": cell, "learning_rate": rate, "changes": list(changes)} for cell, rate, changes in [*tried, *CHANGED]]


def main() -> int:
    torch.set_num_threads(1)
    for run in planned():
        chosen = run | {"settings": SIZES | TRAINING}
        if any(kept | chosen == kept for kept in read()):
            continue
        started = time.process_time()
        result = trained(**run)
        seconds = round(time.process_time() - started)
        write_json(RESULTS, [*read(), {**chosen, "cpu_seconds": seconds, **result}])
        print(f"{run}: {seconds} s, {result}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
