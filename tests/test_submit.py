"""The hand-in: which files, what is found in the notebooks, and a zip that is complete or not there at all."""

import json
import os
import resource
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import submit_tree as tree
from submit_tree import code, document, golden, markdown, printed, stopped, write

from dl import submit as hand_in
from dl.__main__ import main
from dl.checks import course
from dl.console import FAILURE, SUCCESS, UsageError
from dl.notebook_files import COURSE_ORDER
from dl.submit import archive, derive, examine, files, read_identity, required
from dl.submit.cells import read_notebook
from tests import student_tree
from tests.no_network.sitecustomize import python_path

ROOT = Path(__file__).resolve().parent.parent
NAME = "Transformers"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project in which nothing is to be found, in a folder with a blank and accents, and working in it."""
    monkeypatch.setattr(examine, "required_cells", tree.required_of)
    folder = golden(tmp_path / "devoir n° 2, été")
    monkeypatch.chdir(folder)
    return folder


def contents(project: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(project / hand_in.ZIP_NAME) as archived:
        return {name: archived.read(name) for name in archived.namelist()}


def record(project: Path) -> dict:
    return json.loads(contents(project)["submission.json"])


# --- Which files ---


def test_a_golden_tree_gives_exactly_the_listed_files_in_their_order(project, capsys):
    assert main(["submit", "--no-pdf"]) == SUCCESS
    assert list(contents(project)) == [
        "submission.json",
        *(f"notebooks/{name}.ipynb" for name in COURSE_ORDER),
        "dl/__init__.py",
        "dl/clip_dino.py",
        "dl/simclr/__init__.py",
        "dl/simclr/model.py",
        "dl/weights/__init__.py",
        "dl/weights/files/regnet.md",
        "a2_helper.py",
        "rnn_lstm_captioning.py",
        "transformers.py",
        "datasets/two_digit_op.json",
        "artifacts/transformer.pt",
        "submissions/rnn_lstm_attention_submission.pt",
        "dino_res.mp4",
        *(f"results/{name}.json" for name in COURSE_ORDER),
    ]
    assert contents(project)["dino_res.mp4"] == b"contents of dino_res.mp4"
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "Written to .: a2_code_submission.zip; 0 findings, 0 files missing."
    assert "Findings" not in out and "limit 100 MB" in out


def test_two_runs_give_identical_bytes_whatever_the_clock_and_the_first_zip(project):
    assert main(["submit", "--no-pdf"]) == SUCCESS
    first = (project / hand_in.ZIP_NAME).read_bytes()
    for path in project.rglob("*"):
        os.utime(path, (tree.TIME + 999, tree.TIME + 999))
    assert main(["submit", "--no-pdf"]) == SUCCESS
    assert (project / hand_in.ZIP_NAME).read_bytes() == first
    assert not list(project.glob("*.part"))


def test_headers_in_the_zip_come_neither_from_the_clock_nor_from_the_system(tmp_path, monkeypatch):
    archive.write(tmp_path / "here.zip", {"a": b"1", "ü/b": b"2"})
    monkeypatch.setattr(sys, "platform", "win32")
    archive.write(tmp_path / "there.zip", {"a": b"1", "ü/b": b"2"})
    assert (tmp_path / "here.zip").read_bytes() == (tmp_path / "there.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "here.zip") as archived:
        assert {entry.date_time for entry in archived.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_data_weights_caches_environments_links_and_hidden_files_stay_at_home(project, capsys):
    before = main(["submit", "--no-pdf"]), list(contents(project))
    for name in (
        "dl/__pycache__/x.py",
        "dl/.hidden/x.py",
        "dl/.env.py",
        "dl/datasets/coco.json",
        "dl/venv/x.py",
        "dl/features.h5",
        "dl/weights/files/regnet.safetensors",
        "pretrained_model/trained_simclr_model.pth",
        "datasets/coco.pt",
        "notebooks/.ipynb_checkpoints/x.ipynb",
        "notebooks/more.ipynb",
    ):
        write(project / name, "x")
    (project / "dl/link.py").symlink_to(project / "a2_helper.py")
    (project / "dl/simclr/linked").symlink_to(project, target_is_directory=True)
    capsys.readouterr()
    assert (main(["submit", "--no-pdf"]), list(contents(project))) == before
    out = capsys.readouterr().out
    for name in ("datasets", "venv", "features.h5", "link.py", "simclr/linked"):
        assert f"\n  dl/{name}\n" in out
    assert "safetensors" not in out and "hidden" not in out


def test_all_missing_files_are_reported_together_with_what_makes_them_and_nothing_is_written(project, capsys):
    for name in ("dino_res.mp4", "results/Transformers.json", "a2_helper.py", "notebooks/CLIP_DINO.ipynb"):
        (project / name).unlink()
    for path in (project / "dl").rglob("*.*"):
        path.unlink()
    (project / "transformers.py").unlink()
    (project / "transformers.py").symlink_to(project / "rnn_lstm_captioning.py")
    assert main(["submit"]) == 2
    message = capsys.readouterr().err
    assert "dl submit: 6 files to hand in missing, so nothing was written" in message
    for line in (
        'notebooks/CLIP_DINO.ipynb: comes with the course: copy it again from there; "python -m dl build CLIP_DINO"',
        "dl/: comes with the course",
        "a2_helper.py: comes with the course",
        "transformers.py: is a link",
        'dino_res.mp4: "python -m dl run CLIP_DINO"',
        'results/Transformers.json: "python -m dl run Transformers"',
        "with --partial",
    ):
        assert f"\n  {line}" in message or line in message.splitlines()[-1]
    assert not list(project.glob("a2_*"))
    assert main(["submit", "--partial", "--no-pdf"]) == SUCCESS
    assert record(project)["missing"] == [
        "notebooks/CLIP_DINO.ipynb",
        "dl/",
        "a2_helper.py",
        "transformers.py",
        "dino_res.mp4",
        "results/Transformers.json",
    ]


def test_the_list_has_the_notebooks_of_the_course():
    assert tuple(files.NOTEBOOKS) == COURSE_ORDER


def test_notebooks_are_taken_from_another_folder_when_asked(project):
    write(project / f"build/notebooks/{NAME}.ipynb", document([markdown("# Other")]))
    assert main(["submit", "--partial", "--no-pdf", "--notebooks", "build/notebooks", "--out", "build"]) == SUCCESS
    with zipfile.ZipFile(project / "build" / hand_in.ZIP_NAME) as archived:
        assert b"# Other" in archived.read(f"notebooks/{NAME}.ipynb")
        assert f"notebooks/{COURSE_ORDER[0]}.ipynb" not in archived.namelist()


def test_a_notebook_hands_in_its_project_from_whatever_folder(project, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(hand_in, "_write_pdf", lambda *args: [])
    for folder, path in ((project / "notebooks", "./"), (project, "./"), (tmp_path, project), (tmp_path, "./")):
        monkeypatch.chdir(folder)
        own = project if path == "./" and folder == tmp_path else tmp_path
        monkeypatch.setattr("dl.settings.project_root", lambda own=own: own)
        assert hand_in.make_assignment2_submission(path) is None
        (project / hand_in.ZIP_NAME).unlink()
    (project / "dino_res.mp4").unlink()  # partial: says what is missing and goes on
    hand_in.make_assignment2_submission("./")
    assert "1 file missing." in capsys.readouterr().out and (project / hand_in.ZIP_NAME).is_file()


def test_a_quick_run_hands_in_no_pdf(project, monkeypatch, capsys):
    monkeypatch.setattr(hand_in, "_write_pdf", lambda *args: pytest.fail("it takes as long as the quick run"))
    monkeypatch.setenv("DL_QUICK", "1")
    hand_in.make_assignment2_submission(project)
    assert (project / hand_in.ZIP_NAME).is_file() and "python -m dl submit makes it" in capsys.readouterr().out


def test_a_path_without_a_project_is_wrong_use(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["submit", "--root", str(tmp_path / "empty")]) == 2
    assert "is no folder of the course, nor in one: it has none of a2_helper.py" in capsys.readouterr().err


# --- Who, and submission.json ---


def test_name_and_id_come_from_student_txt(project):
    main(["submit", "--no-pdf"])
    assert (record(project)["name"], record(project)["id"]) == ("Zoë Ångström", "42")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_student_txt_is_read_as_any_editor_saves_it(tmp_path, encoding):
    (tmp_path / "student.txt").write_bytes("name： 张三\r\nid: 1\r\n".encode(encoding))
    assert read_identity(tmp_path / "student.txt") == ({"name": "张三", "id": "1"}, [])


def test_a_name_in_another_encoding_is_a_finding(tmp_path):
    (tmp_path / "student.txt").write_bytes("name: José\nid: 1\n".encode("cp1252"))
    identity, (finding,) = read_identity(tmp_path / "student.txt")
    assert identity["id"] == "1" and "not written in UTF-8" in finding.what


@pytest.mark.parametrize(
    "text, what",
    [
        (None, 'write "name: …" and "id: …" in it'),
        ("name:\nid: 7", 'write "name: …" in it'),
        ("\ufeffName : Jo\r\nID:", 'write "id: …" in it'),
    ],
)
def test_an_empty_identity_is_a_finding(project, text, what, capsys):
    (project / "student.txt").unlink()
    if text is not None:
        write(project / "student.txt", text)
    assert main(["submit", "--no-pdf"]) == SUCCESS
    assert f"student.txt: does not say whose submission this is: {what}" in capsys.readouterr().out


def test_the_record_has_versions_hashes_and_check_results_and_no_trace_of_the_machine(project, tmp_path):
    import hashlib

    main(["submit", "--no-pdf"])
    report, archived = record(project), contents(project)
    assert set(report["versions"]) >= {"dl", "python", "torch", "typst"}
    assert report["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    for name, content in archived.items():
        if name != "submission.json":
            assert report["files"][name] == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert len(report["files"]) == len(archived) - 1
    assert report["results"][NAME] == {
        "sha256": report["files"][f"results/{NAME}.json"]["sha256"],
        "scores": {"accuracy": 0.5},
        "checks": ["sums to 1"],
        "data": "sample",
        "device": "cpu",
    }
    assert str(tmp_path) not in json.dumps(report) and os.uname().nodename not in json.dumps(report)


# --- Findings ---

SOUND = tree.cells_of(NAME)
CHECK = SOUND[3]


def changed(number: int, **fields) -> list[dict]:
    """The sound notebook with one cell changed."""
    return [{**cell, "id": f"cell-{n}", **(fields if n == number else {})} for n, cell in enumerate(SOUND)]


def with_ids(cells: list[dict]) -> list[dict]:
    return [{"id": f"cell-{number}", **cell} for number, cell in enumerate(cells)]


ERROR = stopped("AssertionError", "not so: sums to 1 (0.9)", "…")
CASES = {
    "not executed": (changed(3, execution_count=None, outputs=[]), ', section "First part", code cell 2: not executed'),
    "none executed": (
        [{**cell, "execution_count": None} for cell in with_ids(SOUND)],
        ": no cell was executed: run it and save it",
    ),
    "out of order": (
        changed(4, execution_count=1, outputs=[]),
        ', section "First part", code cell 3: executed out of order, as number 1 after 2',
    ),
    "error": (
        changed(4, outputs=[stopped("ValueError", "wrong sign\nmore")]),
        ', section "First part", code cell 3: stopped by an error: ValueError: wrong sign',
    ),
    "failed check": (
        changed(3, outputs=[ERROR]),
        ', section "First part", code cell 2: a check did not pass: sums to 1 (0.9)',
    ),
    "caught check": (
        changed(3, outputs=[printed("not so: it\n")]),
        ', section "First part", code cell 2: a check did not pass: it',
    ),
    "silent check": (
        changed(3, outputs=[]),
        ', section "First part", code cell 2: a check did not pass: the cell checks something',
    ),
    "missing": (
        with_ids(SOUND)[:3] + with_ids(SOUND)[4:],
        ', section "First part", code cell 2 of the course: required cell is missing, it begins with "session',
    ),
    "twice, same id": (
        with_ids(SOUND) + [{**with_ids(SOUND)[1], "execution_count": 9}],
        ', section "Question 1", code cell 5: required cell is there twice, also as code cell 1',
    ),
    "twice, pasted": (
        with_ids(SOUND) + [{**code("b", count=5), "id": "cell-4"}],
        ', section "Question 1", code cell 5: required cell is there twice, also as code cell 3',
    ),
    "wrong type": (
        changed(3, cell_type="markdown"),
        ', section "First part", text cell 3: required cell of the wrong type, markdown instead of code',
    ),
    "no answer": (
        changed(6, source="**Your answer:**\n\n<!-- here -->\n "),
        ', section "Question 1", text cell 4: the question is not answered',
    ),
    "no title": (changed(6, source=""), ', section "Question 1", text cell 4: the question is not answered'),
    "other notebook": (
        [{**markdown("# Else"), "id": "a"}, {**code("1", count=1), "id": "b"}],
        ": has none of the course's cells: is this the right notebook?",
    ),
    "no cells": ([], ": has no cells"),
}


def found(project: Path, name: str = NAME) -> list[str]:
    """Findings of one notebook as they are told."""
    assert main(["submit", "--no-pdf"]) == SUCCESS
    findings = [str(examine.Finding(**finding)) for finding in record(project)["findings"]]
    return [line for line in findings if line.startswith(name)]


@pytest.mark.parametrize("case", CASES)
def test_a_finding_names_notebook_section_and_cell_and_all_is_handed_in(project, case, capsys):
    cells, expected = CASES[case]
    write(project / f"notebooks/{NAME}.ipynb", document(cells))
    lines = found(project)
    assert len(lines) == 1 and lines[0].startswith(NAME + expected)
    assert f"\n  {lines[0]}\n" in capsys.readouterr().out
    assert contents(project)[f"notebooks/{NAME}.ipynb"] == (project / f"notebooks/{NAME}.ipynb").read_bytes()


def test_cells_are_counted_as_the_command_run_counts_them():
    cells = [code("a"), code(" \n"), markdown("# T\n```\n# no heading\n```"), code("b")]
    read = read_notebook(NAME, json.dumps(document(cells)).encode()).cells
    assert [(cell.section, cell.label) for cell in read if cell.source.strip()] == [
        ("start", "code cell 1"),
        ("T", "text cell 1"),
        ("T", "code cell 2"),
    ]


@pytest.mark.parametrize(
    "content, what",
    [
        ('{"cells": [', "is not readable as a notebook: "),
        ("", "is not readable as a notebook: "),
        ("[" * 100_000, "is not readable as a notebook: "),
        ("[1]", "of format 4: it has no list of cells"),
        ('{"worksheets": []}', "of format 4: it has no list of cells"),
        (b"\xff\xfe{", "is not readable as a notebook: "),
    ],
)
def test_a_broken_notebook_is_handed_in_and_named(project, content, what):
    write(project / f"notebooks/{NAME}.ipynb", content)
    [line] = found(project)
    assert line.startswith(f"{NAME}: ") and what in line


def test_broken_results_are_named(project):
    write(project / f"results/{NAME}.json", '{"scores": {"a": null}}')
    assert found(project) == [f"{NAME}: results/{NAME}.json is broken: run the notebook again"]
    assert NAME not in record(project)["results"]


def test_code_changed_since_the_run_is_named_whatever_the_clock(project):
    """A clone or a copy makes new times; line ends may change with them."""
    for age, path in enumerate(sorted(project.rglob("*.py"))):
        write(path, path.read_bytes().replace(b"\n", b"\r\n"), age=-100 * age)
    assert found(project) == found(project, "Self") == []
    write(project / "transformers.py", "# better", age=60)
    assert found(project) == [f"{NAME}: transformers.py changed since the run: run the notebook again"]
    assert found(project, "Self") == []
    write(project / "dl/simclr/model.py", "# better")
    write(project / "dl/weights/__init__.py", "# better")
    assert found(project, "Self") == [
        "Self_Supervised_Learning: dl/simclr/model.py changed since the run: run the notebook again"
    ]


def test_a_score_that_is_no_number_reaches_the_record_as_null(project):
    results = json.loads((project / f"results/{NAME}.json").read_text())
    write(project / f"results/{NAME}.json", results | {"scores": {"loss": None, "accuracy": 0.5}})
    assert found(project) == []
    assert record(project)["results"][NAME]["scores"] == {"loss": None, "accuracy": 0.5}


@pytest.mark.parametrize(
    "change", [lambda s: s + "\n", lambda s: s.replace("\n", "\r\n"), lambda s: s.replace("\n", "  \n") + "\n\n"]
)
@pytest.mark.parametrize("ids", [True, False])
def test_what_an_editor_does_to_cells_is_no_finding(change, ids):
    """The course's own notebook: nothing is missing, its questions are not answered."""
    notebook = json.loads((ROOT / "notebooks" / "CLIP_DINO.ipynb").read_bytes())

    def asked():
        return [f.what for f in examine.findings_in([read_notebook("CLIP_DINO", json.dumps(notebook).encode())], {}, {})]

    before = asked()
    assert before and set(before) == {"the question is not answered"}
    for cell in notebook["cells"]:
        cell["source"] = change("".join(cell["source"]))
        if not ids:
            del cell["id"]
    assert asked() == before


