"""The command line: help with examples and without waiting, exit codes, weights to train."""

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from dl import __main__ as commands
from dl import console as command
from dl.console import UsageError

ROOT = Path(__file__).resolve().parent.parent


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


@pytest.mark.parametrize("arguments", ["check captioning --list --root {}", "status --root {}", "doctor"])
def test_a_pipe_on_windows_shows_what_its_letters_can(tmp_path, arguments):
    folder = tmp_path / "課題"
    folder.mkdir()
    for name in ("rnn_lstm_captioning.py", "transformers.py"):  # the doctor names the second, which is on the path
        (folder / name).touch()
    path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(folder))))
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONPATH": path}
    command = [sys.executable, "-m", "dl", *arguments.format(folder).split()]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True)
    out = done.stdout.decode("cp1252")
    assert done.returncode in (0, 1) and not done.stderr and f"{os.sep}??" in out, done.stderr
    if arguments != "doctor":
        assert re.search(r"rnn_step_forward +\*oo +20 min", out) and re.search(r"rnn_backward +\*\*\* +60 min", out)


def test_a_project_in_a_folder_with_a_long_path_is_checked(tmp_path, capsys):
    """Windows takes 260 characters by default, and the project's own files need some of them."""
    folder = tmp_path
    while len(str(folder)) < 250:
        folder /= "a long name"[: max(1, 249 - len(str(folder)))]
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "rnn_lstm_captioning.py", folder)
    assert commands.main(["check", "rnn_step_forward", "--root", str(folder)]) == 0
    assert "1 passed of 1 exercises" in capsys.readouterr().out


def test_a_lesson_whose_name_differs_in_capitals_is_named(tmp_path, capsys):
    """Windows and macOS take the two names for one, Linux does not."""
    shutil.copy(ROOT / "rnn_lstm_captioning.py", tmp_path / "RNN_LSTM_Captioning.py")
    (tmp_path / "a2_helper.py").touch()
    if (tmp_path / "rnn_lstm_captioning.py").exists():
        pytest.skip("this file system takes capitals and small letters for the same")
    told = (
        "rnn_lstm_captioning.py is not there, but RNN_LSTM_Captioning.py is; wanted exactly the first name. Rename the file."
    )
    assert commands.main(["check", "rnn_step_forward", "--root", str(tmp_path)]) == 1
    assert told in capsys.readouterr().out
    assert commands.main(["check", "captioning", "--list", "--root", str(tmp_path)]) == 2
    assert told in capsys.readouterr().err
