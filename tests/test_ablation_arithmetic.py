"""The ablation of the arithmetic recipes: one change at a time, and kept results that belong to today's recipes."""

from dataclasses import asdict, replace

import pytest

import a2_helper
from benchmarks import ablation_arithmetic as ablation
from benchmarks.ablation_arithmetic import SEEDS
from dl.data import arithmetic
from dl.training import recipes
from dl.training.recipes import RECIPES, RULE, SHORT

REFERENCE = {"positions": "sinusoid", "shuffled": False, "batch": 256, "dropout": 0.1, "weight_decay": 0.0}


def changes(name: str) -> dict:
    return {key: value for key, value in asdict(RECIPES[name]).items() if value != asdict(SHORT)[key]}


@pytest.mark.parametrize("name", sorted(set(RECIPES) - {"rule recipe, 120 epochs", "reference recipe, 120 epochs"}))
def test_each_recipe_changes_one_thing(name):
    rate = {"cosine": False, "learning_rate": 5e-4}
    added = [{"shrink": 0.5}, {"smoothing": True}, {"epochs": 200}]
    assert changes(name) in [rate, *added, *({key: value} for key, value in REFERENCE.items())]


def test_the_last_recipe_puts_back_all():
    assert changes("reference recipe, 120 epochs") == {**REFERENCE, "cosine": False, "learning_rate": 5e-4}


def test_kept_results_are_those_of_the_recipes():
    kept = {(entry["recipe"], entry["seed"]): entry for entry in ablation.read()}
    assert sorted(kept) == sorted((name, seed) for name in RECIPES for seed in SEEDS.get(name, (0,)))
    for (name, _), entry in kept.items():
        assert entry["settings"] == asdict(RECIPES[name])
        assert entry["curve"]["epoch"][-1] == RECIPES[name].epochs


def test_the_kept_rule_recipe_knows_the_rule_in_time():
    for entry in ablation.read():
        if entry["recipe"] == "rule recipe, 200 epochs":
            assert entry["unseen"] >= 0.995 and entry["unrelated"] >= 0.99
            assert entry["threads"] == 1 and entry["cpu_seconds"] < 300


def test_what_the_notebook_says_of_the_kept_runs():
    kept = {name: [entry for entry in ablation.read() if entry["recipe"] == name] for name in RECIPES}
    short = kept["rule recipe, 120 epochs"]
    assert all(entry["unrelated"] < entry["unseen"] for entry in short)  # somewhat harder, from every seed
    plain = [entry["unseen"] for entry in short]
    assert min(plain) <= kept["label smoothing"][0]["unseen"] <= max(plain)  # no better and no worse
    assert kept["no weight decay"][0]["seen"] == 1.0 and kept["no weight decay"][0]["unseen"] < 0.7
    assert kept["dropout 0.1"][0]["seen"] < 0.6 and kept["reference recipe, 120 epochs"][0]["unseen"] < 0.2


@pytest.fixture
def few(monkeypatch):
    expressions, split = arithmetic.all_expressions()[::700], a2_helper.split_rows
    monkeypatch.setattr(arithmetic, "all_expressions", lambda: expressions)
    monkeypatch.setattr(a2_helper, "split_rows", lambda data: tuple(lines[:90] for lines in split(data)))
    monkeypatch.setattr(recipes, "WATCH_EVERY", 1)
    monkeypatch.setattr(recipes, "WATCHED", 20)


def test_a_run_reports_every_kind_of_row(few):
    entry = recipes.run(replace(RULE, epochs=2, batch=30), seed=0)
    assert entry["updates"] == 6 and entry["curve"]["epoch"] == [1, 2]
    assert all(0 <= entry[name] <= 1 for name in ("seen", "validation", "unseen", "unrelated"))


def test_the_first_epochs_run_on_the_schedule_of_the_whole(few, monkeypatch):
    seen = []
    monkeypatch.setattr(a2_helper, "cosine_schedule", lambda *setting: seen.append(setting) or (lambda update: 1e-3))
    _, sets, report = recipes.train(replace(RULE, epochs=50, batch=30), seed=0, first_epochs=1)
    assert seen == [(RULE.learning_rate, recipes.WARMUP, 50 * 3)]
    assert report["updates"] == 3 and report["curve"]["epoch"] == [1]
    assert len(recipes.watched(sets)["seen"]) == recipes.WATCHED
