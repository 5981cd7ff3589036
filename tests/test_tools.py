"""The small tools: settings, shape checks, seeds, pictures, the notebook session, weight files, recorded cases."""

import importlib
import json
import pickle
import random
import re
import subprocess
import sys
import types
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch

from dl import notebook, settings, utils, weights
from dl.checks import published
from dl.figures.tables import Table
from dl.guards import check_tensors
from dl.weights.checkpoint import Checkpoint

matplotlib.use("Agg")


# --- Settings ---


def test_data_mode_and_homes(monkeypatch, tmp_path):
    monkeypatch.delenv("DL_DATA", raising=False)
    monkeypatch.delenv("DL_HOME", raising=False)
    assert settings.data_mode() == "sample" and settings.data_home() == settings.project_root() / "datasets"
    monkeypatch.setenv("DL_DATA", "Real")
    monkeypatch.setenv("DL_HOME", str(tmp_path))
    assert settings.data_mode() == "real"
    assert settings.data_home() == tmp_path / "datasets" and settings.weights_home() == tmp_path / "pretrained_model"
    monkeypatch.setenv("DL_DATA", "coco")
    with pytest.raises(ValueError, match="DL_DATA is 'coco'.*'sample' or 'real'"):
        settings.data_mode()


def test_a_relative_home_lies_in_the_project_whatever_the_working_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("DL_HOME", "bigdisk")
    monkeypatch.chdir(tmp_path)
    assert settings.data_home() == settings.project_root() / "bigdisk" / "datasets"


def test_setup_in_another_copy_of_the_project_says_whose_code_runs(monkeypatch, tmp_path, capsys):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "a2_helper.py").write_text("")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path / "notebooks")
    notebook.setup("demo")
    note = capsys.readouterr().out.splitlines()[0]
    assert str(tmp_path) in note and str(settings.project_root()) in note and "pip install -e ." in note
    monkeypatch.chdir(settings.project_root() / "notebooks")
    assert settings.other_copy() is None


def test_device_choice(monkeypatch):
    monkeypatch.delenv("DL_DEVICE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert settings.get_device().type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert settings.get_device().type == "mps"
    assert settings.double_kwargs(torch.device("mps")) == {"dtype": torch.float64, "device": torch.device("cpu")}
    assert settings.float_kwargs(torch.device("mps")) == {"dtype": torch.float32, "device": torch.device("mps")}
    monkeypatch.setenv("DL_DEVICE", "cpu")
    assert settings.get_device().type == "cpu"
    with pytest.raises(RuntimeError, match="'cuda' was asked for"):
        settings.get_device("cuda")
    with pytest.raises(ValueError, match="got 'tpu'.*cuda, mps, cpu"):
        settings.get_device("tpu")


def test_offline(monkeypatch):
    for value, wanted in (("", False), ("0", False), ("1", True)):
        monkeypatch.setenv("DL_OFFLINE", value)
        assert settings.offline() is wanted


def test_quick_mode_takes_fewer_steps_and_never_more(monkeypatch):
    monkeypatch.delenv("DL_QUICK", raising=False)
    assert settings.shortened(80, 2) == 80
    monkeypatch.setenv("DL_QUICK", "1")
    assert (settings.shortened(80, 2), settings.shortened(1, 2)) == (2, 1)


# --- Shapes ---


def test_shapes_return_sizes_and_name_every_problem():
    a, b = torch.zeros(2, 3), torch.zeros(3, 8)
    assert check_tensors("f", a=(a, "N D"), b=(b, "D 4H")) == {"N": 2, "D": 3, "H": 2}
    with pytest.raises(ValueError) as caught:
        check_tensors("f", a=(a, "N D"), b=(b, "N 4D"), c=(a, "N T D"))
    text = str(caught.value)
    assert text.startswith("f: shapes do not fit") and "b has shape (3, 8)" in text and "c has shape (2, 3)" in text
    with pytest.raises(ValueError, match=r"wanted \(2, 4\)"):
        check_tensors("f", a=(a, "2 4"))
    with pytest.raises(TypeError, match="share one dtype, got a torch.float32, b torch.float64"):
        check_tensors("f", a=(a, "N D"), b=(b.double(), "D K"))


# --- Utils ---


def test_eval_mode_puts_every_module_back_also_after_an_error():
    model = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.BatchNorm1d(2)).train()
    model[1].eval()  # as when its statistics are frozen
    with pytest.raises(KeyboardInterrupt), utils.eval_mode(model):
        assert not any(module.training for module in model.modules())
        raise KeyboardInterrupt
    assert [module.training for module in model.modules()] == [True, True, False]