def test_cells_without_ids_are_known_by_their_place_once_they_are_answered_or_edited():
    notebook = json.loads((ROOT / "notebooks" / "CLIP_DINO.ipynb").read_bytes())
    for cell in notebook["cells"]:
        del cell["id"]
        cell["source"] = "".join(cell["source"]) + (
            "\nMy answer." if "answer" in cell["metadata"].get("tags", []) else "\n# edited"
        )
    findings = examine.findings_in([read_notebook("CLIP_DINO", json.dumps(notebook).encode())], {}, {})
    assert [f.what for f in findings if "missing" in f.what] == []


def test_cells_are_known_by_their_text_when_a_tool_has_changed_their_ids(project):
    cells = [{**cell, "id": f"new-{number}"} for number, cell in enumerate(SOUND)]
    digests = {
        required.cell_digest(cell["cell_type"], cell["source"]): wanted
        for cell, wanted in zip((SOUND[1], CHECK), list(tree.required_of(NAME).values()), strict=False)
    }
    notebook = read_notebook(NAME, json.dumps(document(cells)).encode())
    assert examine._required(notebook, digests) == []
    twice = read_notebook(NAME, json.dumps(document([*cells, {**CHECK, "id": "pasted"}])).encode())
    assert [finding.what for finding in examine._required(twice, digests)] == [
        "required cell is there twice, also as code cell 2"
    ]


