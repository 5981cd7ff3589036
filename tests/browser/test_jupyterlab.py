"""The notebooks in a real browser, as a student meets them; `make test-browser` runs this, and nothing else does.

Chromium is the program that CHROMIUM names, or one on the PATH, or Playwright's own (`python -m playwright install chromium`).
Screenshots go to build/browser/.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dl.notebook_files import COURSE_ORDER

pytestmark = pytest.mark.browser

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "build" / "browser"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
STARTING, RUNNING, RENDERING = 60, 300, 300  # seconds at most: the server, a cell, a page
NOTEBOOK, LESSON = "practice/notebooks/rnn_lstm_captioning.ipynb", "practice/rnn_lstm_captioning.py"
OPENING = ("hello_rnn_lstm_captioning", "from a2_helper import", "session.exercises()", "IMAGE_SHAPE,", "load_coco_captions()")
OPENING += ("draw.show_captioned", "draw.unrolled_rnn")
BY_HAND, CHECK = "next_h by hand", 'session.exercise("rnn_step_forward")'
BEFORE_TRAINING, TRAINING = ("overfits = ", "OVERFIT = "), "the RNN memorises 32 captions"
VIEWS = {  # of the server, and what is true when the page is there
    "lab/tree": "() => document.querySelector('.jp-Notebook .jp-CodeCell') && document.querySelector('mjx-container')",
    "nbclassic/notebooks": "() => document.querySelector('.code_cell') && document.querySelector('.MathJax')",
}
SETTLING = 5  # seconds, again and again, for formulas and figures far below
SIZE = {"width": 1280, "height": 900}
SETTINGS = {  # every cell is in the page, also out of sight; no news from elsewhere
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
# What a reader would take for TeX: texts outside of formulas and code. And pictures of which a part cannot be seen.
RAW_TEX = r"""() => {
  const typeset = 'mjx-container, .MathJax, .MathJax_Preview, script, style, pre, code, .cm-editor, .CodeMirror, svg';
  const walker = document.createTreeWalker(document.querySelector('.jp-Notebook, #notebook-container'), NodeFilter.SHOW_TEXT);
  const found = [];
  for (let node = walker.nextNode(); node; node = walker.nextNode())
    if (/\$|\\[a-zA-Z]+/.test(node.data) && !node.parentElement.closest(typeset)) found.push(node.data.trim());
  const wrong = document.querySelectorAll('mjx-merror, .MathJax_Error, .merror');
  return found.concat([...wrong].map(formula => formula.textContent));
}"""
CUT = """() => [...document.querySelectorAll('.jp-OutputArea-output, .output_subarea, .jp-MarkdownOutput, .rendered_html')]
  .filter(area => area.querySelector('img, table, svg') && area.scrollWidth > area.clientWidth + 1)
  .map(area => `${area.scrollWidth} in ${area.clientWidth} pixels: ${area.textContent.trim().slice(0, 60)}`)
  .concat([...document.images].filter(image => !image.naturalWidth).map(image => `not shown: ${image.alt}`))"""


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A practice copy in `practice`, beside it the built notebooks in `built`."""
    folder = tmp_path_factory.mktemp("course")
    subprocess.run([sys.executable, "-m", "dl", "practise", str(folder / "practice")], cwd=ROOT, check=True)
    (folder / "built").mkdir()
    for name in COURSE_ORDER:
        shutil.copy(ROOT / "notebooks" / f"{name}.ipynb", folder / "built")
    return folder


