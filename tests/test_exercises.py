"""The checks of the exercises on the code of this project: one test per exercise, as in `python -m dl check`."""

from __future__ import annotations

import pytest

from dl.checks import course
from dl.checks.examiner import Examiner
from dl.checks.judge import MISSING, PASSED, SKIPPED
from dl.sandbox.processes import shared


@pytest.fixture(scope="module")
def examiner() -> Examiner:
    return Examiner(run=shared().ask)


@pytest.mark.parametrize("exercise", course.find(()), ids=lambda exercise: exercise.name)
def test_exercise(exercise, examiner):
    result = examiner.check(exercise)
    if result.status in (MISSING, SKIPPED):
        pytest.skip(result.message)
    if result.status != PASSED:
        pytest.fail(result.message, pytrace=False)  # a traceback through the checks would tell nothing
