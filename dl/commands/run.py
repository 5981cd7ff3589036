"""Execute notebooks top to bottom on a fresh kernel, and build the committed ones from their sources.

`run` executes `notebooks/*.ipynb` as a user would, in `notebooks/` and with this Python, into `build/notebooks/`.
`build` reads the source `NAME.nb.py`, executes it and writes `NAME.ipynb` without what differs between machines.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import copy
import html
import io
import json
import math
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
from nbformat import NotebookNode
from PIL import Image

from dl import settings
from dl.console import BAR, FAILURE, SUCCESS, UsageError, after_returns, progress, say, say_unless_terminal, write_json
from dl.notebook_files import (
    METADATA,
    SOURCE_ENDING,
    add_hosting,
    find_notebooks,
    find_sources,
    read_notebook,
    read_source,
    repository,
    shown,
    write_notebook,
)

if TYPE_CHECKING:
    from nbclient import NotebookClient

SHOWN_SCORES = 4  # in the table; the JSON has all
LONGEST_SOCKET_FOLDER = 80  # bytes: the path of a Unix socket has at most 103 on macOS, and its name needs 20
SILENCE = 60  # seconds after which a line that a long cell prints, or its progress bar, is shown
LARGE_PICTURE = 100_000  # characters of base64
MEMORY_EACH = 6_000_000_000  # bytes: twice what a notebook takes on the sample world; half is left to other programs
SHORTEST = ("Self_Supervised_Learning",)  # started last, so that all that run at once end at about the same time
PASSED, FAILED = "passed", "failed"
PEAK_MEMORY = {  # per platform: what gives a process its own peak, in bytes
    "linux": "int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]) * 1024",
    "darwin": "__import__('resource').getrusage(0).ru_maxrss",
    "win32": "__import__('psutil').Process().memory_info().peak_wset",
}


@dataclass
class Outcome:
    """What became of one notebook. `problem` is "" or says in which section and cell it stopped, and why."""

    notebook: str
    status: str = PASSED
    cells: int = 0
    checks: int = 0
    missed: list[str] = field(default_factory=list)  # targets that were not reached
    scores: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    peak_memory_bytes: int | None = None  # of the kernel, without processes that it starts; None where it is not known
    problem: str = ""


def run(
    names: list[str],
    data: str | None = None,
    device: str | None = None,
    out: str | None = None,
    json_file: str | None = None,
    jobs: int | None = None,
) -> int:
    """The verb `run`: execute notebooks, print the table; FAILURE if a cell raised.

    Args:
        jobs: how many at once, each with its part of the cores; None: what cores and memory allow.
    Raises:
        KeyboardInterrupt: after Ctrl-C; its text says what is kept and how to go on.
    """
    paths = find_notebooks(names)
    environment = kernel_environment(data, device)
    folder = Path(out) if out else settings.work_root() / "build" / "notebooks"
    at_once = max(1, min(jobs or _default_jobs(environment), len(paths)))
    if at_once > 1:  # else they take the cores from each other
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // at_once)))
    started = time.time()
    executed = asyncio.run(_run_all(paths, folder, environment, at_once))
    if len(executed) < len(paths):
        raise KeyboardInterrupt(_how_to_go_on(paths, [path for path in paths if path not in executed], folder, data, device))
    outcomes = [executed[path] for path in paths]
    print("\n" + table(outcomes))
    for outcome in outcomes:
        for target in outcome.missed:
            print(f"target missed in {outcome.notebook}: {target}")
    failed = [outcome.notebook for outcome in outcomes if outcome.status == FAILED]
    if json_file:
        write_json(
            json_file,
            {
                "data": environment.get("DL_DATA") or settings.SAMPLE,
                "seconds": round(time.time() - started, 1),
                "passed": len(outcomes) - len(failed),
                "failed": len(failed),
                "notebooks": [vars(outcome) for outcome in outcomes],
            },
        )
    done = f"{len(outcomes) - len(failed)} of {len(outcomes)} notebooks ran to the end"
    print(f"{done}; executed copies are in {shown(folder)}." + (f" Failed: {', '.join(failed)}." if failed else ""))
    return FAILURE if failed else SUCCESS


def _default_jobs(environment: dict[str, str]) -> int:
    """Notebooks at once: one per core and per `MEMORY_EACH`; one on an accelerator, and with the long real trainings."""
    alone = environment["DL_DATA"] == settings.REAL or settings.get_device(environment.get("DL_DEVICE")).type != "cpu"
    if alone or not hasattr(os, "sysconf"):  # Windows does not tell its memory this way
        return 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(os.cpu_count() or 1, memory // MEMORY_EACH))


def _how_to_go_on(paths: list[Path], left: list[Path], folder: Path, data: str | None, device: str | None) -> str:
    """What a stop leaves of these notebooks, of which those `left` were not executed to their end."""
    command = ["python -m dl run", *(path.stem if path.parent.name == "notebooks" else str(path) for path in left)]
    command += [f"--data {data}"] * bool(data) + [f"--device {device}"] * bool(device)
    executed = f"{len(paths) - len(left)} of {len(paths)} notebooks are executed, in {shown(folder)}"
    return f"{executed}. Go on with: {' '.join(command)}"


async def _run_all(paths: list[Path], folder: Path, environment: dict[str, str], at_once: int) -> dict[Path, Outcome]:
    """Execute copies into `folder`; those that Ctrl-C ended or kept from starting have no outcome."""
    gate = asyncio.Semaphore(at_once)
    done: dict[Path, Outcome] = {}

    async def run_one(path: Path) -> None:
        async with gate:
            if pressed.done():
                return
            say(f"{path.stem}: started")
            with contextlib.suppress(_Stopped):
                done[path] = outcome = await _run_one(path, folder, environment, pressed)
                say(f"{path.stem}: {outcome.problem or outcome.status}")

    with _ctrl_c() as pressed:
        await asyncio.gather(*map(run_one, sorted(paths, key=lambda path: path.stem in SHORTEST)))
    return done


async def _run_one(path: Path, folder: Path, environment: dict[str, str], pressed: asyncio.Future) -> Outcome:
    """Execute a copy of one notebook into `folder`; one that cannot be read is a failed one."""
    try:
        notebook = read_notebook(path)
    except (ValueError, OSError) as error:
        return Outcome(path.stem, FAILED, problem=str(error).removeprefix("read_text: "))
    outcome = await execute(notebook, path.stem, path.parent, environment, pressed)
    write_notebook(notebook, folder / path.name)
    return outcome


def build(names: list[str]) -> int:
    """The verb `build`: sources to executed, cleaned notebooks; one that fails leaves the old notebook in place.

    Raises:
        KeyboardInterrupt: after Ctrl-C; its text says what is kept and how to go on.
    """
    environment = kernel_environment(settings.SAMPLE, None)
    failed = []
    paths, address = find_sources(names), repository(settings.project_root())
    for number, path in enumerate(paths):
        name = path.name.removesuffix(SOURCE_ENDING)
        say(f"{name}: started")
        notebook = read_source(path)
        add_hosting(notebook, name, address)
        try:
            outcome = asyncio.run(_execute_alone(notebook, name, path.parent, environment))
        except _Stopped:
            left = " ".join(source.name.removesuffix(SOURCE_ENDING) for source in paths[number:])
            built = f"{number} of {len(paths)} notebooks are built."
            raise KeyboardInterrupt(f"{built} Go on with: python -m dl build {left}") from None
        for line in clean(notebook):
            say(f"{name}: left out of the outputs: {line}")
        if outcome.status == FAILED:
            failed.append(name)
            target = settings.work_root() / "build" / "notebooks" / f"{name}.ipynb"
        else:
            target = path.with_name(f"{name}.ipynb")
        write_notebook(notebook, target)
        result = f"{outcome.problem or outcome.status}, {outcome.checks} checks, {outcome.seconds:.0f} s"
        say(f"{name}: {result}: {shown(target)}")
    print(f"Failed: {', '.join(failed)}; their notebooks are left as they were." if failed else "All are built.")
    return FAILURE if failed else SUCCESS


def kernel_environment(data: str | None, device: str | None) -> dict[str, str]:
    """Environment of the kernels: this process's, with the choices made and this project's `dl` first on the path.

    Raises:
        UsageError: if this machine has no such device, or DL_DATA is neither sample nor real.
    """
    try:
        settings.get_device(device)
        data = data or settings.data_mode()
    except (ValueError, RuntimeError) as error:
        raise UsageError(str(error)) from error
    paths = [str(settings.project_root()), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "DL_DATA": data, "DL_UNATTENDED": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    environment.pop("MPLBACKEND", None)  # a cluster's choice for scripts: a kernel draws into the notebook
    return {**environment, "DL_DEVICE": device} if device else environment


class _Stopped(Exception):
    """Ctrl-C has ended the kernel."""


async def _execute_alone(notebook: NotebookNode, name: str, folder: Path, environment: dict[str, str]) -> Outcome:
    with _ctrl_c() as pressed:
        return await execute(notebook, name, folder, environment, pressed)


async def execute(
    notebook: NotebookNode, name: str, folder: Path, environment: dict[str, str], pressed: asyncio.Future
) -> Outcome:
    """Execute a notebook in place, its outputs written into it; `folder` is its working folder.

    A cell that raises or a kernel that dies ends it, as the outcome's problem.

    Args:
        pressed: done when the user pressed Ctrl-C: the kernel is ended.
    Raises:
        _Stopped: then.
    """
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    for cell in _code_cells(notebook):
        cell.outputs, cell.execution_count = [], None
    outcome = Outcome(name, cells=len(_code_cells(notebook)))
    place = _Place()
    started = time.time()
    try:
        await _execute_cells(notebook, name, folder, environment, pressed, place)
    except CellExecutionError as error:
        outcome.status, outcome.problem = FAILED, f"{place}: {error.ename}: {error.evalue}"
    except DeadKernelError:
        outcome.status = FAILED
        outcome.problem = f"{place}: the kernel died. Most often memory ran out: close programs and run it again."
    outcome.seconds, outcome.peak_memory_bytes = round(time.time() - started, 1), place.peak_memory
    said = "\n".join(_said(cell) for cell in _code_cells(notebook))
    outcome.checks = sum(line.startswith("ok: ") for line in said.splitlines())
    outcome.missed = re.findall("^target missed: (.*)", said, re.M)
    results = settings.work_root() / "results" / f"{name}.json"
    if results.is_file() and results.stat().st_mtime >= started - 1:  # some file systems keep whole seconds
        scores = json.loads(results.read_text(encoding="utf-8"))["scores"]
        outcome.scores = {name: math.nan if value is None else value for name, value in scores.items()}
    return outcome


def table(outcomes: list[Outcome]) -> str:
    """Notebook, cells, checks passed, seconds, peak memory, key scores: one line each under a header."""
    rows = [("notebook", "cells", "checks", "seconds", "memory", "scores")]
    for outcome in outcomes:
        scores = list(outcome.scores.items())[:SHOWN_SCORES]
        shown = ", ".join(f"{name} {value:.3g}" for name, value in scores)
        more = len(outcome.scores) - len(scores)
        rows.append(
            (
                outcome.notebook,
                str(outcome.cells),
                str(outcome.checks),
                f"{outcome.seconds:.0f}",
                "?" if outcome.peak_memory_bytes is None else f"{outcome.peak_memory_bytes / 1e9:.1f} GB",
                ("FAILED " if outcome.status == FAILED else "") + shown + (f", {more} more in results/" if more else ""),
            )
        )
    first, *numbers = (max(len(row[column]) for row in rows) for column in range(5))
    lines = []
    for name, *counts, told in rows:
        aligned = (count.rjust(width) for count, width in zip(counts, numbers, strict=True))
        lines.append("  ".join((name.ljust(first), *aligned, told)).rstrip())
    return "\n".join(lines)


def clean(notebook: NotebookNode) -> list[str]:
    """Take out of an executed notebook what is live or of this machine; returns the lines of stderr that went.

    Progress bars, widgets and all of stderr go; what a carriage return overwrote goes; folders of this machine and
    memory addresses in texts are shortened; large images keep 256 colours; metadata are the fixed ones, and tags.
    """
    left_out: list[str] = []
    notebook.metadata = NotebookNode(copy.deepcopy(METADATA))
    for cell in notebook.cells:
        cell.metadata = NotebookNode({"tags": cell.metadata["tags"]} if "tags" in cell.metadata else {})
    for cell in _code_cells(notebook):
        kept: list[NotebookNode] = []
        for output in cell.outputs:
            if output.output_type == "stream":
                text = "\n".join(line for line in map(after_returns, output.text.split("\n")) if not BAR.search(line))
                if output.name == "stderr":
                    left_out += [line for line in text.splitlines() if line.strip()]
                    continue
                if kept and kept[-1].output_type == "stream":  # the bar between them is gone: one text again
                    kept[-1].text += _without_machine(text)
                elif text:
                    kept.append(nbformat.v4.new_output("stream", name="stdout", text=_without_machine(text)))
            elif "data" in output and "application/vnd.jupyter.widget-view+json" in output.data:
                continue
            else:
                for kind, value in output.get("data", {}).items():
                    if kind == "image/png" and len(value) > LARGE_PICTURE:
                        output.data[kind] = _with_few_colours(value)
                    if kind.startswith("text/") and "base64," not in value:
                        output.data[kind] = _without_machine(value)
                kept.append(output)
        cell.outputs = kept
    return left_out


def _with_few_colours(png: str) -> str:
    """A PNG, in base64, with 256 colours, a third of the size. Rare colours count as much as frequent ones, so that a small
    orange car stays orange and colour bars stay smooth."""
    picture, file = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB"), io.BytesIO()
    picture.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=1).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode() + "\n"


# --- Executing ---


@dataclass
class _Place:
    """Where in a notebook the execution is."""

    section: str = "start"
    cell: int = 0
    peak_memory: int | None = None  # bytes

    def __str__(self) -> str:
        return f'section "{self.section}", code cell {self.cell}'


async def _execute_cells(
    notebook: NotebookNode, name: str, folder: Path, environment: dict[str, str], pressed: asyncio.Future, place: _Place
) -> None:
    """Execute all cells; raises what a cell raised, or `_Stopped`."""
    total = len(_code_cells(notebook))
    started = time.time()
    bar_format = "{desc} {n_fmt}/{total_fmt} |{bar:20}| {elapsed}{postfix}"
    with tempfile.TemporaryDirectory(prefix="dl-") as runtime, progress(total=total, desc=name, bar_format=bar_format) as bar:
        client = _client(notebook, Path(runtime), _Said(name, place, bar, started))
        async with _kernel(client, cwd=str(folder), env=environment):
            running: asyncio.Future = asyncio.ensure_future(asyncio.sleep(0))
            for index, cell in enumerate(notebook.cells):
                if cell.cell_type == "markdown":
                    place.section = _last_heading(cell.source) or place.section
                if cell.cell_type != "code":
                    continue
                place.cell += 1
                bar.set_postfix_str(place.section[:40])
                say_unless_terminal(f"{_elapsed(started)}  {name}, cell {place.cell} of {total}: {place.section}")
                running = asyncio.ensure_future(client.async_execute_cell(cell, index))
                await asyncio.wait({running, pressed}, return_when=asyncio.FIRST_COMPLETED)
                if pressed.done():
                    running.cancel()
                    await asyncio.gather(running, return_exceptions=True)
                    raise _Stopped
                if running.exception() is not None:
                    break
                bar.update()
            place.peak_memory = await _peak_memory(client)
            await running  # raises what the last cell raised


def _elapsed(since: float) -> str:
    minutes, seconds = divmod(int(time.time() - since), 60)
    return f"  {minutes}:{seconds:02d}"


@dataclass
class _Said:
    """Shows what a cell prints and how far its bars are, so that hours are no silence: in the bar, or in a line a minute."""

    name: str
    place: _Place
    bar: Any
    started: float
    shown: float = field(default_factory=time.time)

    def __call__(self, text: str) -> None:
        line = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
        self.bar.set_postfix_str(f"{self.place.section[:40]}: {line[:50]}")
        if line and time.time() - self.shown >= SILENCE:
            self.shown = time.time()
            say_unless_terminal(f"{_elapsed(self.started)}  {self.name}, cell {self.place.cell}: {line[:100]}")


@dataclass
class _Shown:
    """The text that a kernel's messages show: what is printed, and progress bars, also those that are made of widgets."""

    values: dict[str, str] = field(default_factory=dict)  # widget -> its text
    boxes: dict[str, list[str]] = field(default_factory=dict)  # widget -> all in its box: texts left and right of a bar

    def __call__(self, kind: str, content: dict) -> str:
        if kind == "stream":
            return content["text"]
        state = content.get("data", {}).get("state", {}) if kind in ("comm_open", "comm_msg") else {}
        if "children" in state:
            members = [member.removeprefix("IPY_MODEL_") for member in state["children"]]
            self.boxes |= dict.fromkeys(members, members)
        if not isinstance(state.get("value"), str):
            return ""
        self.values[content["comm_id"]] = state["value"]
        text = "".join(self.values.get(member, "") for member in self.boxes.get(content["comm_id"], []))
        return html.unescape(re.sub("<[^>]*>", "", text)).replace("\u2007", " ")  # tqdm's space


