"""The checks are strong (wrong bodies are refused), they teach (the mistake is named) and they are fair (right ones pass)."""

from __future__ import annotations

import functools
import re

import pytest

from dl.checks import answers, course, mistakes, references
from dl.checks.calls import collect
from dl.checks.examiner import Examiner
from dl.checks.judge import FAILED, PASSED, judge, plan
from dl.checks.mistakes import tomllib
from tests.variants import ROOT, TOPICS, variants_of, write_lesson

ALL = [(topic, variant) for topic in TOPICS for variant in variants_of(topic)]
WRONG = [(topic, variant) for topic, variant in ALL if variant.diagnosis is not None]
RIGHT = [(topic, variant) for topic, variant in ALL if variant.diagnosis is None]
MOST_LINES = 5
NOTED = re.compile("# note: (.+)")


@functools.cache
def of_the_lesson(seed):
    """Verdicts on the lessons as they are: what a variant builds on is checked once, not with each variant."""
    return Examiner(ROOT, seed)


def examined(topic, variant, folder, seed):
    """The verdict on an exercise when its body is the variant's."""
    exercise = course.find([variant.exercise])[0]
    examiner = Examiner(write_lesson(folder, topic, {variant.exercise: variant.body}), seed)
    needs = [*exercise.needs, *([exercise.partner] if exercise.partner else [])]
    examiner.results = {need.name: of_the_lesson(seed).check(need) for need in (course.find(needs) if needs else ())}
    return examiner.check(exercise)


@pytest.mark.parametrize(("topic", "variant"), WRONG, ids=str)
def test_wrong_implementation_is_refused_and_named(topic, variant, tmp_path, seed):
    result = examined(topic, variant, tmp_path, seed)
    assert result.status != PASSED, "a wrong implementation passes"
    assert result.cause is not None, result
    assert len(result.message.splitlines()) <= MOST_LINES
    if variant.diagnosis:
        assert result.cause.diagnosis == variant.diagnosis, result.message


@pytest.mark.parametrize(("topic", "variant"), RIGHT, ids=str)
def test_right_implementation_passes(topic, variant, tmp_path, seed):
    result = examined(topic, variant, tmp_path, seed)
    assert result.status == PASSED, result.message
    assert [words for words in NOTED.findall(variant.body) if words not in result.note] == []


def test_every_note_is_said_to_some_right_implementation():
    noted = [(variant.exercise, words) for _, variant in RIGHT for words in NOTED.findall(variant.body)]
    notes = {case.note: exercise.name for exercise in course.find(()) for case in exercise.cases if case.note}
    assert [note for note in notes if not any(words in note for _, words in noted)] == []


@pytest.mark.parametrize(("rate", "how"), ((0, "SGD:lr=0.1, momentum=0.9"), (0, "SGD:lr=0.01"), (0.1, "AdamW:lr=0.01")))
def test_training_of_a_linear_head_passes(tmp_path, seed, rate, how):
    """With momentum, separable tokens are soon fitted so well that gradients vanish."""
    kind, _, options = how.partition(":")
    body = f"""
self.head = nn.Sequential(nn.Dropout({rate}), nn.Linear(self.inp_dim, self.num_classes)).to(device)
self.optimizer, self.loss = torch.optim.{kind}(self.head.parameters(), {options}), nn.CrossEntropyLoss()
"""
    examiner = Examiner(write_lesson(tmp_path, "clip_dino", {"DINOSegmentation.__init__": body}), seed)
    result = examiner.check(course.find(["DINOSegmentation.train"])[0])
    assert result.status == PASSED, result.message


