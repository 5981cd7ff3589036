"""Recipes that train the arithmetic Transformer, each one change away from the next: what makes it learn the rule?

Every recipe trains the same modules on the same 4,500 rows and is judged by greedy decoding on all expressions that are
not among these rows. `RULE` is the rule recipe of the notebook's last part, `SHORT` the same in 120 epochs instead of 200.
Each other one puts ONE thing of `SHORT` back to the reference recipe, or adds one; the last puts back all of them.
Results of whole runs: `benchmarks/ablation_arithmetic.json`, written by `python -m benchmarks ablation_arithmetic`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils.data import DataLoader, Subset

from dl import settings
from dl.data import arithmetic
from dl.notebook import use_project_modules
from dl.utils import reset_seed

HEADS, WIDTH, HIDDEN, LAYERS = 4, 64, 256, 2
WATCHED, WATCH_EVERY = 1000, 10  # rows of either kind that are followed, and the epochs between two looks
WARMUP = 100  # updates of the cosine schedule's rise


@dataclass(frozen=True)
class Recipe:
    """One way to train; the defaults are the rule recipe, the comments what the reference recipe has instead."""

    positions: str = "paper"  # sinusoid: the graded one, with the floor
    shuffled: bool = True  # fixed order, the last partial batch left out
    batch: int = 128  # 256
    dropout: float = 0.0  # 0.1
    cosine: bool = True  # 6e-6 for 900 updates, then `learning_rate` to the end
    learning_rate: float = 1.2e-3  # 5e-4
    weight_decay: float = 0.3  # none
    shrink: float = 1.0  # factor of the initial weight matrices; 1 there, too
    smoothing: bool = False  # label smoothing; not there either
    epochs: int = 200  # 800


RULE = Recipe()
SHORT = replace(RULE, epochs=120)
RECIPES = {
    "rule recipe, 200 epochs": RULE,
    "rule recipe, 120 epochs": SHORT,
    "floored positions": replace(SHORT, positions="sinusoid"),
    "fixed order": replace(SHORT, shuffled=False),
    "batches of 256": replace(SHORT, batch=256),
    "dropout 0.1": replace(SHORT, dropout=0.1),
    "reference learning rate": replace(SHORT, cosine=False, learning_rate=5e-4),
    "no weight decay": replace(SHORT, weight_decay=0.0),
    "half-size initial weights": replace(SHORT, shrink=0.5),
    "label smoothing": replace(SHORT, smoothing=True),
    "reference recipe, 120 epochs": replace(
        SHORT, positions="sinusoid", shuffled=False, batch=256, dropout=0.1, cosine=False, learning_rate=5e-4, weight_decay=0.0
    ),
}


def run(recipe: Recipe, seed: int) -> dict:
    """Train by a recipe to its end, and examine the model.

    Returns:
        exact match (greedy) on all rows of each kind: seen, validation, unseen, unrelated, in [0, 1]; and what `train` returns.
    """
    model, sets, report = train(recipe, seed)
    from a2_helper import right_answers

    return {name: right_answers(model, rows).double().mean().item() for name, rows in sets.items()} | report


def train(recipe: Recipe, seed: int, first_epochs: int | None = None, device: torch.device | str = "cpu") -> tuple:
    """Train by a recipe.

    Args:
        first_epochs: stop after so many epochs, on the schedule of the whole run; None trains to the end.
    Returns:
        model; data sets by kind of rows; and a dict: seconds, updates, and "curve", lists "epoch", "seen" and "unseen": exact
        match on up to 1,000 rows of either kind, every `WATCH_EVERY` epochs.
    """
    use_project_modules(settings.project_root())
    import a2_helper
    import transformers

    sets = data_sets(getattr(transformers, f"position_encoding_{recipe.positions}"))
    reset_seed(seed)
    model = transformers.Transformer(HEADS, WIDTH, HIDDEN, recipe.dropout, LAYERS, LAYERS, len(arithmetic.VOCABULARY))
    a2_helper.shrink_weights(model, matrices=recipe.shrink, embedding=1.0)
    order = torch.Generator().manual_seed(seed)
    loader = DataLoader(sets["seen"], recipe.batch, shuffle=recipe.shuffled, generator=order, drop_last=not recipe.shuffled)
    schedule = a2_helper.step_schedule(6e-6, 900, recipe.learning_rate)
    if recipe.cosine:
        schedule = a2_helper.cosine_schedule(recipe.learning_rate, WARMUP, recipe.epochs * len(loader))
    model.to(device)
    epochs, history = first_epochs or recipe.epochs, list[dict]()
    before = time.process_time()
    a2_helper.train(
        model,
        loader,
        DataLoader(sets["validation"], len(sets["validation"])),
        transformers.LabelSmoothingLoss if recipe.smoothing else transformers.CrossEntropyLoss,
        epochs,
        device=device,
        optimizer=torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=recipe.weight_decay, fused=True),
        schedule=schedule,
        history=history,
        print_every=WATCH_EVERY,
        on_epoch=a2_helper.watch_exact_match(watched(sets), WATCH_EVERY, device),
    )
    looks = [entry for entry in history if "seen" in entry]
    return (
        model,
        sets,
        {
            "cpu_seconds": round(time.process_time() - before, 1),
            "wall_seconds": round(history[-1]["seconds"], 1),
            "updates": epochs * len(loader),
            "curve": {key: [round(entry[key], 4) for entry in looks] for key in ("epoch", "seen", "unseen")},
        },
    )


def watched(sets: dict) -> dict[str, Any]:
    """Up to 1,000 rows of the seen and of the unseen expressions, always the same."""
    draw = torch.Generator().manual_seed(0)
    return {
        name: Subset(sets[name], torch.randperm(len(sets[name]), generator=draw)[:WATCHED].tolist())
        for name in ("seen", "unseen")
    }


def data_sets(pos_encode) -> dict:
    """The training rows, "seen", and the three kinds of rows that judge, at width `WIDTH`."""
    import a2_helper

    data = a2_helper.get_toy_data(settings.project_root() / "datasets" / "two_digit_op.json")
    training, validation = ([arithmetic.parse(line) for line in lines] for lines in a2_helper.split_rows(data)[:2])
    rows = {
        "seen": training,
        "validation": validation,
        "unseen": arithmetic.unseen(training),
        "unrelated": arithmetic.unrelated(training),
    }
    return {name: a2_helper.expression_dataset(expressions, WIDTH, pos_encode) for name, expressions in rows.items()}
