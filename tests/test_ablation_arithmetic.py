"""The ablation of the arithmetic recipes: one change at a time, and kept results that belong to today's recipes."""

from dataclasses import asdict

import pytest
import torch

from benchmarks import ablation_arithmetic as ablation
from benchmarks.ablation_arithmetic import RECIPES, RULE, SEEDS, SHORT
from dl.data import arithmetic

COURSE = {"positions": "floored", "shuffled": False, "batch": 256, "dropout": 0.1, "weight_decay": 0.0}


def changes(name: str) -> dict:
    return {key: value for key, value in asdict(RECIPES[name]).items() if value != asdict(SHORT)[key]}


@pytest.mark.parametrize("name", sorted(set(RECIPES) - {"the rule recipe, 120 epochs", "the course's recipe"}))
def test_each_recipe_puts_back_one_thing(name):
    rate = {"cosine": False, "rate": 5e-4}
    assert changes(name) in [rate, {"shrink": 0.5}, {"epochs": 200}, *({key: value} for key, value in COURSE.items())]


def test_the_last_recipe_puts_back_all():
    assert changes("the course's recipe") == {**COURSE, "cosine": False, "rate": 5e-4}


def test_kept_results_are_those_of_the_recipes():
    kept = {(entry["recipe"], entry["seed"]): entry for entry in ablation.read()}
    assert sorted(kept) == sorted((name, seed) for name in RECIPES for seed in SEEDS.get(name, (0,)))
    for (name, _), entry in kept.items():
        assert entry["settings"] == asdict(RECIPES[name])
        assert entry["curve"]["epoch"][-1] == RECIPES[name].epochs


def test_the_kept_rule_recipe_knows_the_rule_in_time():
    for entry in ablation.read():
        if entry["recipe"] == "the rule recipe":
            assert entry["unseen"] >= 0.995 and entry["unrelated"] >= 0.99
            assert entry["threads"] == 1 and entry["cpu_seconds"] < 300


def test_a_run_reports_every_kind_of_row(monkeypatch):
    few = arithmetic.all_expressions()[::700]
    monkeypatch.setattr(arithmetic, "all_expressions", lambda: few)
    monkeypatch.setattr(ablation, "WATCH_EVERY", 1)
    torch.manual_seed(0)
    entry = ablation.run(ablation.replace(RULE, epochs=2, batch=1500), seed=0)
    assert entry["updates"] == 6 and entry["curve"]["epoch"] == [1, 2]
    assert all(0 <= entry[name] <= 1 for name in ("seen", "validation", "unseen", "unrelated"))