def _client(notebook: NotebookNode, runtime: Path, said: Callable[[str], None]) -> NotebookClient:
    from nbclient import NotebookClient

    shown = _Shown()

    class Client(NotebookClient):
        def process_message(self, msg: dict, cell: NotebookNode, cell_index: int):
            if text := shown(msg["msg_type"], msg["content"]):
                said(text)
            return super().process_message(msg, cell, cell_index)

    return Client(notebook, km=_kernel_manager(runtime), record_timing=False)


@contextlib.asynccontextmanager
async def _kernel(client: NotebookClient, **start: Any) -> AsyncIterator[None]:
    """nbclient's own set-up without its signal handlers, which notebooks executed at once would take from each other."""
    try:
        await client.async_start_new_kernel(**start)
        await client.async_start_new_kernel_client()
        yield
    finally:
        client.shutdown_kernel = "immediate"  # nothing in it is needed any more
        await client._async_cleanup_kernel()


@contextlib.contextmanager
def _ctrl_c() -> Iterator[asyncio.Future]:
    """A future that Ctrl-C completes."""
    loop = asyncio.get_running_loop()
    pressed = loop.create_future()

    def press() -> None:
        if not pressed.done():
            pressed.set_result(None)

    before = signal.getsignal(signal.SIGINT)
    try:
        loop.add_signal_handler(signal.SIGINT, press)
    except NotImplementedError:  # Windows
        signal.signal(signal.SIGINT, lambda *_: loop.call_soon_threadsafe(press))
    try:
        yield pressed
    finally:
        if sys.platform == "win32":
            signal.signal(signal.SIGINT, before)