LAYERS = "self.layers[1](self.layers[0]({}).relu())"
TOGETHER = {  # right bodies that share what only they know
    "clip_dino": {
        "DINOSegmentation.__init__": """
self.layers = nn.ModuleList([nn.Linear(inp_dim, 128), nn.Linear(128, num_classes)]).to(device)
self.optimizer = torch.optim.AdamW(self.layers.parameters(), lr=1e-3, weight_decay=0.1)
""",
        "DINOSegmentation.train": f"""
self.layers.train()
for _ in range(num_iters):
    self.optimizer.zero_grad()
    F.cross_entropy({LAYERS.format("X_train")}, Y_train).backward()
    self.optimizer.step()
""",
        "DINOSegmentation.inference": f"""
self.layers.eval()
return {LAYERS.format("X_test")}.sort(dim=-1).indices[:, -1]
""",
    },
    "captioning": {
        "rnn_forward": """
hs, steps = [h0], []
for x_t in x.unbind(1):
    new, step = rnn_step_forward(x_t, hs[-1], Wx, Wh, b)
    hs.append(new)
    steps.append(step)
return torch.stack(hs[1:], 1), {"steps": steps}
""",
        "rnn_backward": """
carry, out, sums = 0, [], None
for t in reversed(range(dh.size(1))):
    d, carry, *rest = rnn_step_backward(dh[:, t] + carry, cache["steps"][t])
    out.append(d)
    sums = rest if sums is None else [a + r for a, r in zip(sums, rest)]
return torch.stack(out[::-1], 1), carry, *sums
""",
    },
}


@pytest.mark.parametrize("topic", TOGETHER)
def test_right_implementations_that_belong_together_pass(topic, tmp_path, seed):
    examiner = Examiner(write_lesson(tmp_path, topic, TOGETHER[topic]), seed)
    results = [examiner.check(exercise) for exercise in course.find(list(TOGETHER[topic]))]
    assert [result.message for result in results if result.status != PASSED] == []


def test_wrong_implementations_are_many():
    """Rare mistakes have no row in the tables; their bodies are here to be refused without a name."""
    assert len(WRONG) >= 700


@pytest.mark.parametrize("topic", TOPICS)
def test_every_known_mistake_is_tried(topic):
    """Each row of the tables has a wrong body, in at least one of the exercises that share the row."""
    tried = {(variant.exercise, variant.diagnosis) for name, variant in WRONG if name == topic}
    table = tomllib.loads((ROOT / "dl/checks/mistakes" / f"{topic}.toml").read_text())
    rows = [(header, name) for header, names in table.items() for name in names]
    assert [row for row in rows if not any((exercise, row[1]) in tried for exercise in row[0].split(", "))] == []


@pytest.mark.parametrize("topic", TOPICS)
def test_a_mistake_that_exercises_share_is_refused_and_named_in_each(topic, seed):
    """Where no wrong body of the lesson's tries a row, the edited reference itself is the student's code."""
    tried = {(variant.exercise, variant.diagnosis) for name, variant in WRONG if name == topic}
    right, known = answers.of(topic), mistakes.of(topic, references.of(topic))
    diagnoses = {}
    for exercise in course.exercises(topic):
        for mistake in known.get(exercise.name, ()):
            if (exercise.name, mistake.name) not in tried:
                calls = plan(exercise, right, (seed, seed ^ 1))
                with right.library.patched({exercise.name: mistake.function}):
                    collected = collect(right.library, exercise, calls)
                results = judge(exercise, right, calls, collected)
                diagnoses[exercise.name, mistake.name] = next((r.diagnosis for r in results if r.status != PASSED), PASSED)
    assert [(pair, found) for pair, found in diagnoses.items() if found != pair[1]] == []


def test_every_exercise_has_wrong_and_right_variants():
    for kind in (WRONG, RIGHT):
        covered = {variant.exercise for _, variant in kind}
        assert [e.name for e in course.find(()) if e.name not in covered] == []


def test_a_failing_check_has_a_message_and_says_what_comes_next(tmp_path, seed):
    topic, variant = WRONG[0]
    result = examined(topic, variant, tmp_path, seed)
    assert result.status == FAILED
    assert "Next: " in result.message.splitlines()[-1]
