"""The command line: help with examples and without waiting, exit codes, weights to train."""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from dl import __main__ as commands
from dl import console as command
from dl.console import UsageError


def verbs(parser, prefix=""):
    """All parsers below one, by what the user types."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                yield f"{prefix}{name}", child
                yield from verbs(child, f"{prefix}{name} ")


def test_every_verb_shows_an_example_that_its_parser_accepts():
    found = dict(verbs(commands.parser()))
    assert {"doctor", "run", "build", "data list", "data fetch", "data verify", "train-weights"} <= set(found)
    for name, parser in found.items():
        start = "Example: python -m dl "
        assert parser.epilog.startswith(f"{start}{name}")
        example = parser.epilog.removeprefix(start).split()
        assert commands.parser().parse_args(example).verb == example[0]


def test_help_does_not_wait_for_torch():
    code = (
        "import sys; from dl.__main__ import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: print(end.code, 'torch' in sys.modules, 'nbformat' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "train-weights" in out and out.splitlines()[-1] == "0 False False"


def test_wrong_use_ends_with_2(capsys):
    for argv in ([], ["no-such-verb"], ["run", "--data", "reel"]):
        with pytest.raises(SystemExit) as end:
            commands.main(argv)
        assert end.value.code == 2
    assert commands.main(["train-weights", "regnetz"]) == 2
    assert "no weights called regnetz; there are regnet" in capsys.readouterr().err


def test_messages_and_interruptions_become_exit_codes(monkeypatch, capsys):
    for error, code, text in (
        (UsageError("get it"), 2, "dl doctor: get it"),
        (KeyboardInterrupt(), 130, "stopped. Begin again"),
    ):

        def fail(args, error=error):
            raise error

        monkeypatch.setattr(commands, "_doctor", fail)
        assert commands.main(["doctor"]) == code
        assert text in capsys.readouterr().err


def test_weights_are_trained_in_turn(monkeypatch, capsys):
    trained = []
    names = ["a", "b"]
    scripts = {f"dl.training.{name}": SimpleNamespace(train=lambda name=name: trained.append(name)) for name in names}
    monkeypatch.setattr(commands, "trainable", lambda: names)
    monkeypatch.setattr(commands.importlib, "import_module", scripts.__getitem__)
    assert commands.main(["train-weights"]) == 0
    assert commands.main(["train-weights", "b"]) == 0
    assert trained == ["a", "b", "b"]
    assert capsys.readouterr().out.splitlines()[-1] == "Trained b; weights and cards are in dl/weights/files/."


def test_a_stopped_training_says_what_is_kept_and_how_to_go_on(monkeypatch, capsys):
    def stop():
        raise KeyboardInterrupt

    scripts = {"dl.training.a": SimpleNamespace(train=lambda: None), "dl.training.b": SimpleNamespace(train=stop)}
    monkeypatch.setattr(commands, "trainable", lambda: ["a", "b", "c"])
    monkeypatch.setattr(commands.importlib, "import_module", scripts.__getitem__)
    assert commands.main(["train-weights"]) == 130
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("dl train-weights: stopped. What b had learned at its last checkpoint is in build/train/.")
    assert line.endswith("Go on with: python -m dl train-weights b c")


def test_a_stopped_grading_says_what_is_kept_and_how_to_go_on(monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("dl.grading.grade", stop)
    assert commands.main(["grade", "downloads", "--out", "graded"]) == 130
    said = capsys.readouterr().err.strip()
    assert said.startswith("dl grade: stopped. Submissions graded so far are kept in graded. Go on with the same command;")


def test_a_stopped_student_edition_is_not_written(tmp_path, monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("dl.student.edition", stop)
    assert commands.main(["student", str(tmp_path / "new")]) == 130
    assert "dl student: stopped. Nothing was written." in capsys.readouterr().err and not (tmp_path / "new").exists()


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "report.json"
    command.write_json(path, {"a": 1})

    def fail(file):
        file.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        command.write_whole(path, fail)
    assert path.read_text() == '{\n "a": 1\n}\n'
    assert list(tmp_path.iterdir()) == [path]


def test_a_terminal_without_our_letters_is_no_error(tmp_path):
    """LC_ALL=C without UTF-8, or a pipe on Windows: question marks instead of a traceback."""
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "DL_DEVICE": "täglich"}
    done = subprocess.run(
        [sys.executable, "-m", "dl", "run", "größe"], cwd=Path(__file__).parent.parent, env=environment, capture_output=True
    )
    assert done.returncode == 2 and b"Traceback" not in done.stderr and b"gr??e" in done.stderr
