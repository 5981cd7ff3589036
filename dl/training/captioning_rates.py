"""The captioners of the notebook trained at several learning rates: is a model ahead only because its own was chosen well?

    python -m dl.training.captioning_rates        seven trainings, minutes each on one core

Every run is one of the notebook's full trainings on the sample world, with the same initial weights and the same order of
batches; only the learning rate differs. One seed. Results go to `captioning_rates.json` beside this file; a run that is
recorded there is not repeated.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dl import settings
from dl.console import write_json
from dl.notebook import use_project_modules
from dl.utils import reset_seed
from dl.world.export import scenes, sentences
from dl.world.scoring import score_captions

if TYPE_CHECKING:
    from rnn_lstm_captioning import CaptioningRNN

RESULTS = Path(__file__).with_suffix(".json")
COMMON = 1e-3  # the learning rate that all three have in common
LEARNING_RATES = {"rnn": (5e-4, 1e-3, 1.5e-3), "lstm": (1e-3, 1.5e-3), "attn": (5e-4, 1e-3)}  # the notebook adds its own runs
SIZES: dict[str, Any] = {"input_dim": 400, "wordvec_dim": 256, "hidden_dim": 256}
TRAINING: dict[str, Any] = {"num_epochs": 15, "batch_size": 32, "lr_decay": 0.9, "drop_last": False}
SCORES = ("content", "two_both", "two_misbound")


@functools.cache
def encoded_data() -> tuple[dict, Tensor, Tensor]:
    """The sample world's captions with their vocabulary, and the features of its training and validation images."""
    import a2_helper

    data = a2_helper.load_coco_captions(verbose=False)
    reader = untrained(data, "rnn")
    train_x, val_x = (a2_helper.encode_images(reader, data[f"{split}_images"]) for split in ("train", "val"))
    return data, train_x, val_x


def untrained(data: dict, cell: str) -> CaptioningRNN:
    """A captioner with the trained encoder and a decoder as it is initialised, for the vocabulary of `data`."""
    import rnn_lstm_captioning as lesson

    words = data["vocab"]["token_to_idx"]
    return lesson.CaptioningRNN(words, cell_type=cell, ignore_index=words["<NULL>"], **SIZES)


def trained(cell: str, learning_rate: float) -> dict:
    """Train one captioner on the sample world.

    Args:
        cell: "rnn", "lstm" or "attn".
    Returns:
        "validation": loss after each epoch, in nats per caption. "training": mean loss over the last epoch. And `SCORES` of
        the captions that it then writes for the validation images.
    """
    use_project_modules(settings.project_root())
    import a2_helper

    captions, train_x, val_x = encoded_data()
    reset_seed(0)
    model = untrained(captions, cell)
    validation: list[float] = []
    _, history = a2_helper.train_captioner(
        model,
        train_x,
        captions["train_captions"],
        learning_rate=learning_rate,
        shuffle=torch.Generator().manual_seed(0),
        plot=False,
        after_epoch=lambda model: a2_helper.caption_loss(model, val_x, captions["val_captions"]),
        measured=validation,
        **TRAINING,
    )
    said, _ = a2_helper.caption_images(model, val_x)
    scores = score_captions(said, list(scenes("val", len(val_x))), list(sentences("val", len(val_x))))
    last = history[-(len(history) // len(validation)) :]
    return {
        "validation": [round(loss, 3) for loss in validation],
        "training": round(sum(last) / len(last), 3),
        **{name: round(scores[name], 4) for name in SCORES},
    }


def read() -> list[dict]:
    """What is recorded: one dict per run, with its "cell" and "learning_rate", by cell and then by learning rate."""
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else []
    return sorted(kept, key=lambda run: (list(LEARNING_RATES).index(run["cell"]), run["learning_rate"]))


def trials(cell: str) -> dict[float, tuple[float, float]]:
    """The recorded runs of a cell: learning rate -> (last validation loss, fraction of captions with every claim right)."""
    runs = [run for run in read() if run["cell"] == cell]
    return {run["learning_rate"]: (run["validation"][-1], run["content"]) for run in runs}


def main() -> int:
    torch.set_num_threads(1)
    for cell, learning_rates in LEARNING_RATES.items():
        for learning_rate in learning_rates:
            chosen = {"cell": cell, "learning_rate": learning_rate, "settings": SIZES | TRAINING}
            if any(run | chosen == run for run in read()):
                continue
            started = time.process_time()
            result = trained(cell, learning_rate)
            seconds = round(time.process_time() - started)
            write_json(RESULTS, [*read(), {**chosen, "cpu_seconds": seconds, **result}])
            print(f"{cell} at {learning_rate:g}: {seconds} s, {result}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
