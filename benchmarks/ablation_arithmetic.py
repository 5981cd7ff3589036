"""Which ingredient makes the Transformer calculate? `python -m benchmarks ablation_arithmetic`

Trains by every recipe of `dl/training/recipes.py`. Results go to `ablation_arithmetic.json`; what is there already is not
run again, so that a stopped run goes on.

    python -m benchmarks.ablation_arithmetic "label smoothing"        # only this one
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import torch

from dl.training.recipes import RECIPES, run

RESULTS = Path(__file__).with_suffix(".json")
SEEDS = {"rule recipe, 200 epochs": (0, 1, 2), "rule recipe, 120 epochs": (0, 1, 2)}  # all others: seed 0


def main(names: Iterable[str] = RECIPES) -> None:
    torch.set_num_threads(1)
    for name in names:
        for seed in SEEDS.get(name, (0,)):
            if any((entry["recipe"], entry["seed"]) == (name, seed) for entry in read()):
                continue
            entry = {"recipe": name, "seed": seed, "settings": asdict(RECIPES[name]), **run(RECIPES[name], seed), **machine()}
            RESULTS.write_text(json.dumps([*read(), entry], indent=1) + "\n", encoding="utf-8")
            print(f"{name}, seed {seed}: unseen {entry['unseen']:.4f}, unrelated {entry['unrelated']:.4f}", flush=True)


def read() -> list[dict]:
    """The results so far, one dict per training."""
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else []


def machine() -> dict:
    """What a run's seconds depend on."""
    return {
        "threads": torch.get_num_threads(),
        "device": platform.machine(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: all of {', '.join(RECIPES)}")
    main(parser.parse_args().names or RECIPES)