def test_no_grad_calls_the_function_that_autoreload_put_in_its_place():
    @utils.no_grad
    def before(x):
        raise NotImplementedError

    @utils.no_grad
    def after(x):
        return 2 * x

    before.__dict__ = after.__dict__  # what autoreload does to the functions in use
    assert not before(torch.ones(1, requires_grad=True)).requires_grad and before.__name__ == "before"


def test_exercises_are_reloaded_whatever_decorates_them():
    """torch.no_grad() keeps the function in a closure, where autoreload does not reach it."""
    from dl.checks import course, exercise

    for topic, modules in exercise.MODULES.items():
        for module in map(importlib.import_module, modules):
            for name in (e.name for e in course.exercises(topic)):
                owner, _, method = name.partition(".")
                function = vars(module).get(owner)
                function = vars(function).get(method) if method and function else function
                assert not hasattr(function, "__wrapped__") or "__wrapped__" in function.__code__.co_names, name


def test_one_thread_is_for_the_block_alone_and_put_back_after_an_error():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(ZeroDivisionError), utils.one_thread():
            assert torch.get_num_threads() == 1
            raise ZeroDivisionError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_pixel_belongs_to_the_cell_whose_centre_is_nearest():
    cells = utils.nearest_cell(112, 4)  # centres at 0, 32, 64, 96
    assert len(cells) == 112 and cells[[0, 15, 17, 47, 49, 79, 81, 111]].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_reset_seed_covers_all_three_generators():
    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item()

    utils.reset_seed(5)
    first = draw()
    utils.reset_seed(5)
    assert draw() == first
    utils.reset_seed(6)
    assert all(a != b for a, b in zip(draw(), first))


def test_tensor_to_image():
    assert utils.tensor_to_image(torch.full((3, 2, 4), 0.5)).tolist() == np.full((2, 4, 3), 128).tolist()
    assert utils.tensor_to_image(torch.full((3, 1, 1), 9, dtype=torch.uint8)).dtype == np.uint8
    with pytest.raises(ValueError, match=r"one image \(3, H, W\), got shape \(2, 3, 4, 4\)"):
        utils.tensor_to_image(torch.zeros(2, 3, 4, 4))


def test_attention_picture():
    image = torch.zeros(3, 56, 112, dtype=torch.uint8)
    image[0] = 200  # red
    weights_of_word = torch.zeros(2, 4)
    weights_of_word[1, 0] = 1.0
    picture = utils.attention_visualizer(image, weights_of_word, "star")
    assert picture.shape == (56 + 25, 112, 3) and picture.dtype == np.uint8
    assert picture[:25].max() == 255 and picture[0].max() == 0  # white letters on a black strip
    bright, dark = picture[25 + 40, 10], picture[25 + 10, 100]
    assert dark.tolist() == [0, 0, 100] and bright.tolist() == [128, 128, 228]  # blue, green, red
    with pytest.raises(ValueError, match="attention_visualizer: wanted img"):
        utils.attention_visualizer(image, weights_of_word[0], "star")


# --- Notebook session ---


@pytest.fixture
def session(monkeypatch, tmp_path):
    monkeypatch.setattr(settings, "project_root", lambda: tmp_path)
    (tmp_path / "transformers.py").write_text("")
    monkeypatch.delitem(sys.modules, "transformers", raising=False)
    monkeypatch.setenv("DL_DEVICE", "cpu")
    monkeypatch.delenv("DL_DATA", raising=False)
    kept = list(sys.path)
    with matplotlib.rc_context():
        yield notebook.setup("demo")
    sys.path[:] = kept


