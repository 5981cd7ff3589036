"""CONTRIBUTING.md can be followed to the letter: its example of a new exercise and of a new mistake, in a copy."""

from __future__ import annotations

import json
import re
import shutil

from tests import student_tree
from tests.variants import ROOT

LESSON = "dl/simclr/contrastive_loss.py"


def test_the_recipe_for_an_exercise_and_a_mistake(tmp_path):
    recipe = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    example = recipe[recipe.index("For example (`tests/test_contributing.py`") :]
    blocks = re.findall(r"^```\w+\n(.*?)^```", example, re.S | re.M)
    places = re.findall(r"`(dl/[\w/.]+)`", example)[:4]
    lesson, exercise, call, reference, mistake = blocks
    assert places == [LESSON, "dl/checks/simclr.py", "dl/checks/references/simclr.py", "dl/checks/mistakes/simclr.toml"]
    shutil.copytree(ROOT / "dl", tmp_path / "dl", ignore=shutil.ignore_patterns("__pycache__", "*.safetensors", "*.png"))
    for name in ("a2_helper.py", "rnn_lstm_captioning.py", "transformers.py"):
        shutil.copy(ROOT / name, tmp_path)
    for path, added in zip(places, (lesson, f"{call}\n\n{exercise}", reference, mistake)):
        (tmp_path / path).write_text(f"{(tmp_path / path).read_text(encoding='utf-8')}\n\n{added}", encoding="utf-8")

    def verdict():
        student_tree.run("dl", "check", "alignment", "--json", "report.json", cwd=tmp_path)
        return json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["exercises"][0]

    assert verdict()["status"] == "passed"
    assert "alignment" in student_tree.run("dl", "check", "--list", cwd=tmp_path).stdout

    text = (tmp_path / LESSON).read_text(encoding="utf-8")
    (tmp_path / LESSON).write_text(text.replace("(z_i - z_j).square()", "(z_i - z_j).abs()"), encoding="utf-8")
    failed = verdict()
    assert failed["status"] == "failed"
    (check,) = (check for check in failed["checks"] if check["status"] == "failed")
    assert check["diagnosis"] == "not-squared" and "distances are not squared" in check["message"]
