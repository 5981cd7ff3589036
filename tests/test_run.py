"""Notebooks are executed on a fresh kernel of this Python; failures name their place; built ones carry nothing live."""

import base64
import io
import json
import os
import sys
import tempfile
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from dl import settings
from dl.__main__ import main
from dl.commands import run
from dl.console import UsageError
from dl.notebook_files import find_notebooks, read_notebook

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project in a temporary folder."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "pyproject.toml").write_text("[project]\n", encoding="utf-8")
    monkeypatch.setattr(settings, "project_root", lambda: tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(project: Path, name: str, *cells: str) -> None:
    """A notebook; texts that begin with # are Markdown cells."""
    made = [new_markdown_cell(cell) if cell.startswith("#") else new_code_cell(cell) for cell in cells]
    nbformat.write(new_notebook(cells=made), project / "notebooks" / f"{name}.ipynb")


@pytest.fixture
def foreign_kernel(tmp_path, monkeypatch):
    """The user has registered another Python under the name of the standard kernel."""
    folder = tmp_path / "jupyter" / "kernels" / "python3"
    folder.mkdir(parents=True)
    kernel = {"argv": ["no-such-python", "{connection_file}"], "display_name": "Other", "language": "python"}
    (folder / "kernel.json").write_text(json.dumps(kernel))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")


def test_the_systems_settings_do_not_reach_the_kernel(project, monkeypatch):
    """A backend for scripts would leave all figures out; a Unix socket's path has some hundred bytes."""
    long = project / ("a" * 90)
    long.mkdir()
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    write(project, "tiny", "from matplotlib import pyplot as plt\nplt.plot([1, 2])")
    assert main(["run"]) == 0
    (cell,) = nbformat.read(project / "build" / "notebooks" / "tiny.ipynb", as_version=4).cells
    assert any("image/png" in output.get("data", {}) for output in cell.outputs)


GOOD = nbformat.writes(new_notebook(cells=[new_code_cell("x = 1\nprint(x)")]))


@pytest.mark.parametrize(
    "content, problem",
    [
        (b"", "a.ipynb is empty; wanted an .ipynb file"),
        (b"<<<<<<< HEAD\n" + GOOD.encode(), "marks of a merge conflict"),
        (GOOD[:40].encode(), "is no notebook of Jupyter, or is cut"),
        (b"[1]", "is no notebook of Jupyter"),
        (b"{}", "is no notebook of Jupyter"),
        (b"\xe9", "not written in UTF-8"),
    ],
)
def test_a_notebook_that_cannot_be_read_fails_in_words_and_the_next_one_runs(project, capsys, monkeypatch, content, problem):
    (project / "notebooks" / "a.ipynb").write_bytes(content)
    (project / "notebooks" / "b.ipynb").write_text(GOOD)

    async def execute(notebook, name, *_):
        return run.Outcome(name)

    monkeypatch.setattr(run, "execute", execute)
    assert main(["run"]) == 1
    told = capsys.readouterr().out
    assert problem in told and "1 of 2 notebooks ran to the end" in told and "Failed: a." in told


def without_ids(text: str) -> str:
    notebook = json.loads(text)
    for cell in notebook["cells"]:
        del cell["id"]
        cell["source"] = "x = 1\r\nprint(x)\r\n"
    return json.dumps(notebook)


@pytest.mark.parametrize(
    "content", ["\ufeff" + GOOD, GOOD.replace("\n", "\r\n"), without_ids(GOOD)], ids=["mark", "crlf", "no ids"]
)
def test_a_notebook_is_read_as_any_editor_saves_it(tmp_path, content):
    (tmp_path / "a.ipynb").write_bytes(content.encode())
    (cell,) = read_notebook(tmp_path / "a.ipynb").cells
    assert cell.source.rstrip() == "x = 1\nprint(x)" and cell.id


@pytest.mark.parametrize(
    "name", ["tiny", "TINY", "tiny.ipynb", "notebooks/tiny.ipynb", "notebooks/tiny", "tiny.nb.py", "../notebooks/Tiny"]
)
def test_notebooks_are_named_with_and_without_ending_and_folder(project, name, monkeypatch):
    write(project, "tiny", "1")
    (project / "notebooks" / "._tiny.ipynb").write_bytes(b"\0\5\26\7")  # of macOS
    if name.startswith(".."):
        monkeypatch.chdir(project / "notebooks")
    assert [path.name for path in find_notebooks([name])] == ["tiny.ipynb"]
    assert [path.name for path in find_notebooks([])] == ["tiny.ipynb"]
    with pytest.raises(UsageError, match="no notebook elsewhere/tiny.ipynb"):
        find_notebooks(["elsewhere/tiny.ipynb"])


def test_a_notebook_runs_in_its_folder_with_this_python_and_reports_checks_and_scores(project, foreign_kernel, capsys):
    write(
        project,
        "tiny",
        "# Tiny",
        "import os, sys; print(sys.executable, os.getcwd(), os.environ['DL_DATA'])",
        "print('ok: one'); print('ok: two'); print('okay, not ok: three')",
        "import json, pathlib\npathlib.Path('../results').mkdir()\n"
        "pathlib.Path('../results/tiny.json').write_text(json.dumps({'scores': {'accuracy': 0.5}}))",
    )
    assert main(["run", "Tiny", "--json", "report.json"]) == 0
    executed = nbformat.read(project / "build" / "notebooks" / "tiny.ipynb", as_version=4)
    python, folder, data = executed.cells[1].outputs[0].text.split()
    assert (python, folder, data) == (sys.executable, str(project / "notebooks"), "sample")
    assert [cell.execution_count for cell in executed.cells[1:]] == [1, 2, 3]
    report = json.loads((project / "report.json").read_text())
    assert (report["passed"], report["failed"], report["data"]) == (1, 0, "sample")
    entry = report["notebooks"][0]
    assert (entry["cells"], entry["checks"], entry["scores"]) == (3, 2, {"accuracy": 0.5})
    out = capsys.readouterr().out
    assert "cell 2 of 3: Tiny" in out and "accuracy 0.5" in out
    assert out.strip().endswith("1 of 1 notebooks ran to the end; executed copies are in build/notebooks.")


def test_what_a_long_cell_prints_and_how_far_its_bars_are_is_shown_while_it_runs(project, monkeypatch, capsys):
    monkeypatch.setattr(run, "SILENCE", 0)
    bar = "for step in tqdm(range(3), desc='a < b', mininterval=0): pass"
    write(project, "long", "print('loss 3')", f"from tqdm import tqdm\n{bar}", f"from tqdm.auto import tqdm\n{bar}", "1")
    assert main(["run"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert any(line.endswith("long, cell 1: loss 3") for line in shown)
    for cell, text in ((2, "a < b: 100%|"), (3, "a < b: 100% 3/3 [")):  # as text on stderr, and as widgets
        assert any(f"long, cell {cell}: {text}" in line for line in shown)
    assert not any("long, cell 4:" in line for line in shown)


def test_a_missed_target_is_named_at_the_end_and_in_the_json(project, capsys):
    missed = "the loss falls below 2 (2.5)"
    write(project, "a", f"print('ok: one')\nprint('target missed: {missed}')", "print('no target missed: none')")
    assert main(["run", "--json", "report.json"]) == 0
    assert f"target missed in a: {missed}" in capsys.readouterr().out.splitlines()[-2:]
    assert json.loads((project / "report.json").read_text())["notebooks"][0]["missed"] == [missed]


def test_a_cell_that_raises_is_named_and_the_next_notebook_still_runs(project, capsys):
    write(project, "a", "# Top", "x = 1", "## Second part", "y = 2", "raise ValueError('wrong sign')", "z = 3")
    write(project, "b", "print('ok: fine')")
    assert main(["run"]) == 1
    out = capsys.readouterr().out
    assert 'a: section "Second part", code cell 3: ValueError: wrong sign' in out
    assert "b: passed" in out and out.strip().endswith("Failed: a.")
    executed = nbformat.read(project / "build" / "notebooks" / "a.ipynb", as_version=4)
    assert [cell.execution_count for cell in executed.cells if cell.cell_type == "code"] == [1, 2, 3, None]


def test_a_kernel_that_dies_is_named(project, capsys):
    write(project, "dies", "# Memory", "import os; os._exit(9)")
    assert main(["run", "dies"]) == 1
    assert 'dies: section "Memory", code cell 1: the kernel died.' in capsys.readouterr().out


def test_a_stop_says_what_is_executed_and_how_to_go_on(project, monkeypatch, capsys):
    for name in "abc":
        write(project, name, "1")

    async def execute(notebook, name, folder, environment, pressed):
        if name == "b":
            pressed.set_result(None)
            raise run._Stopped
        return run.Outcome(name)

    monkeypatch.setattr(run, "execute", execute)
    assert main(["run", "--device", "cpu", "--jobs", "1"]) == 130
    told = "dl run: stopped. 1 of 3 notebooks are executed, in build/notebooks. Go on with: python -m dl run b c --device cpu"
    assert capsys.readouterr().err.strip() == told
    assert [file.name for file in (project / "build" / "notebooks").iterdir()] == ["a.ipynb"]


def test_notebooks_run_at_once_share_the_cores_and_one_that_fails_stops_no_other(project, capsys):
    meet = "import os, pathlib, time; pathlib.Path({0!r}).touch(); end = time.time() + 60\n"
    meet += "while not pathlib.Path({1!r}).exists(): assert time.time() < end; time.sleep(0.05)"
    write(project, "a", meet.format("at_a", "at_b"), "print(os.environ['OMP_NUM_THREADS'])")
    write(project, "b", meet.format("at_b", "at_a"), "raise ValueError('wrong sign')")
    assert main(["run", "--jobs", "2", "--json", "report.json"]) == 1
    report = json.loads((project / "report.json").read_text())
    assert [(entry["notebook"], entry["status"]) for entry in report["notebooks"]] == [("a", "passed"), ("b", "failed")]
    executed = nbformat.read(project / "build" / "notebooks" / "a.ipynb", as_version=4)
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, os.cpu_count() // 2)))
    assert executed.cells[-1].outputs[0].text.strip() == threads


@pytest.mark.parametrize(
    ("memory", "data", "expected"), [(8, "sample", 1), (16, "sample", 2), (64, "sample", 4), (64, "real", 1)]
)
def test_as_many_notebooks_at_once_as_cores_and_memory_allow(monkeypatch, memory, data, expected):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_PAGE_SIZE": 1, "SC_PHYS_PAGES": memory * 10**9}[name], raising=False)
    assert run._default_jobs({"DL_DATA": data, "DL_DEVICE": "cpu"}) == expected


def test_the_peak_memory_of_a_notebook_is_told_also_of_one_that_fails(project, capsys):
    use = "block = bytearray(400_000_000); block[::4096] = b'x' * len(block[::4096])"
    write(project, "large", use, "del block\n1 / 0")
    write(project, "small", "1", "# End")
    assert main(["run", "--json", "report.json"]) == 1
    entry, small = json.loads((project / "report.json").read_text())["notebooks"]
    if sys.platform in run.PEAK_MEMORY:
        assert 10_000_000 < small["peak_memory_bytes"] < 400_000_000
        assert 400_000_000 < entry["peak_memory_bytes"] < 1_000_000_000
        assert f"{entry['peak_memory_bytes'] / 1e9:.1f} GB" in capsys.readouterr().out


def test_wrong_use_says_what_there_is(project, capsys):
    assert main(["run"]) == 2
    assert "no notebooks at all" in capsys.readouterr().err
    write(project, "Transformers", "1")
    write(project, "rnn_lstm_captioning", "1")
    assert main(["run", "Transfomers"]) == 2
    message = "no notebook Transfomers in notebooks; there are: rnn_lstm_captioning, Transformers."
    assert message in capsys.readouterr().err


def test_a_device_that_is_absent_is_wrong_use(project, monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    write(project, "tiny", "1")
    assert main(["run", "tiny", "--device", "cuda"]) == 2
    assert "'cuda' was asked for" in capsys.readouterr().err


def test_choices_reach_the_kernel():
    environment = run.kernel_environment("real", "cpu")
    assert (environment["DL_DATA"], environment["DL_DEVICE"]) == ("real", "cpu")
    assert environment["PYTHONPATH"].split(os.pathsep)[0] == str(ROOT)


SOURCE = """# %% [markdown]
# # Title

# %%
print(1)

# %% tags=["question"]
print(1)

# %%
print(1)
"""


def test_cell_ids_are_fixed_unique_and_changed_only_by_their_own_cell(tmp_path):
    source = tmp_path / "n.nb.py"
    source.write_text(SOURCE)
    first = run.read_source(source)
    assert [cell.id for cell in first.cells] == [cell.id for cell in run.read_source(source).cells]
    assert len({cell.id for cell in first.cells}) == 4
    assert [dict(cell.metadata) for cell in first.cells] == [{}, {}, {"tags": ["question"]}, {}]
    source.write_text(SOURCE.replace("Title", "Another title"))
    second = run.read_source(source)
    assert [a.id == b.id for a, b in zip(first.cells, second.cells, strict=True)] == [False, True, True, True]
    nbformat.validate(first)


def test_build_writes_a_clean_executed_notebook_and_a_failure_leaves_the_old_one(project, capsys):
    source = project / "notebooks" / "n.nb.py"
    source.write_text(
        "# %% [markdown]\n# # One\n\n"
        "# %%\nimport sys\nfrom tqdm import tqdm\nfor i in tqdm(range(3)): print('step', i)\n"
        "print('careful', file=sys.stderr)\n\n# %%\nimport os\nprint(os.getcwd() + '/x')\nobject()\n"
    )
    assert main(["build", "n"]) == 0
    assert "left out of the outputs: careful" in capsys.readouterr().out
    built = project / "notebooks" / "n.ipynb"
    notebook = nbformat.read(built, as_version=4)
    assert notebook.metadata == run.METADATA
    first, second = notebook.cells[1:]
    assert [output.text for output in first.outputs] == ["step 0\nstep 1\nstep 2\n"]
    assert second.outputs[0].text == "notebooks/x\n"
    assert second.outputs[1].data["text/plain"] == "<object at 0x…>"
    before = built.read_bytes()
    source.write_text("# %%\n1 / 0\n")
    assert main(["build"]) == 1
    assert built.read_bytes() == before
    assert "ZeroDivisionError" in (project / "build" / "notebooks" / "n.ipynb").read_text()


def test_cleaning_keeps_pictures_and_what_a_terminal_would_show():
    bar = {"application/vnd.jupyter.widget-view+json": {"model_id": "x"}, "text/plain": "  0%|          | 0/3"}
    picture = {"image/png": "aGVsbG8=", "text/plain": "<Figure size 1x1>"}
    video = {"text/html": f'<video src="data:video/mp4;base64,{Path.home()}">'}
    cell = new_code_cell(
        "1",
        outputs=[
            new_output("stream", name="stdout", text="loss 3\rloss 2\rloss 1\n 50%|##  | 1/2 [00:01<00:01, 1.0it/s]\n"),
            new_output("display_data", data=bar),
            new_output("display_data", data=picture),
            new_output("display_data", data=video),
            new_output("stream", name="stderr", text="\r100%|####| 3/3\n"),
        ],
    )
    cell.metadata.update({"execution": {"iopub.status.busy": "2026-11-25T00:00:00Z"}})
    notebook = new_notebook(cells=[cell], metadata={"widgets": {}, "authors": ["somebody"]})
    assert run.clean(notebook) == []
    assert [output.get("text") or output.data for output in cell.outputs] == ["loss 1\n", picture, video]
    assert notebook.metadata == run.METADATA and notebook.cells[0].metadata == {}


def test_cleaning_makes_large_pictures_smaller_and_keeps_their_look():
    noise = np.random.default_rng(0).normal(128, 20, (300, 300, 3)).clip(0, 255).astype(np.uint8)
    noise[100:104, 100:104] = orange = (255, 128, 0)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    before = base64.b64encode(file.getvalue()).decode()
    cell = new_code_cell("1", outputs=[new_output("display_data", data={"image/png": before})])
    run.clean(new_notebook(cells=[cell]))
    after = cell.outputs[0].data["image/png"]
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(after))).convert("RGB"))
    assert len(before) > run.LARGE_PICTURE and len(after) < 0.5 * len(before)
    assert shown.shape == noise.shape and np.abs(shown.astype(int) - noise).mean() < 12
    assert np.abs(shown[100:104, 100:104].astype(int) - orange).max() < 12  # a rare colour counts as much as others


def test_a_source_goes_on_in_further_files(project):
    folder = project / "notebooks"
    for name in ("a", "a.2", "a.3", "b"):
        (folder / f"{name}.nb.py").write_text(f"# %%\n'{name}'\n", encoding="utf-8")
    assert [path.name for path in run.find_sources([])] == ["a.nb.py", "b.nb.py"]
    assert [cell.source for cell in run.read_source(folder / "a.nb.py").cells] == ["'a'", "'a.2'", "'a.3'"]


def test_missing_jupytext_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jupytext", None)
    with pytest.raises(UsageError, match=r'pip install -e ".\[dev\]"'):
        run.read_source(tmp_path / "n.nb.py")


def test_a_stopped_build_says_what_is_built_and_how_to_go_on(project, monkeypatch, capsys):
    for name in "abc":
        (project / "notebooks" / f"{name}.nb.py").write_text("# %%\n1\n", encoding="utf-8")

    async def execute(notebook, name, *_):
        if name == "b":
            raise run._Stopped
        return run.Outcome(name)

    monkeypatch.setattr(run, "execute", execute)
    assert main(["build"]) == 130
    assert (
        capsys.readouterr().err.strip() == "dl build: stopped. 1 of 3 notebooks are built. Go on with: python -m dl build b c"
    )
    assert [file.name for file in (project / "notebooks").glob("*.ipynb")] == ["a.ipynb"]