def test_setup_says_what_it_runs_on(session, capsys, tmp_path):
    assert sys.path[0] == str(tmp_path)
    assert session.to_double["dtype"] == torch.float64 and session.data == "sample"


class Shell:
    """What the session asks of IPython's shell."""

    def set_custom_exc(self, kinds, show):
        self.kinds, self.show = kinds, show

    def showtraceback(self, *_, **__):
        return "the whole traceback"

    def _showtraceback(self, kind, error, lines):
        self.shown = lines


def test_a_check_that_does_not_pass_ends_a_cell_in_words_and_a_readers_own_assert_as_ever(monkeypatch):
    shell = Shell()
    monkeypatch.setattr(notebook, "_shell", lambda: shell)
    notebook.show_unsolved_briefly()
    assert issubclass(AssertionError, shell.kinds)
    assert shell.show(shell, AssertionError, AssertionError("not so: y agrees (0.3)"), None) == ["not so: y agrees (0.3)"]
    assert shell.shown == ["not so: y agrees (0.3)"]
    assert shell.show(shell, AssertionError, AssertionError("x is 3"), None) == "the whole traceback"
    assert shell.show(shell, NotImplementedError, NotImplementedError(), None) == "the whole traceback"


def test_only_trainings_with_real_data_are_kept_and_short_ones_apart(session, monkeypatch, tmp_path):
    assert session.checkpoint("rnn") is None
    session.data = "real"
    assert session.checkpoint("rnn") == tmp_path / "build" / "train" / "demo-rnn.pt"
    monkeypatch.setenv("DL_QUICK", "1")
    assert session.checkpoint("rnn").name == "demo-rnn-quick.pt"


@pytest.mark.parametrize("mode", ["quick", "real"])
def test_a_missed_target_stops_only_the_full_run_on_the_sample(mode, session, capsys, monkeypatch):
    with pytest.raises(AssertionError, match="not so: four rows memorised"):
        session.target("four rows memorised", False)
    monkeypatch.setenv("DL_QUICK", str(int(mode == "quick")))
    session.data = "real" if mode == "real" else "sample"
    session.target("four rows memorised", False, "0.25")
    assert capsys.readouterr().out.splitlines()[-1] == "target missed: four rows memorised (0.25)"
    assert list(session.missed.values()) == ["four rows memorised (0.25)"] and session.checks == {}
    session.target("four rows memorised", True, "1.00")
    assert session.missed == {} and list(session.checks.values()) == ["four rows memorised (1.00)"]
    with pytest.raises(AssertionError, match="not so: shapes fit"):
        session.check("shapes fit", False)
    with pytest.raises(AssertionError, match="not so: y agrees"):
        session.check_error("y", torch.ones(2), torch.zeros(2), 1e-8)


def test_checks_print_assert_and_are_saved(session, capsys, tmp_path):
    session.check_error("y", torch.ones(2), torch.ones(2), 1e-8)
    session.check("rows sum to 1", True)
    assert capsys.readouterr().out.splitlines()[-2:] == ["ok: y agrees (error 0.0e+00, limit 1e-08)", "ok: rows sum to 1"]
    with pytest.raises(AssertionError, match=r"not so: y agrees \(error 3.3e-01, limit 1e-08\)"):
        session.check_error("y", torch.ones(2), torch.full((2,), 2.0), 1e-8)
    with pytest.raises(AssertionError, match="not so: y"):
        session.check_error("y", torch.tensor([float("nan")]), torch.ones(1), 1e-8)
    session.record(accuracy=0.5)
    session.save_results()
    report = json.loads((tmp_path / "results" / "demo.json").read_text())
    assert report["scores"] == {"accuracy": 0.5} and report["checks"] == ["rows sum to 1"]
    assert {"notebook", "data", "device", "versions", "seconds"} <= report.keys()
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["demo.json"]


