"""The lesson code of a folder, loaded as it is on disk, beside whatever else is imported in this process."""

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
        return {Path(module.__file__).name: module.__source__ for module in self.modules}

    def stub_text(self, exercise: str) -> str | None:
        """The words of the exercise's stub, None if it is no stub: `raise NotImplementedError("EXERCISE name: …")`."""
        mark = f"EXERCISE {exercise}:"
        for module in self.modules:
            if mark in module.__source__:
                for node in ast.walk(ast.parse(module.__source__)):
                    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                        words = [a.value for a in node.exc.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
                        if words and words[0].startswith(mark):
                            return words[0]
        return None


def _load(name: str, root: Path) -> types.ModuleType:
    path = root / (name.replace(".", "/") + ".py")
    module = types.ModuleType(name)
    module.__file__ = str(path)
    module.__package__ = name.rpartition(".")[0]
    try:
        with tokenize.open(path) as file:  # as Python reads it: byte-order mark, coding line
            module.__source__ = file.read()
    except (OSError, UnicodeDecodeError, SyntaxError) as error:
        raise Broken(f"{path.name} cannot be read: {error}") from error
    sys.modules[name] = module
    try:
        exec(compile(module.__source__, str(path), "exec"), vars(module))  # the lesson itself, as an import would run it
    except SyntaxError as error:
        raise Broken(f"{path.name} line {error.lineno}: {error.msg}: {(error.text or '').strip()}") from error
    except (Exception, SystemExit) as error:
        raise Broken(f"{path.name} cannot be imported: {type(error).__name__}: {error}") from error
    return module
