"""Which ingredient makes the Transformer calculate? `python -m benchmarks ablation_arithmetic`

Every recipe trains the same modules on the same 4,500 rows and is judged by greedy decoding on all expressions that are
not among these rows. `RULE` is the recipe of the notebook's last part, `SHORT` the same in 120 epochs instead of 200. Each
other one puts ONE thing of `SHORT` back to what the course's recipe has; the last one puts back all of them.
Results go to `ablation_arithmetic.json`; what is there already is not run again, so that a stopped run goes on.

    python -m benchmarks.ablation_arithmetic "the rule recipe"        # only this one
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Subset

import a2_helper
from dl import settings
from dl.data import arithmetic
from dl.utils import reset_seed
from transformers import CrossEntropyLoss, Transformer, position_encoding_paper, position_encoding_sinusoid

RESULTS = Path(__file__).with_suffix(".json")
HEADS, WIDTH, HIDDEN, LAYERS = 4, 64, 256, 2
WATCHED, WATCH_EVERY = 1000, 10  # rows of either kind that are followed, and the epochs between two looks
WARMUP = 100  # updates of the cosine schedule's rise
POSITIONS = {"floored": position_encoding_sinusoid, "paper": position_encoding_paper}


@dataclass(frozen=True)
class Recipe:
    """One way to train; the defaults are the rule recipe, the comments what the course's recipe has instead."""

    positions: str = "paper"  # floored
    shuffled: bool = True  # fixed order, the last part batch left out
    batch: int = 128  # 256
    dropout: float = 0.0  # 0.1
    cosine: bool = True  # 6e-6 for 900 updates, then `rate` to the end
    rate: float = 1.2e-3  # 5e-4
    weight_decay: float = 0.3  # none
    shrink: float = 1.0  # factor of the initial weight matrices; 1 there, too
    epochs: int = 200  # 800


RULE = Recipe()
SHORT = replace(RULE, epochs=120)
RECIPES = {
    "the rule recipe": RULE,
    "the rule recipe, 120 epochs": SHORT,
    "positions with floor": replace(SHORT, positions="floored"),
    "fixed order": replace(SHORT, shuffled=False),
    "batches of 256": replace(SHORT, batch=256),
    "dropout 0.1": replace(SHORT, dropout=0.1),
    "the course's rate": replace(SHORT, cosine=False, rate=5e-4),
    "no weight decay": replace(SHORT, weight_decay=0.0),
    "half as large initial weights": replace(SHORT, shrink=0.5),
    "the course's recipe": replace(
        SHORT, positions="floored", shuffled=False, batch=256, dropout=0.1, cosine=False, rate=5e-4, weight_decay=0.0
    ),
}
SEEDS = {"the rule recipe": (0, 1, 2), "the rule recipe, 120 epochs": (0, 1, 2)}  # all others: seed 0


def main(names: Iterable[str] = RECIPES) -> None:
    torch.set_num_threads(1)
    for name in names:
        for seed in SEEDS.get(name, (0,)):
            if any((entry["recipe"], entry["seed"]) == (name, seed) for entry in read()):
                continue
            entry = {"recipe": name, "seed": seed, **run(RECIPES[name], seed)}
            RESULTS.write_text(json.dumps([*read(), entry], indent=1) + "\n")
            print(f"{name}, seed {seed}: unseen {entry['unseen']:.4f}, unrelated {entry['unrelated']:.4f}", flush=True)


def read() -> list[dict]:
    """The results so far, one dict a training."""
    return json.loads(RESULTS.read_text()) if RESULTS.is_file() else []


def run(recipe: Recipe, seed: int) -> dict:
    """Train by a recipe; returns settings, exact match on all rows of each kind, seconds, and the curves."""
    data = a2_helper.get_toy_data(settings.project_root() / "datasets" / "two_digit_op.json")
    training, validation = ([arithmetic.parse(line) for line in lines] for lines in a2_helper.split_rows(data)[:2])
    rows = {
        "seen": training,
        "validation": validation,
        "unseen": arithmetic.unseen(training),
        "unrelated": arithmetic.unrelated(training),
    }
    sets = {
        name: a2_helper.expression_dataset(expressions, WIDTH, POSITIONS[recipe.positions])
        for name, expressions in rows.items()
    }
    draw = torch.Generator().manual_seed(0)
    watched = {
        name: Subset(sets[name], torch.randperm(len(sets[name]), generator=draw)[:WATCHED].tolist())
        for name in ("seen", "unseen")
    }
    reset_seed(seed)
    model = Transformer(HEADS, WIDTH, HIDDEN, recipe.dropout, LAYERS, LAYERS, len(arithmetic.VOCABULARY))
    a2_helper.shrink_weights(model, matrices=recipe.shrink, embedding=1.0)
    loader = DataLoader(
        sets["seen"],
        recipe.batch,
        shuffle=recipe.shuffled,
        generator=torch.Generator().manual_seed(seed),
        drop_last=not recipe.shuffled,
    )
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=recipe.weight_decay, fused=True)
    schedule = a2_helper.step_schedule(6e-6, 900, recipe.rate)
    if recipe.cosine:
        schedule = a2_helper.cosine_schedule(recipe.rate, WARMUP, recipe.epochs * len(loader))
    history: list[dict] = []
    before = time.process_time()
    a2_helper.train(
        model,
        loader,
        DataLoader(sets["validation"], len(validation)),
        CrossEntropyLoss,
        recipe.epochs,
        optimizer=optimizer,
        schedule=schedule,
        history=history,
        print_every=WATCH_EVERY,
        on_epoch=a2_helper.watch_exact_match(watched, WATCH_EVERY),
    )
    cpu_seconds = time.process_time() - before
    looks = [entry for entry in history if "seen" in entry]
    return {
        "settings": asdict(recipe),
        **{name: a2_helper.right_answers(model, dataset).double().mean().item() for name, dataset in sets.items()},
        "cpu_seconds": round(cpu_seconds, 1),
        "wall_seconds": round(history[-1]["seconds"], 1),
        "updates": recipe.epochs * len(loader),
        "threads": torch.get_num_threads(),
        "device": platform.machine(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "curve": {key: [round(entry[key], 4) for entry in looks] for key in ("epoch", "seen", "unseen")},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: all of {', '.join(RECIPES)}")
    main(parser.parse_args().names or RECIPES)