def test_a_check_counts_once_and_only_while_it_holds(session, monkeypatch, tmp_path):
    from dl.sandbox import verdicts

    for _ in range(2):
        session.check("shapes fit", True)
    session.check("learns", True, "loss 0.41")
    session.checks["rnn_forward"] = "rnn_forward (3 checks)"
    with pytest.raises(AssertionError):
        session.check("learns", False, "loss 3.90")
    monkeypatch.setattr(verdicts, "require", lambda *_, **__: (_ for _ in ()).throw(verdicts.NotSolved("no")))
    with pytest.raises(verdicts.NotSolved):
        session.exercise("rnn_forward")
    session.record(loss=float("nan"), best=float("inf"))
    session.save_results()
    report = json.loads((tmp_path / "results" / "demo.json").read_text(), parse_constant=pytest.fail)
    assert report["checks"] == ["shapes fit"] and report["scores"] == {"loss": None, "best": None}


def test_a_foreign_transformers_is_refused(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "transformers", types.SimpleNamespace(__file__=str(tmp_path / "elsewhere.py")))
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(ImportError, match="already loaded from .*Restart the kernel"):
        notebook.use_project_modules(tmp_path)


# --- Weights and recorded cases ---


def test_weights_are_written_whole_and_read_as_float32(monkeypatch, tmp_path):
    monkeypatch.setattr(weights, "FILES", tmp_path)
    state = {"w": torch.tensor([1.5, 2.0]), "n": torch.tensor(3)}
    weights.save("demo", state, {"seed": "1"})
    loaded = weights.load("demo")
    assert loaded["w"].dtype == torch.float32 and loaded["n"].dtype == torch.int64 and torch.equal(loaded["w"], state["w"])
    assert weights.metadata("demo") == {"seed": "1"} and [p.name for p in tmp_path.iterdir()] == ["demo.safetensors"]
    with pytest.raises(FileNotFoundError, match="ships no 'other'.*present: demo.*train-weights other"):
        weights.load("other")


def test_a_training_goes_on_from_its_checkpoint_as_if_it_had_not_stopped(tmp_path):
    path = tmp_path / "a" / "b.pt"

    def run(stops, file):
        """Noisy updates up to each stop in turn; every stop but the last loses all that is in memory."""
        for stop in stops:
            torch.manual_seed(0)
            layer, order = torch.nn.Linear(3, 1), torch.Generator().manual_seed(1)
            optimizer = torch.optim.Adam(layer.parameters())
            saved = Checkpoint(file, {"batch": 4}, layer=layer, optimizer=optimizer, order=order, schedule=None)
            losses = saved.resume().get("losses", [])
            for _ in range(len(losses), stop):
                loss = (layer(torch.randn(4, 3, generator=order)) + torch.randn(())).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
                saved.save(losses=losses)
        return losses

    assert run([2, 5], path) == run([5], None)
    assert [p.name for p in path.parent.iterdir()] == ["b.pt"]
    with pytest.raises(ValueError, match=r"b.pt was written with other settings: batch 4 \(now 8\), lr None \(now 1\)"):
        Checkpoint(path, {"batch": 8, "lr": 1}).resume()


def test_the_checkpoint_of_another_training_is_set_aside(tmp_path, capsys):
    path = str(tmp_path / "c.pt")  # a string will do
    for number in ("", "1"):
        torch.save({"step": 3}, path)
        assert Checkpoint(path, {}).resume() == {}
        assert f"c.pt belongs to another training: it is now called c.pt.other{number}" in capsys.readouterr().out
        assert torch.load(f"{path}.other{number}", weights_only=True) == {"step": 3}


