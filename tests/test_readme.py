"""README.md: its example runs, its links lead somewhere, its commands exist."""

import re
import subprocess
import sys

from dl import settings

ROOT = settings.project_root()
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_example_prints_true():
    (example,) = re.findall(r"```python\n(.*?)```", README, re.S)
    done = subprocess.run([sys.executable, "-c", example], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr


def test_links_inside_the_repository_exist():
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", README) if not link.startswith(("http", "#"))]
    assert len(links) > 10
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_commands_exist():
    from dl.__main__ import parser

    verbs = set(re.findall(r"python -m dl ([a-z-]+)", README)) - {"--help"}
    assert verbs >= {"run", "doctor", "data", "practise", "status", "solution", "student", "grade"}
    known = next(action for action in parser()._actions if action.choices).choices
    assert verbs <= set(known)
    targets = set(re.findall(r"^    make (\w+)", README, re.M))
    assert targets and all(re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M) for target in targets)


def test_it_begins_with_three_ways_in():
    doors = re.findall(r"^\| \*\*(I .*?)\*\* \|", README.partition("\n## ")[0], re.M)
    assert doors == ["I am a student", "I teach", "I learn alone"]
    headings = {re.sub(r"\W+", "-", title.lower()) for title in re.findall(r"^#+ (.*)$", README, re.M)}
    assert set(re.findall(r"\]\(#([\w-]+)\)", README)) <= headings


def test_the_hours_are_those_of_the_exercises():
    from dl.checks import course

    said = re.search(
        r"About (\d+) hours for the exercises: captioning (\d+), Transformers (\d+), SimCLR (\d+), CLIP and DINO (\d+)", README
    )
    topics = ("captioning", "transformers", "simclr", "clip_dino")
    hours = [sum(exercise.minutes for exercise in course.exercises(topic)) / 60 for topic in topics]
    assert [int(number) for number in said.groups()] == [round(sum(hours)), *map(round, hours)]
    names = ("rnn_lstm_captioning", "Transformers", "Self_Supervised_Learning", "CLIP_DINO")
    for name, number in zip(names, hours, strict=True):
        text = (ROOT / "notebooks" / f"{name}.nb.py").read_text(encoding="utf-8")
        assert f"**Time:** {round(number)} hours for the exercises" in text