@pytest.fixture(scope="module")
def address(course, tmp_path_factory):
    """Of a server of Jupyter for that folder, which sees nothing of the user's own settings."""
    home = tmp_path_factory.mktemp("home")
    for name, values in SETTINGS.items():
        file = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values), encoding="utf-8")
    places = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR")
    environment = os.environ | {name: str(home / name.lower()) for name in places}
    environment |= {"JUPYTERLAB_SETTINGS_DIR": str(home / "settings"), "DL_DEVICE": "cpu", "DL_DATA": "sample"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    options = ["--no-browser", "--port=0", "--IdentityProvider.token=", f"--ServerApp.root_dir={course}", "--allow-root"]
    options += ["--ServerApp.jpserver_extensions", "nbclassic=True"]
    with (home / "log").open("w", encoding="utf-8") as log:
        server = subprocess.Popen([sys.executable, "-m", "jupyterlab", *options], env=environment, stdout=log, stderr=log)
    try:
        yield _address(home)
    finally:
        server.terminate()
        server.wait()


def _address(home: Path) -> str:
    end = time.monotonic() + STARTING
    while time.monotonic() < end:
        found = re.search(r"http://(?:localhost|127\.0\.0\.1):\d+/", (home / "log").read_text(encoding="utf-8"))
        if found:
            return found[0]
        time.sleep(0.2)
    raise TimeoutError((home / "log").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    program = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    switches = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*switches, "--no-sandbox", "--disable-quic"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport=SIZE)
    page.set_default_timeout(RUNNING * 1000)
    yield page
    page.close()


class Lab:
    """A notebook in JupyterLab, handled as with mouse and keyboard."""

    def __init__(self, page, address: str, path: str):
        self.page, self.address, self.path = page, address, path
        page.goto(f"{address}lab/tree/{path}?reset")
        page.wait_for_selector(".jp-Notebook .jp-Cell")
        self.wait_until_idle()

    def cell(self, words: str):
        """The first code cell with these words."""
        return self.page.locator(".jp-Notebook .jp-CodeCell", has=self.page.locator(".cm-content", has_text=words)).first

    def run(self, words: str):
        """Run that cell to its end; returns what stands below it."""
        self.start(words)
        return self.output(words)

    def start(self, words: str) -> None:
        self.cell(words).locator(".jp-InputPrompt").click()
        self.page.keyboard.press("Shift+Enter")

    def output(self, words: str) -> str:
        """What stands below that cell when it is done."""
        from playwright.sync_api import expect

        expect(self.cell(words).locator(".jp-InputPrompt")).to_have_text(re.compile(r"\[\d+\]:"), timeout=RUNNING * 1000)
        self.wait_until_idle()
        return self.cell(words).locator(".jp-Cell-outputWrapper").inner_text()

    def insert_below(self, words: str, source: str) -> None:
        self.cell(words).locator(".jp-InputPrompt").click()
        self.page.keyboard.press("b")
        self.page.keyboard.press("Enter")
        self.page.keyboard.insert_text(source)
        self.page.keyboard.press("Escape")

    def press(self, command: str) -> None:
        """A button of the notebook's toolbar."""
        self.page.locator(f".jp-NotebookPanel-toolbar [data-command='notebook:{command}']").first.click()

    def wait_until_idle(self) -> None:
        """Until the kernel is there, is connected to the page, and does nothing. The page says "Idle" also before that."""
        end = time.monotonic() + RUNNING
        while time.monotonic() < end:
            sessions = self.page.request.get(f"{self.address}api/sessions").json()
            kernels = [session["kernel"] for session in sessions if session["path"] == self.path]
            if kernels and all(kernel["execution_state"] == "idle" and kernel["connections"] > 0 for kernel in kernels):
                return
            self.page.wait_for_timeout(200)
        raise TimeoutError(f"kernels: {kernels}")

    def picture(self, name: str, words: str) -> None:
        self.cell(words).scroll_into_view_if_needed()
        self.page.screenshot(path=PICTURES / f"{name}.png")


def save_in_editor(page, address: str, path: str, text: str, file: Path) -> None:
    """Open a file in JupyterLab's editor, put this text in its place, and save it; `file` is the same on this disk."""
    page.goto(f"{address}lab/tree/{path}?reset")
    page.locator(".jp-FileEditor .cm-content").click()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(text)
    page.keyboard.press("Control+s")
    for _ in range(100):
        if file.read_text(encoding="utf-8") == text:
            return
        page.wait_for_timeout(200)
    raise TimeoutError(f"{file} was not saved as it stands in the editor")


def test_a_student_meets_an_exercise_takes_hints_solves_it_trains_stops_and_restarts(page, address, course):
    lab = Lab(page, address, NOTEBOOK)
    assert "Using CPU" in lab.run("setup(")
    for words in OPENING:
        lab.run(words)
    lab.picture("1_first_cells", "draw.show_captioned")
    assert lab.cell("draw.show_captioned").locator("img").count() == 1

    said = lab.run(BY_HAND)
    assert "rnn_step_forward" in said and "Traceback" not in said
    lab.run(CHECK)
    lab.picture("2_missing_exercise", BY_HAND)
    lab.insert_below(CHECK, "hint()")
    assert "hint 1 of 3" in lab.run("hint()")
    assert "hint 2 of 3" in lab.run("hint()")
    lab.picture("3_hint", "hint()")
    page.keyboard.press("Control+s")

    solved = (ROOT / Path(LESSON).name).read_text(encoding="utf-8")
    save_in_editor(page, address, LESSON, solved, course / LESSON)
    page.screenshot(path=PICTURES / "4_editor.png")
    lab = Lab(page, address, NOTEBOOK)
    assert "ok: next_h by hand agrees" in lab.run(BY_HAND)  # in the same kernel, which reads the file again
    assert "2 checks passed" in lab.run(CHECK)
    lab.picture("5_passed", BY_HAND)

    for words in BEFORE_TRAINING:
        lab.run(words)
    lab.start(TRAINING)
    lab.cell(TRAINING).get_by_text("(Epoch 0").first.wait_for()
    lab.press("interrupt-kernel")
    lab.picture("6_stopped", TRAINING)
    assert "the model keeps what it has learned" in lab.output(TRAINING)
    assert "Using CPU" in lab.run("setup(")  # the kernel lives

    lab.press("restart-kernel")
    page.get_by_role("button", name="Confirm Kernel Restart").click()
    page.wait_for_timeout(1000)  # the server says so later than the page
    lab.wait_until_idle()
    assert "NameError" in lab.run(BY_HAND)
    lab.run("setup(")
    lab.picture("7_restarted", "setup(")


@pytest.mark.parametrize("name", COURSE_ORDER)
@pytest.mark.parametrize(("view", "ready"), VIEWS.items())
def test_a_built_notebook_shows_no_raw_tex_and_no_cut_picture(page, address, name, view, ready):
    page.goto(f"{address}{view}/built/{name}.ipynb?reset")
    page.wait_for_function(ready, timeout=RENDERING * 1000)
    for _ in range(RENDERING // SETTLING):
        page.wait_for_timeout(SETTLING * 1000)
        if not (raw := page.evaluate(RAW_TEX)):
            break
    page.screenshot(path=PICTURES / f"{view.partition('/')[0]}_{name}.png")
    assert raw == [] and page.locator("mjx-container, .MathJax").count() > 50
    assert page.evaluate(CUT) == []
