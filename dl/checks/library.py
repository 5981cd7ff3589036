"""The lesson code of a folder: its text, which is only read, and the code, loaded beside whatever else is imported here."""

from __future__ import annotations

import ast
import sys
import tokenize
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from dl.checks.exercise import MODULES


class Broken(Exception):
    """A lesson module that cannot be loaded; the message says which and why."""


class Stopped(Exception):
    """The student's code gave no result. `kind` is "timeout", "crashed", "memory", or in grading "forbidden"; the message
    says it in words.
    """

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(words)
        self.kind = kind


class Source:
    """The texts of one topic's modules, read from `root`. Nothing of them is run."""

    def __init__(self, root: Path, topic: str) -> None:
        """Read the modules.

        Raises:
            Broken: if a file is missing or is no Python.
        """
        self.root, self.topic = Path(root), topic
        self.trees: dict[str, ast.Module] = {}
        self._texts = {name: read(name, self.root) for name in MODULES[topic]}
        for name, text in self._texts.items():
            try:
                self.trees[name] = ast.parse(text)
            except SyntaxError as error:
                raise Broken(_at_line(name, error)) from error
            except (ValueError, RecursionError, MemoryError) as error:  # zero bytes, thousands of brackets
                raise Broken(f"{_file(name).name} is no Python that can be read: {error or type(error).__name__}") from error

    @cached_property
    def sources(self) -> dict[str, str]:
        """The text of each module, by file name."""
        return {_file(name).name: text for name, text in self._texts.items()}

    def stub_text(self, exercise: str) -> str | None:
        """The words of the exercise's stub, None if it is no stub: `raise NotImplementedError("EXERCISE name: …")`."""
        mark = f"EXERCISE {exercise}:"
        for name, text in self._texts.items():
            if mark in text:
                for node in ast.walk(self.trees[name]):
                    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                        words = [a.value for a in node.exc.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
                        if words and words[0].startswith(mark):
                            return words[0]
        return None

    def module_of(self, exercise: str) -> str:
        """The module that defines an exercise; the first one if none does."""
        owner = exercise.partition(".")[0]
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        for name, tree in self.trees.items():
            if any(isinstance(node, kinds) and node.name == owner for node in tree.body):
                return name
        return MODULES[self.topic][0]


class Library:
    """The modules of one topic, read from `root`; attributes are looked up in all of them."""

    def __init__(self, root: Path, topic: str) -> None:
        """Load the modules.

        Raises:
            Broken: if a file is missing, is no Python, or fails while it is imported.
        """
        self.root, self.topic = Path(root), topic
        names = MODULES[topic]
        before = {name: sys.modules.get(name) for name in names}
        try:
            self.modules = [_load(name, self.root) for name in names]
        finally:
            for name, module in before.items():
                sys.modules.pop(name, None)
                if module is not None:
                    sys.modules[name] = module

    def __getattr__(self, name: str):
        for module in self.__dict__.get("modules", ()):
            if name in vars(module):
                return getattr(module, name)
        raise AttributeError(f"{self.topic}: the lesson has no {name}")

    def find(self, exercise: str):
        """The function or method of that name, None if it is not there."""
        owner, _, method = exercise.partition(".")
        value = getattr(self, owner, None)
        if method:
            value = vars(value).get(method) if isinstance(value, type) else None
        return value

    @contextmanager
    def patched(self, replacements: Mapping[str, Callable]) -> Iterator[Library]:
        """Put other functions in the places of exercises for a while, wherever the modules refer to them."""
        undo: list[tuple[object, str, object]] = []
        absent = object()
        try:
            for exercise, function in replacements.items():
                *owner, name = exercise.split(".")
                current = self.find(exercise)
                places = [getattr(self, owner[0])] if owner else [m for m in self.modules if vars(m).get(name) is current]
                for place in places or self.modules[:1]:
                    undo.append((place, name, vars(place).get(name, absent)))
                    setattr(place, name, function)
            yield self
        finally:
            for place, name, value in reversed(undo):
                if value is absent:
                    delattr(place, name)
                else:
                    setattr(place, name, value)

    @cached_property
    def sources(self) -> dict[str, str]:
        """The text of each module, by file name."""
        return {_file(module.__name__).name: vars(module)["__source__"] for module in self.modules}


def read(name: str, root: Path) -> str:
    """The text of a lesson module. Raises: Broken: if it cannot be read."""
    path = root / _file(name)
    try:
        with tokenize.open(path) as file:  # as Python reads it: UTF-8 unless a first line names another encoding
            return file.read()
    except (OSError, UnicodeDecodeError, SyntaxError) as error:
        other = next((file.name for file in path.parent.glob("*") if file.name.lower() == path.name.lower()), path.name)
        if other != path.name and isinstance(error, FileNotFoundError):  # for Windows and macOS it is the same name
            raise Broken(
                f"{path.name} is not there, but {other} is; wanted exactly the first name. Rename the file."
            ) from error
        raise Broken(
            f"{path.name} cannot be read: {error}. Give the folder of the code (--root), and save the file as UTF-8."
        ) from error


def _file(name: str) -> Path:
    return Path(name.replace(".", "/") + ".py")


def _at_line(name: str, error: SyntaxError) -> str:
    return f"{_file(name).name} line {error.lineno}: {error.msg}: {(error.text or '').strip()[:100]}"


def _load(name: str, root: Path) -> types.ModuleType:
    path = root / _file(name)
    module = types.ModuleType(name)
    module.__file__ = str(path)
    module.__package__ = name.rpartition(".")[0]
    vars(module)["__source__"] = source = read(name, root)
    sys.modules[name] = module
    try:
        exec(compile(source, str(path), "exec"), vars(module))  # the lesson itself, as an import would run it
    except SyntaxError as error:
        raise Broken(_at_line(name, error)) from error
    except (Exception, SystemExit) as error:
        raise Broken(f"{path.name} cannot be imported: {type(error).__name__}: {error}") from error
    return module