@pytest.mark.parametrize(
    "damage, why",
    [
        (lambda whole: whole[: len(whole) // 2], "it is cut or damaged"),
        (lambda whole: whole[:700] + bytes(99) + whole[799:], "it is cut or damaged|its part .* is damaged"),
        (lambda whole: b"", "it is cut or damaged"),
        (lambda whole: b"<!DOCTYPE html><title>log in</title>", "it is a web page"),
        (lambda whole: b"my notes", "it is cut or damaged, or"),
        (lambda whole: pickle.dumps(Path("of another library")), "it is cut or damaged, or holds more than tensors"),
    ],
    ids=["cut", "hole", "empty", "page", "text", "pickle"],
)
def test_a_checkpoint_that_cannot_be_read_is_set_aside_in_words(tmp_path, capsys, damage, why):
    path, layer = tmp_path / "c.pt", torch.nn.Linear(99, 9)
    Checkpoint(path, {}, layer=layer).save(epoch=3)
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    assert Checkpoint(path, {}, layer=layer).resume() == {}
    out = capsys.readouterr().out
    assert re.fullmatch(
        rf"c.pt cannot be used \(({why}).*\): it is now called c.pt.other, and this training begins anew.\n", out
    )
    assert "weights_only" not in out and (tmp_path / "c.pt.other").read_bytes() == damaged
    Checkpoint(path, {}, layer=layer).save(epoch=1)
    assert Checkpoint(path, {}, layer=layer).resume() == {"epoch": 1}


def test_every_shipped_weight_has_a_card():
    files = sorted(weights.FILES.glob("*.safetensors"))
    assert files
    for file in files:
        card = file.with_suffix(".md").read_text()
        assert all(word in card.lower() for word in ("data", "seed", "limits", "score")), file.name


def test_the_shipped_encoder_loads_and_knows_the_world():
    from dl.training.regnet import batch
    from rnn_lstm_captioning import ImageEncoder

    encoder = ImageEncoder(pretrained=True, verbose=False).eval()
    with torch.no_grad():
        features = encoder(batch(range(10**9, 10**9 + 4))[0])
    assert features.shape == (4, 400, 4, 4) and torch.isfinite(features).all() and features.std() > 0.5
    assert (weights.FILES / "regnet.safetensors").stat().st_size < 12e6


def test_the_ramp_fills_every_parameter():
    module = published.fill_with_ramp(torch.nn.Linear(2, 3))
    assert module.weight.flatten()[0].item() == pytest.approx(-1.4) and module.bias[-1].item() == pytest.approx(1.3)


# --- Imports ---


def test_importing_is_light_and_silent():
    """Neither heavy packages nor output, random numbers or plot settings: checked in a fresh interpreter."""
    modules = "rnn_lstm_captioning, a2_helper, transformers, dl.grad, dl.utils, dl.settings, dl.notebook"
    script = (
        "import sys, torch; state = torch.get_rng_state(); "
        f"import {modules}; "
        "heavy = {'torchvision', 'cv2', 'matplotlib', 'sklearn', 'pandas', 'seaborn', 'h5py', 'clip'} & set(sys.modules); "
        "assert not heavy, heavy; assert torch.equal(state, torch.get_rng_state())"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=settings.project_root(), capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_prediction_is_kept_and_shown_beside_its_result(session, capsys):
    made = session.predict("Which loss does guessing give?", guess=2.0)
    made.reveal(2.302585, "ln 10")
    assert capsys.readouterr().out.splitlines()[-3:] == ["Your prediction: 2.0", "Result: 2.3", "Note: ln 10"]
    assert [(p.guess, p.result) for p in session.predictions.values()] == [("2.0", "2.3")]


def test_a_model_answer_is_found_by_notebook_and_name(session, capsys, tmp_path):
    session.answer("Q1")
    assert "no model answers" in capsys.readouterr().out
    path = tmp_path / notebook.ANSWERS / "demo.md"
    path.parent.mkdir(parents=True)
    path.write_text("# Answers\n\n## Q1\n\nBecause.\n", encoding="utf-8")
    session.answer("Q1")
    assert capsys.readouterr().out == "Because.\n"
    with pytest.raises(ValueError, match="no question called 'Q2' in this notebook. There are: Q1"):
        session.answer("Q2")


def test_tables_round_and_mark_the_best():
    table = Table([{"cell": "rnn", "loss": 1.23456}, {"cell": "lstm", "loss": 1.0}], best={"loss": "min"})
    assert repr(table).splitlines()[1].split() == ["rnn", "1.235"]
    page = table._repr_html_()
    assert "1.235" in page and re.search(r"#T_\w+_row1_col1 \{\s*font-weight: bold", page)
