"""Whoever solves the exercises in another natural style reaches the end of every notebook, and hands in.

A notebook relies on nothing that an exercise leaves free: names of parts, what a cache holds, kinds of sequences, further
attributes and buffers, how many random numbers a constructor draws. Trainings are shortened by DL_QUICK; the
targets that they then miss stop nothing.
"""

from __future__ import annotations

import json
import zipfile

import pytest

from dl.checks import course
from dl.console import SUCCESS
from tests import student_tree
from tests.styles import library, loops

EXERCISES = {exercise.name for exercise in course.find(())}
NOTEBOOKS = {"rnn_lstm_captioning", "Transformers", "Self_Supervised_Learning", "CLIP_DINO"}


@pytest.mark.parametrize("style", [loops, library])
def test_all_notebooks_run_to_the_end_and_the_submission_is_made(style, tmp_path, tmp_path_factory):
    bodies = {variant.exercise: variant.body for variant in style.VARIANTS}
    assert set(bodies) == EXERCISES and len(style.VARIANTS) == len(EXERCISES)
    tree = student_tree.copied_tree(student_tree.fresh_tree(tmp_path_factory), tmp_path / "assignment")
    student_tree.fill(tree, bodies)

    done = student_tree.run("dl", "run", "--json", "report.json", cwd=tree, DL_QUICK="1")
    outcomes = json.loads((tree / "report.json").read_text(encoding="utf-8"))["notebooks"]
    assert [outcome["problem"] for outcome in outcomes if outcome["problem"]] == [], done.stderr[-2000:]
    assert {outcome["notebook"] for outcome in outcomes} == NOTEBOOKS and done.returncode == SUCCESS
    results = [json.loads((tree / "results" / f"{name}.json").read_text(encoding="utf-8")) for name in NOTEBOOKS]
    assert {text.partition(" (")[0] for result in results for text in result["checks"]} >= EXERCISES

    done = student_tree.run("dl", "submit", "--notebooks", "build/notebooks", "--out", "build", cwd=tree)
    assert done.returncode == SUCCESS, done.stdout + done.stderr
    assert (tree / "build" / "a2_inline_submission.pdf").stat().st_size > 100_000
    with zipfile.ZipFile(tree / "build" / "a2_code_submission.zip") as archived:
        assert {*student_tree.LESSONS, "artifacts/transformer.pt", "dino_res.mp4"} <= set(archived.namelist())