def test_a_cell_that_the_course_repeats_is_no_duplicate(project):
    digest = required.cell_digest("code", "a")
    wanted = required.Required("code", "start", "code cell 1", "a", False)
    for ids in ((digest, f"{digest}-2"), ("new", "newer")):
        cells = [{**code("a", count=number), "id": key} for number, key in enumerate(ids)]
        notebook = read_notebook(NAME, json.dumps(document(cells)).encode())
        assert examine._required(notebook, {digest: wanted, f"{digest}-2": wanted}) == []


def test_the_words_of_the_course_are_no_answer(project):
    untouched = tree.answer("your words here")
    digest = required.cell_digest("markdown", untouched["source"])
    notebook = read_notebook(NAME, json.dumps(document([{**untouched, "id": digest}])).encode())
    wanted = {digest: required.Required("markdown", "start", "text cell 1", "", True)}
    assert [finding.what for finding in examine._answers(notebook, wanted)] == ["the question is not answered"]
    assert examine._answers(notebook, {}) == []


@pytest.mark.parametrize(
    "source, always",
    [
        ("session.check('a', True)", True),
        ("%magic\nfor a in b:\n    session.check_error(a)", True),
        ("if real:\n    session.check('a', 1)", False),
        ("def f():\n    session.check('a', 1)", False),
        ("session.checks", False),
        ("not python (", False),
        ("'session.check'", False),
    ],
)
def test_only_cells_that_check_whatever_the_data_must_print_ok(source, always):
    assert examine._always_checks(source) is always