async def _peak_memory(client: NotebookClient) -> int | None:
    """Bytes of memory that the kernel's process has had at most; None if it cannot say."""
    manager: Any = client.km  # an AsyncKernelManager
    if sys.platform not in PEAK_MEMORY or client.kc is None or not await manager.is_alive():
        return None
    asked = client.kc.execute("", silent=True, user_expressions={"peak": PEAK_MEMORY[sys.platform]})
    reply = await client.async_wait_for_reply(asked)
    answer = ((reply or {}).get("content", {}).get("user_expressions") or {}).get("peak", {})
    return int(answer["data"]["text/plain"]) if answer.get("status") == "ok" else None


def _kernel_manager(runtime: Path):
    """A kernel of this very Python, whatever kernels the user has registered; sockets in `runtime` if its path is short."""
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import NATIVE_KERNEL_NAME, KernelSpecManager

    too_long = len(os.fsencode(runtime)) > LONGEST_SOCKET_FOLDER
    return AsyncKernelManager(
        kernel_name=NATIVE_KERNEL_NAME,
        kernel_spec_manager=KernelSpecManager(kernel_dirs=[]),
        transport="tcp" if sys.platform == "win32" or too_long else "ipc",
        connection_file=str(runtime / "kernel.json"),
    )


def _last_heading(markdown: str) -> str:
    """Text of the last heading of a Markdown cell, "" if it has none."""
    headings = re.findall(r"^#{1,6}\s+(.+?)\s*#*\s*$", re.sub(r"^```.*?^```", "", markdown, flags=re.M | re.S), re.M)
    return headings[-1] if headings else ""


# --- Finding, reading, cleaning ---


def _code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The code cells that are executed: those with something in them."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def _said(cell: NotebookNode) -> str:
    """What a code cell printed or showed as text."""
    printed = (output.text for output in cell.outputs if output.output_type == "stream" and output.name == "stdout")
    shown = (output.data.get("text/plain", "") for output in cell.outputs if output.output_type == "display_data")
    return "\n".join([*printed, *shown])


_ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]{6,}")


def _without_machine(text: str) -> str:
    """Paths below the project relative to it, other known folders by a short name, no memory addresses."""
    root = settings.project_root()
    for folder, short in ((f"{root}{os.sep}", ""), (root, "."), (sys.prefix, "PYTHON"), (Path.home(), "~")):
        text = text.replace(str(folder), short)
    return _ADDRESS.sub("at 0x…", text)
