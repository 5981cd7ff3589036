"""From a folder of submissions to a gradebook: what is taken, what it is worth, what is written."""

from __future__ import annotations

import csv
import html.parser
import json
import os
import stat
import zipfile
from pathlib import Path

import pytest

from dl import grading
from dl.__main__ import main
from dl.checks import course
from dl.checks.examiner import Examiner
from dl.checks.library import Stopped
from dl.console import UsageError
from dl.grading import engine, formats, intake, pages, points, report
from dl.grading.intake import LESSONS
from dl.student import leaks, markers
from tests import tabletop
from tests.variants import ROOT

SOLVED = {path: (ROOT / path).read_bytes() for path in LESSONS}
LESSON = "rnn_lstm_captioning.py"
NOTEBOOK = {
    "cells": [
        {"cell_type": "code", "source": "%autoreload 2\nimport transformers", "metadata": {}, "outputs": []},
        {"cell_type": "markdown", "source": ["**Your answer:** *(question 2)*\n", "because <b>it</b> is"], "metadata": {}},
        "no cell",
    ]
}


def write_zip(path: Path, files: dict[str, bytes], mode: int = stat.S_IFREG | 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr, entry.compress_type = mode << 16, zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return path


def taken(path: Path):
    (submission,) = intake.find([path])
    return submission


# --- What is taken ---


def test_only_files_that_a_student_may_change_are_taken_wherever_they_lie(tmp_path):
    bait = ["numpy.py", "torch/__init__.py", "random.py", "sitecustomize.py", "evil.pth", "conftest.py", "pyproject.toml"]
    bait += ["dl/checks/judge.py", "dl/__init__.py", "dl/checks/references/captioning.py", "a2_helper.py", "pickle.pt"]
    files = {f"my work/a2/{name}": b"boom" for name in [*bait, *(f"__MACOSX/{name}" for name in LESSONS)]}
    files |= {f"my work/a2/{path}": content for path, content in SOLVED.items()}
    files["my work/a2/notebooks/Transformers.ipynb"] = json.dumps(NOTEBOOK).encode()
    submission = taken(write_zip(tmp_path / "a.zip", files))
    assert set(submission.contents) == {*LESSONS, "notebooks/Transformers.ipynb"} and not submission.problem
    assert submission.contents[LESSON] == SOLVED[LESSON]
    assert report.answers_of(submission) == {"question 2": "because <b>it</b> is"}


WRAPPINGS = {  # how a right submission may come
    "as macOS zips a folder": lambda files: (
        {f"a2/{p}": c for p, c in files.items()} | {f"__MACOSX/a2/{p}": b"" for p in files}
    ),
    "by an old Windows": lambda files: {f"a2/{p}".replace("/", "\\"): c for p, c in files.items()},
    "in capitals": lambda files: {p.upper(): c for p, c in files.items()},
    "all in one folder": lambda files: {f"a2/{Path(p).name}": c for p, c in files.items()},
    "accents in two forms": lambda files: {
        ("e\u0301" if i % 2 else "é") + f"/{p}": c for i, (p, c) in enumerate(files.items())
    },
    "with an environment and copies": lambda files: {
        **{f"venv/lib/{p}": b"x" for p in files},
        **files,
        **{f"backup/{p}": b"x" for p in files},
        "transformers (1).py": b"x",
        "helper.py": b"x",
        "transformers.py.": b"x",
    },
    "deep": lambda files: {f"x/y z/{p}": c for p, c in files.items()} | {"d/" * 2000 + "x": b""},
}


@pytest.mark.parametrize("name", WRAPPINGS)
def test_a_right_submission_is_taken_whole_in_any_wrapping(tmp_path, name):
    files = WRAPPINGS[name](SOLVED | {"notebooks/Transformers.ipynb": json.dumps(NOTEBOOK).encode()})
    submission = taken(write_zip(tmp_path / "a.zip", files))
    assert {path: submission.contents[path] for path in LESSONS} == SOLVED and not submission.problem
    assert report.answers_of(submission)["question 2"]


@pytest.mark.parametrize(("second", "count"), [(SOLVED[LESSON], 6), (b"x", 5)], ids=["the same", "another"])
def test_a_file_twice_in_a_zip_is_taken_if_both_are_the_same(tmp_path, second, count):
    path = write_zip(tmp_path / "a.zip", SOLVED)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr(LESSON, second)
    assert len(taken(path).contents) == count


def test_of_two_whole_copies_of_the_project_one_is_taken_and_said(tmp_path):
    files = {f"{folder}/{path}": folder.encode() for path in SOLVED for folder in ("old", "new")}
    submission = taken(write_zip(tmp_path / "a.zip", files))
    assert submission.contents[LESSON] == b"new" and "2 copies of the project; that in the folder new/" in submission.notes[0]


BAD_ZIPS = {
    "parent folder": ({f"../{LESSON}": b"x"}, {}, "holds none of"),
    "absolute": ({f"/{LESSON}": b"x"}, {}, "holds none of"),
    "drive": ({f"C:/{LESSON}": b"x"}, {}, "holds none of"),
    "link": ({LESSON: b"/etc/passwd"}, {"mode": stat.S_IFLNK | 0o777}, "is a link"),
    "device": ({LESSON: b""}, {"mode": stat.S_IFCHR | 0o666}, "is a link, a pipe or a device"),
    "bomb": ({LESSON: bytes(2**22)}, {}, "at most 1048576 are taken"),
    "case clash": ({LESSON: b"x", LESSON.upper(): b"y"}, {}, "is there 2 times"),
    "nested": ({"inner.zip": b"PK"}, {}, "holds none of"),
    "long list": ({f"{i}" + "x" * 60_000: b"" for i in range(3)}, {}, "its list of files has"),
    "many": ({f"{i}": b"" for i in range(51)}, {}, "at most 50 are taken"),
}


@pytest.mark.parametrize("name", BAD_ZIPS)
def test_a_zip_that_is_a_trap_is_broken_with_the_reason_and_writes_nothing(tmp_path, monkeypatch, name):
    monkeypatch.setattr(intake, "MOST_ENTRIES", 50)
    monkeypatch.setattr(intake, "MOST_DIRECTORY", 2**14)
    files, options, words = BAD_ZIPS[name]
    submission = taken(write_zip(tmp_path / "in" / "a.zip", files, **options))
    assert words in submission.problem + " ".join(submission.notes) and LESSON not in submission.contents
    assert submission.problem
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.zip", "in"]


def test_encrypted_cut_and_other_zips_are_broken(tmp_path):
    path = write_zip(tmp_path / "a.zip", SOLVED)
    content = path.read_bytes()
    flagged = bytearray(content)
    place = -1
    while (place := flagged.find(b"PK\x01\x02", place + 1)) >= 0:
        flagged[place + 8] |= 1
    for name, bad in {"locked.zip": bytes(flagged), "cut.zip": content[:500], "text.zip": b"hello", "empty.zip": b""}.items():
        (tmp_path / name).write_bytes(bad)
        submission = taken(tmp_path / name)
        assert submission.problem, name
        assert name != "locked.zip" or "encrypted" in submission.problem


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_links_and_pipes_are_not_followed(tmp_path):
    secret = tmp_path / "secret" / "a"
    for path, content in SOLVED.items():
        (secret / path).parent.mkdir(parents=True, exist_ok=True)
        (secret / path).write_bytes(content)
    place = tmp_path / "in"
    (place / "folder").mkdir(parents=True)
    (place / "link").symlink_to(secret)
    os.mkfifo(place / "pipe.zip")
    (place / "folder" / LESSON).symlink_to(secret / LESSON)
    os.mkfifo(place / "folder" / "transformers.py")
    found = {
        submission.label: submission for submission in intake.find([place / "link", place / "pipe.zip", place / "folder"])
    }
    assert all(not submission.contents and "link" in submission.problem for submission in found.values())
    assert len(found) == 3


def test_names_and_ids_come_from_the_platform_the_roster_and_last_the_submission(tmp_path):
    mine = {**SOLVED, "student.txt": b"name: Somebody Else\nid: 999\n"}
    write_zip(tmp_path / "canvas" / "doejane_LATE_123_4567_a2_code_submission-2.zip", mine)
    (tmp_path / "canvas" / "poejohn_124_4568_rnn_lstm_captioning-1.py").write_bytes(SOLVED[LESSON])
    (tmp_path / "canvas" / "poejohn_124_4569_transformers.py").write_bytes(SOLVED["transformers.py"])
    write_zip(tmp_path / "moodle" / "Ann Lee_77_assignsubmission_file_" / "a2.zip", SOLVED)
    write_zip(tmp_path / "plain" / "x.zip", mine)
    roster = tmp_path / "roster.csv"
    roster.write_text(
        'Identifier,Full name,Last modified (submission)\nParticipant 77,"Lee, Ann",2026-11-21\n', encoding="utf-8-sig"
    )
    found = intake.find([tmp_path / name for name in ("canvas", "moodle", "plain")], roster)
    about = {(s.label, s.name, s.id, s.late, s.submitted, len(s.contents)) for s in found}
    assert about == {
        ("doejane_123", "doejane", "123", True, "", 7),
        ("poejohn_124", "poejohn", "124", False, "", 2),
        ("Ann Lee_77", "Lee, Ann", "77", False, "2026-11-21", 6),
        ("x.zip", "Somebody Else", "999", False, "", 7),
    }


def test_two_files_of_one_name_are_two_submissions(tmp_path):
    for folder in "ab":
        write_zip(tmp_path / folder / "x.zip", {LESSON: folder.encode()})
    found = intake.find([tmp_path / "a", tmp_path / "b"])
    assert [(s.label, s.contents[LESSON]) for s in found] == [("b/x.zip", b"b"), ("x.zip", b"a")]


def test_the_class_of_a_rehearsal_is_taken_as_it_is_meant(tmp_path):
    tabletop.write(tmp_path / "class")
    found = intake.find([tmp_path / "class" / "submissions"], tmp_path / "class" / "roster.csv")
    assert {s.label for s in found} == set(json.loads((tmp_path / "class" / "expected.json").read_text(encoding="utf-8")))
    assert len(found) == 30 and len({s.sha256 for s in found if s.contents}) >= 28
    assert [s.name for s in found if s.problem] == ["Costa, Rui"]
    names = [s.name for s in found]
    assert names.index("Čapková, Jana") == names.index("Costa, Rui") - 1  # č beside c, not after z
    assert [s.id for s in found if "is not in the roster" in s.notes] == ["1030"]
    assert {s.submitted[:10] for s in found if s.late} == {"2026-11-22"}
    assert points.load(tmp_path / "class" / "points.toml").most == 60
    with pytest.raises(FileExistsError):
        tabletop.write(tmp_path / "class")


@pytest.mark.parametrize("arguments", [["nowhere"], ["."], [".", "--roster", "nowhere.csv"], [], ["x", "--shard", "3/2"]])
def test_wrong_use_is_said_in_words(tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.chdir(tmp_path)
    assert main(["grade", *arguments]) == 2
    assert "Give " in (said := capsys.readouterr().err) or "give " in said


# --- What it is worth ---


def entry(exercise="sim", status="passed", **more):
    return {
        "exercise": exercise,
        "topic": "simclr",
        "status": status,
        "diagnosis": None,
        "checks": 4,
        "passed_checks": 2,
        **more,
    }


def test_points_partial_credit_and_late_days(tmp_path):
    table = tmp_path / "grading.toml"
    table.write_text(
        '[exercises]\nsim = 4\n[partial]\nshare = 0.5\n[written]\n"question 1" = 5\n'
        '[late]\ndue = "2026-11-20T12:00:00+00:00"\nfree_days = 1\nper_day = 0.25\nmost_days = 3\n'
    )
    scheme = points.load(table)
    assert scheme.most == 54 + 4 + 5
    assert [scheme.points(entry(status=s)) for s in ("passed", "failed", "error", "timeout", "missing", "skipped")] == [
        4,
        1,
        1,
        0,
        0,
        0,
    ]
    assert scheme.points(entry(status="error", diagnosis=engine.FORBIDDEN)) == 0
    days = [
        scheme.days_late(text) for text in ("", "2026-11-20T13:00:00+01:00", "2026-11-20T12:00:01Z", "2026-11-23 12:00:00")
    ]
    assert days == [0, 0, 1, 3]
    assert [scheme.kept_share(day) for day in range(5)] == [1, 1, 0.75, 0.5, 0]
    assert points.load().most == 55 and points.load().is_whole and not scheme.is_whole


WRONG_TABLES = ("[exercises]\nsin = 1", "[late]\nday = 1", "[other]\n", "[", "[partial]\nshare = 2", "[exercises]\nsim = -1")


@pytest.mark.parametrize("text", [*WRONG_TABLES, '[late]\ndue = "soon"'])
def test_a_wrong_table_of_points_is_refused(tmp_path, text):
    (tmp_path / "p.toml").write_text(text)
    with pytest.raises(UsageError):
        points.load(tmp_path / "p.toml")


# --- The whole path ---


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """A solved submission, the hand-out, one with a few exercises and a mistake, one that is broken; graded once."""
    place = tmp_path_factory.mktemp("class")
    given = {path: markers.hand_out(content.decode(), path).encode() for path, content in SOLVED.items()}
    solved = markers.solutions(SOLVED[LESSON].decode(), LESSON)
    few = {name: solved[name] for name in ("rnn_step_forward", "rnn_step_backward", "temporal_softmax_loss")}
    wrong = markers.fill(markers.hand_out(SOLVED[LESSON].decode(), LESSON, helpers=True), few)
    assert wrong != (wrong := wrong.replace("torch.tanh(x @ Wx + prev_h @ Wh + b)", "torch.tanh(x @ Wx + prev_h @ Wh)"))
    write_zip(place / "in" / "solved_1_10_a2.zip", {**SOLVED, "notebooks/Transformers.ipynb": json.dumps(NOTEBOOK).encode()})
    write_zip(place / "in" / "handout_2_20_a2.zip", given)
    write_zip(
        place / "in" / "wrong_3_30_a2.zip",
        {**given, LESSON: wrong.encode(), "student.txt": b"name: <script>alert(1)</script>"},
    )
    write_zip(place / "in" / "broken_4_40_a2.zip", {"readme.md": b"sorry"})
    assert (
        main(["grade", str(place / "in"), "--out", str(place / "out"), "--json", str(place / "r.json"), "--timeout", "60"])
        == 0
    )
    engine.desk.cache_clear()
    return place


def kept(place, name="grades.json"):
    return json.loads((place / "out" / name).read_text(encoding="utf-8"))


def test_the_solved_edition_gets_all_points_and_the_hand_out_none(graded):
    found = {entry["submission"]: entry for entry in kept(graded)["submissions"]}
    assert {name: entry["score"] for name, entry in found.items() if name != "wrong_3"} == {
        "solved_1": 55,
        "handout_2": 0,
        "broken_4": 0,
    }
    assert {exercise["status"] for exercise in found["handout_2"]["exercises"]} == {"missing"}
    assert found["broken_4"]["status"] == "broken" and found["broken_4"]["message"]
    wrong = {exercise["exercise"]: exercise for exercise in found["wrong_3"]["exercises"]}
    assert wrong["rnn_step_forward"]["status"] == "failed" and wrong["rnn_step_forward"]["diagnosis"]
    assert "waits for rnn_step_forward, which is not right yet" in wrong["rnn_step_backward"]["message"]
    assert wrong["rnn_step_backward"]["status"] == "skipped" and wrong["sim"]["status"] == "missing"


@pytest.mark.parametrize(("kind", "words"), [("timeout", "ran out of time"), ("memory", "ran out of memory")])
def test_what_builds_on_an_exercise_says_why_it_waits(kind, words):
    def stop(*_):
        raise Stopped(kind, "no result")

    (exercise,) = course.find(["rnn_step_backward"])
    assert f"waits for rnn_step_forward, which {words}" in Examiner(ROOT, run=stop).check(exercise).message


def test_the_report_has_the_published_form_and_the_seed_is_in_no_page(graded):
    whole = json.loads((graded / "r.json").read_text(encoding="utf-8"))
    assert whole == kept(graded) and {"grader", "seed", "sandbox", "seconds", "submissions"} <= set(whole)
    first = whole["submissions"][0]
    assert {"submission", "sha256", "name", "id", "status", "message", "score", "max_score", "cpu_seconds"} <= set(first)
    keys = {"exercise", "status", "points", "max_points", "message", "diagnosis"}
    assert all(keys <= set(exercise) for entry in whole["submissions"] for exercise in entry["exercises"])
    assert all(whole["seed"] not in path.read_text(encoding="utf-8") for path in (graded / "out" / "pages").iterdir())


class Tags(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))
        self.open += [tag] if tag not in ("meta", "wbr") else []

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_pages_are_whole_offline_and_hold_no_solution(graded):
    lessons = {path: content.decode() for path, content in SOLVED.items()}
    texts = {path.name: path.read_text(encoding="utf-8") for path in (graded / "out" / "pages").glob("*.html")}
    assert len(texts) == 5 and "index.html" in texts
    for text in texts.values():
        tags = Tags()
        tags.feed(text)
        assert not tags.open and ("html", {"lang": "en"}) in tags.seen
        assert not {"script", "img", "link", "iframe"} & {tag for tag, _ in tags.seen}
        assert all(attributes.get("scope") for tag, attributes in tags.seen if tag == "th")
    assert not leaks.find({name: text.encode() for name, text in texts.items()}, lessons)
    assert "because &lt;b&gt;it&lt;/b&gt; is" in next(text for name, text in texts.items() if name.startswith("solved"))
    guide = texts["index.html"]
    wrong = next(e for s in kept(graded)["submissions"] for e in s["exercises"] if e["status"] == "failed")
    assert f"rnn_step_forward: {wrong['diagnosis']} (1 of 4)" in guide


def test_a_second_run_grades_nothing_again_and_says_what_other_points_change(graded, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(engine.Desk, "grade", lambda *_: pytest.fail("graded a second time"))
    table = tmp_path / "p.toml"
    table.write_text("[exercises]\ndefault = 2\n[written]\n'question 2' = 3\n")
    command = ["grade", str(graded / "in"), "--out", str(graded / "out"), "--points", str(table)]
    assert main(command) == 0
    assert "3 of 4 were graded before" in (said := capsys.readouterr().out)
    assert "solved_1: 55 -> 110; other points" in said
    written = graded / "out" / report.WRITTEN
    rows = list(csv.DictReader(written.open(encoding="utf-8")))
    assert [row["question 2"] for row in rows] == [""] * 4
    rows[-1]["question 2"] = "2.5"
    with open(written, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    assert main(command) == 0
    assert kept(graded)["submissions"][-1]["score"] == 2 * 1 + 2.5
    written.write_text(written.read_text().replace("2.5", "7"))
    assert main(command) == 2
    written.unlink()
    assert main(command[:-2]) == 0


def test_shards_put_together_are_the_whole(graded, tmp_path, monkeypatch, capsys):
    whole = (graded / "out" / "grades.csv").read_bytes()
    for number in (1, 2):
        out = graded / "out"
        assert main(["grade", str(graded / "in"), "--out", str(out), "--shard", f"{number}/2"]) == 0
        if number == 1:
            assert main(["grade", "--merge", str(out)]) == 2
            assert "1-of-2; all of one grading are wanted" in capsys.readouterr().err
    (graded / "out" / "grades.csv").unlink()
    assert main(["grade", "--merge", str(graded / "out")]) == 0
    assert (graded / "out" / "grades.csv").read_bytes() == whole


def test_joblib_spreads_submissions_and_one_that_fails_stops_no_other(monkeypatch, tmp_path):
    joblib = pytest.importorskip("joblib")
    asked = []
    verdict = {"exercises": [entry("sim", message="", diagnosis=None, note="", hints=[])], "cpu_seconds": 1.0}
    monkeypatch.setattr(engine.Desk, "__init__", lambda self, order: setattr(self, "children", type("C", (), {"layers": []})))
    monkeypatch.setattr(engine.Desk, "close", lambda self: None)
    monkeypatch.setattr(engine.Desk, "grade", lambda self, contents: asked.append(contents) or verdict)
    for number in range(5):
        write_zip(tmp_path / "in" / f"{number}.zip", {LESSON: f"# {number}".encode()})

    class AtOnce(joblib.parallel.ThreadingBackend):
        """Gives all results of a call at once, as Ray's does."""

        supports_return_generator = False

    monkeypatch.setattr(grading, "ROUND", 2)
    joblib.register_parallel_backend("at once", AtOnce)
    for backend in ("threading", "at once"):
        with joblib.parallel_config(backend=backend):
            assert main(["grade", str(tmp_path / "in"), "--out", str(tmp_path / backend), "--jobs", "2"]) == 0
        assert len(asked) == 5 == len(list((tmp_path / backend / "verdicts").iterdir()))
        asked.clear()
    assert main(["grade", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--require-sandbox"]) == 2
    engine.desk.cache_clear()


# --- Files for platforms ---

NUMBER, TEXT = {"type": "number"}, {"type": "string"}


def schema(properties, **more):
    return {"type": "object", "required": list(properties), "properties": properties, "additionalProperties": False, **more}


# Gradescope: gradescope-autograders.readthedocs.io/en/latest/specs, "Output format". Classroom 50: the wiki of
# foundation50/classroom50, "Advanced Autograding", "The result.json contract". PrairieLearn: docs/externalGrading.md,
# "Grading results". Read in November 2026.
SCHEMAS = {
    "gradescope": schema(
        {
            "score": NUMBER,
            "output": TEXT,
            "output_format": {"enum": ["text", "html", "simple_format", "md", "ansi"]},
            "tests": {
                "type": "array",
                "items": schema(
                    {
                        **{"name": TEXT, "number": TEXT, "score": NUMBER, "max_score": NUMBER, "output": TEXT},
                        "status": {"enum": ["passed", "failed"]},
                        "output_format": {"const": "text"},
                    }
                ),
            },
        }
    ),
    "classroom50": schema(
        {
            "schema": {"const": "classroom50/result/v1"},
            **{
                key: {"type": "string", "minLength": 1}
                for key in ("classroom", "assignment", "owner", "commit", "release", "review")
            },
            "assignment_type": {"enum": ["individual", "group", "team"]},
            "submission": {"type": "string", "pattern": "^submit/"},
            **{key: {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"} for key in ("datetime", "graded_at")},
            "score": {"type": "integer", "minimum": 0},
            "max-score": {"type": "integer", "minimum": 0},
            "tests": {
                "type": "array",
                "items": schema(
                    {
                        **{"test-name": {"type": "string", "minLength": 1}, "passed": {"type": "boolean"}, "message": TEXT},
                        **{key: {"type": "integer", "minimum": 0} for key in ("score", "max-score")},
                    }
                ),
            },
        }
    ),
    "prairielearn": {
        "oneOf": [
            schema({"gradable": {"const": False}, "format_errors": {"type": "array", "items": TEXT}}),
            schema(
                {
                    "gradable": {"const": True},
                    "score": {"type": "number", "minimum": 0, "maximum": 1},
                    "message": TEXT,
                    "output": TEXT,
                    "tests": {
                        "type": "array",
                        "items": schema(
                            {
                                **{key: TEXT for key in ("name", "description", "message", "output")},
                                **{key: NUMBER for key in ("points", "max_points")},
                            }
                        ),
                    },
                }
            ),
        ]
    },
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_platforms_get_their_own_form(graded, name, tmp_path):
    jsonschema = pytest.importorskip("jsonschema")
    report_of = kept(graded)
    options = grading.Options(tmp_path, format=name)
    formats.write(report_of, points.load(), options)
    files = sorted((tmp_path / name).glob("*/result*.json"))
    assert len(files) == 4
    for path in files:
        jsonschema.validate(json.loads(path.read_text(encoding="utf-8")), SCHEMAS[name])
        assert path.stat().st_size < 2**20


def test_classroom_50_gets_whole_points_that_add_up_also_when_late_and_its_runner_is_heard(monkeypatch):
    exercises = [{**entry("sim", "failed", message=""), "points": 0.5, "max_points": 1.0}]
    exercises.append({**entry("train", message=""), "points": 2.0, "max_points": 2.0})
    written = {"question 1": {"points": 1.5, "max_points": 4.0}, "question 2": {"points": None, "max_points": 1.0}}
    late = {"submission": "a", "sha256": "0" * 64, "id": "7", "name": "", "submitted": "2026-11-20T13:00:00+01:00"}
    late |= {"score": 3.0, "max_score": 8.0, "exercises": exercises, "written": written}  # 4, of which three quarters are left
    monkeypatch.setenv("OWNER", "alice")
    made = formats.classroom50(late)
    assert made["score"] == sum(test["score"] for test in made["tests"])
    assert made["max-score"] == sum(test["max-score"] for test in made["tests"])
    assert made["score"] / made["max-score"] == late["score"] / late["max_score"]
    assert [test["passed"] for test in made["tests"]] == [False, True, False, False]
    assert (made["owner"], made["datetime"]) == ("alice", "2026-11-20T12:00:00Z")


def test_the_zip_for_gradescope_holds_what_it_needs(graded):
    import io

    with zipfile.ZipFile(io.BytesIO(formats.autograder())) as archive:
        names = archive.namelist()
        assert {"setup.sh", "run_autograder", "pyproject.toml", "dl/checks/references/captioning.py", *LESSONS} <= set(names)
        assert archive.getinfo("run_autograder").external_attr >> 16 & 0o111


def test_an_exported_gradebook_is_filled_and_nothing_else_in_it_changes(graded, tmp_path):
    book = tmp_path / "book.csv"
    book.write_text(
        "Student,ID,SIS Login ID,Section,A2 (991),Final\n    Points Possible,,,,55,\n"
        '"Solved, S",1,s1,-1,,=1\nNobody,5,n,-1,,\n"Wrong, W",3,w,-1,12,\n',
        encoding="utf-8",
    )
    rows, _ = formats.fill_gradebook(book, "A2", kept(graded))
    was = list(csv.reader(book.open(encoding="utf-8")))
    assert rows[2][4] == "55" and rows[3][4] == ""
    assert [[*row[:4], row[5]] for row in rows] == [[*row[:4], row[5]] for row in was]
    with pytest.raises(UsageError, match="columns 'B'"):
        formats.fill_gradebook(book, "B", kept(graded))
    moodle = tmp_path / "moodle.csv"
    moodle.write_text(
        "Identifier,Full name,Status,Grade,Maximum Grade\nParticipant 1,Solved S,,,55.00\n", encoding="utf-8-sig"
    )
    assert formats.fill_gradebook(moodle, None, kept(graded))[0][1][3] == "55"


BOOKS = {  # rows, column, scores by submission with its name and id, the cells of that column afterwards or words of the error
    "semicolons": ("Student;ID;A2 (9)\nLee, Ann;1;\n", "A2", {"a": ("", "1", 7.5)}, ["7.5"]),
    "read-only column": (
        "Student,ID,SIS Login ID,Section,Final Score\n    Points Possible,,,,(read only)\nA,1,s,L,\n",
        "Final",
        {"a": ("", "1", 7)},
        "takes no scores",
    ),
    "excused": ("Student,ID,A2 (9)\nA,1,EX\nB,2,3\n", "A2", {"a": ("", "1", 7), "b": ("", "2", 8)}, ["EX", "8"]),
    "hidden until posted": (
        'Student,ID,A2 (9)\n"",,Manual Posting\n    Points Possible,,55\nA,1,\n',
        "A2",
        {"a": ("---", "1", 7)},
        ["Manual Posting", "55", "7"],
    ),
    "an id of two": (
        "Student,ID,A2 (9)\nA,1,\nB,2,\n",
        "A2",
        {"a": ("", "1", 7), "b": ("", "1", 0), "c": ("B", "", 5)},
        ["", "5"],
    ),
    "a name of two": ("Student,ID,A2 (9)\nA,1,\nA,2,\n", "A2", {"a": ("A", "1", 7), "b": ("A", "2", 8)}, ["7", "8"]),
    "Moodle": ('Identifier,Grade,Maximum grade\nParticipant 1,,"60,00"\n', None, {"a": ("", "1", 7)}, ["7"]),
    "Moodle, too many": (
        "Identifier,Grade,Maximum grade\nParticipant 1,,6.00\n",
        None,
        {"a": ("", "1", 7)},
        "would leave it out",
    ),
    "nobody": ("Student,ID,A2 (9)\nA,,\n", "A2", {"a": ("---", "***", 7)}, "nobody in"),
}


@pytest.mark.parametrize("name", BOOKS)
def test_scores_go_where_the_platform_takes_them_and_to_nobody_else(tmp_path, name):
    """As the importers read: Canvas, lib/gradebook_importer.rb of instructure/canvas-lms (separator, "Points Possible", "read
    only", "EX", posting rows; ids before names); Moodle, mod/assign/feedback/offline (importgradeslib.php finds the columns
    Identifier, Grade and Last modified (grade), locallib.php passes over grades out of range). Read in November 2026."""
    text, column, found, wanted = BOOKS[name]
    (tmp_path / "book.csv").write_text(text, encoding="utf-8-sig")
    graded = {"submissions": [dict(zip(("submission", "name", "id", "score"), (key, *about))) for key, about in found.items()]}
    if isinstance(wanted, str):
        with pytest.raises(UsageError, match=wanted):
            formats.fill_gradebook(tmp_path / "book.csv", column, graded)
        return
    (header, *rows), separator = formats.fill_gradebook(tmp_path / "book.csv", column, graded)
    place = next(i for i, title in enumerate(header) if title.startswith(column or "Grade"))
    assert [row[place] for row in rows] == wanted and separator in text


def test_no_cell_of_ours_is_a_formula(tmp_path):
    formats._write_csv(tmp_path / "a.csv", [["=1+1", "-2", -3, "@x", "plain"]])
    assert (tmp_path / "a.csv").read_text().strip() == "'=1+1,-2,-3,'@x,plain"


def test_the_guide_speaks_of_the_most_common_mistakes_first():
    def student(*found):
        return {
            "exercises": [
                entry(name, "failed", diagnosis=diagnosis, message="Likely: x", note="") for name, diagnosis in found
            ]
        }

    both = [student(("sim", "odd")), student(("sim", "odd"), ("train", "even"))]
    assert [pages.sentence(text) for text in ("which axis?", "a row", "x is")] == ["Which axis?", "A row", "x is"]
    assert pages.code("`f` < `g`") == "<code>f</code> &lt; <code>g</code>"
    assert [(line["exercise"], line["count"]) for line in pages.guide(both)] == [("sim", 2), ("train", 1)]
    assert [row["exercise"] for row in pages.exercise_table(both)] and pages.guide(both)[0]["ask"]


def test_similar_finds_a_copy_with_other_names_and_not_the_hand_out(tmp_path, capsys):
    pytest.importorskip("copydetect")
    given = {path: markers.hand_out(content.decode(), path).encode() for path, content in SOLVED.items()}
    renamed = {path: content.replace(b"weights", b"shares").replace(b"scores", b"points") for path, content in SOLVED.items()}
    for name, files in {"a": SOLVED, "b": renamed, "c": given, "d": given}.items():
        write_zip(tmp_path / f"{name}.zip", files)
    assert main(["similar", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "a.zip and b.zip: " in said and "c.zip" not in said and "1 of 6 pairs" in said
    assert len(course.find(())) == 55