def test_the_required_cells_are_those_of_the_sources():
    assert required.LIST.read_text(encoding="utf-8") == derive.derive(), "run: python -m dl.submit.derive"
    cells = required.required_cells("rnn_lstm_captioning")
    assert next(iter(cells.values())).begins == "%load_ext autoreload"


# --- Whole or not at all ---


def old_zip(project: Path) -> Path:
    path = project / hand_in.ZIP_NAME
    path.write_bytes(b"the old one")
    return path


def assert_old(path: Path) -> None:
    assert path.read_bytes() == b"the old one"
    assert not list(path.parent.glob("*.part"))


def test_a_full_disk_leaves_the_old_zip(project, capsys):
    path = old_zip(project)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        assert main(["submit", "--no-pdf"]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert_old(path)
    assert "cannot be written: File too large. Make room there or choose another folder" in capsys.readouterr().err


def test_a_folder_that_is_a_file_is_named(project, capsys):
    assert main(["submit", "--no-pdf", "--out", "a2_helper.py"]) == 2
    assert "a2_helper.py/a2_code_submission.zip cannot be written: " in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named(project, capsys):
    project.chmod(0o500)
    try:
        assert main(["submit", "--no-pdf"]) == 2
    finally:
        project.chmod(0o700)
    assert "cannot be written: Permission denied" in capsys.readouterr().err


def test_a_zip_over_the_limit_names_the_largest_files_and_is_not_written(project, monkeypatch, capsys):
    path = old_zip(project)
    monkeypatch.setattr(archive, "LIMIT", 50_000)
    write(project / "dino_res.mp4", os.urandom(60_000))
    assert main(["submit", "--no-pdf"]) == 2
    assert "Largest files: dino_res.mp4 (0 MB)" in capsys.readouterr().err
    assert_old(path)


def test_a_zip_that_reads_back_differently_is_no_success(project, monkeypatch, capsys):
    path = old_zip(project)
    monkeypatch.setattr(os, "fsync", lambda stream: os.pwrite(stream, b"?", 100))
    assert main(["submit", "--no-pdf"]) == 2
    assert "written and read again, it differs" in capsys.readouterr().err
    assert_old(path)


def test_a_killed_run_leaves_the_old_zip_whole(project):
    path = old_zip(project)
    kill = "import os, signal; os.fsync = lambda stream: os.kill(os.getpid(), signal.SIGKILL)\n"
    run = f"from dl.submit import submit; submit({str(project)!r}, pdf=False)"
    done = subprocess.run([sys.executable, "-c", kill + run], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"the old one"


# --- The zip of this project ---

IMPORT_ALL = """
import importlib, pathlib, sys
paths = pathlib.Path("dl").rglob("*.py")
names = [path.with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__") for path in paths]
for name in [*names, "a2_helper", "rnn_lstm_captioning", "transformers"]:
    file = importlib.import_module(name).__file__
    assert pathlib.Path(file).is_relative_to(pathlib.Path.cwd()), (name, file)
print(len(names))
"""


def test_the_unpacked_zip_imports_and_passes_its_checks_beside_the_installed_package(tmp_path):
    assert hand_in.submit(ROOT, out=tmp_path, pdf=False, partial=True) == SUCCESS
    with zipfile.ZipFile(tmp_path / hand_in.ZIP_NAME) as archived:
        archived.extractall(tmp_path / "unpacked")
    environment = {**os.environ, "PYTHONPATH": python_path()}
    command = [sys.executable, "-c", IMPORT_ALL]
    done = subprocess.run(command, cwd=tmp_path / "unpacked", env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 30
    places = {
        student_tree.PLACE[exercise.name]: exercise.name for exercise in reversed(course.find(()))
    }  # the first of each module
    command = [sys.executable, "-m", "dl", "check", *places.values(), "--root", str(tmp_path / "unpacked")]
    command += ["--json", str(tmp_path / "verdicts.json")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    verdicts = json.loads((tmp_path / "verdicts.json").read_text())
    assert verdicts["passed"] == len(verdicts["exercises"]) >= len(places) >= 6


# --- The PDF cannot hurt the zip ---


@pytest.mark.parametrize("error", [RuntimeError("no fonts"), OSError(28, "No space left on device")])
def test_the_zip_is_written_even_if_the_pdf_fails(project, monkeypatch, capsys, error):
    def fail(*args):
        raise error

    monkeypatch.setattr("dl.submit.pdf.make", fail)
    write(project / hand_in.PDF_NAME, "old")
    assert main(["submit"]) == FAILURE
    out = capsys.readouterr().out
    assert "not made (an older one is there, and does not belong to this zip): " in out and str(error) in out
    assert len(contents(project)) == 22


def test_what_the_pdf_needs_is_named_when_it_is_not_installed(project, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "typst", None)
    monkeypatch.delitem(sys.modules, "dl.submit.pdf", raising=False)
    monkeypatch.delattr(hand_in, "pdf", raising=False)
    assert main(["submit"]) == FAILURE
    assert "pip install -e '.[pdf]'" in capsys.readouterr().out
    assert (project / hand_in.ZIP_NAME).is_file()


def test_wrong_use_in_python_is_an_exception(tmp_path):
    with pytest.raises(UsageError, match="is no folder of the course"):
        hand_in.make_assignment2_submission(tmp_path)
