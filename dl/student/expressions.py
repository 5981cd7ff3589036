"""Looks for the expressions of a solution in the code that a student has before their eyes beside its stub.

`leaks` finds lines; a guard that repeats a solution's rule in other words is no line of it. Here the expressions of a
solution are compared with those of the same module's hand-out and of the project's modules that it imports: without
regard to the names of variables, to keywords' names, and to whether a function is called as `f(x)`, `torch.f(x)` or `x.f()`.

What a solution calls is part of it: functions of the module and methods of the class, unless an exercise's comment in this
module names them in backquotes. A helper that stands there and does most of the work is found so.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dl.student import markers

LEAST = 2  # calls, operators and comprehensions in an expression that says something
LIBRARIES = {"torch", "F", "nn", "math", "np"}
COUNTED = (ast.Call, ast.BinOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.comprehension, ast.Lambda)
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Match:
    """An expression of a solution that the student sees: where, and in which exercise's solution it stands."""

    path: str
    line: int
    text: str
    exercise: str


def find(lessons: Mapping[str, str], seen: Mapping[str, str]) -> list[Match]:
    """Every expression of a solution that is visible beside its stub, once per line.

    Args:
        lessons: texts with solutions, by path. seen: the edition's Python texts, by path.
    """
    found: dict[tuple[str, int, str], Match] = {}
    for path, text in lessons.items():
        hidden = _of_solutions(text, path)
        for near in (path, *_imported(seen[path], seen)):
            tree = ast.parse(seen[near])
            for form, node in _expressions(tree, _global_names(tree)):
                if form in hidden:
                    match = Match(near, node.lineno, ast.unparse(node), hidden[form])
                    found.setdefault((near, node.lineno, match.exercise), match)
    return list(found.values())


def _of_solutions(text: str, path: str) -> dict[str, str]:
    """Form of each expression of the solutions, and of the helpers that they call -> the exercise."""
    tree, blocks = ast.parse(text), [block for block in markers.blocks(text, path) if block.name]
    names = _global_names(tree)
    given = " ".join(block.hint for block in blocks)
    exercises = {str(block.name).rpartition(".")[2] for block in blocks}
    helpers = {
        node.name: node
        for node in ast.walk(tree)
        if isinstance(node, Function) and node.name not in exercises and f"`{node.name}`" not in given
    }
    forms: dict[str, str] = {}
    for block in blocks:
        inside = [node for node in ast.walk(tree) if block.first < getattr(node, "lineno", 0) - 1 < block.last]
        called = {name for node in inside if (name := _called(node)) in helpers}
        for node in (*inside, *(part for name in sorted(called) for part in ast.walk(helpers[name]))):
            if isinstance(node, ast.expr) and (form := _form(node, names)):
                forms.setdefault(form, str(block.name))
    return forms


def _called(node: ast.AST) -> str:
    """Name of the function or the own method that is called, "" if none is."""
    if not isinstance(node, ast.Call):
        return ""
    if isinstance(node.func, ast.Attribute):
        owner = node.func.value
        return node.func.attr if isinstance(owner, ast.Name) and owner.id in ("self", "cls") else ""
    return node.func.id if isinstance(node.func, ast.Name) else ""


def _expressions(tree: ast.AST, names: set[str]) -> Iterator[tuple[str, ast.expr]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.expr) and (form := _form(node, names)):
            yield form, node


def _form(node: ast.expr, names: set[str]) -> str:
    """The expression without what may differ, "" if it is too small to say something."""
    if sum(isinstance(part, COUNTED) for part in ast.walk(node)) < LEAST:
        return ""
    return _written(node, names, {})


def _written(node: object, names: set[str], variables: dict[str, str]) -> str:
    if isinstance(node, list):
        return ",".join(_written(part, names, variables) for part in node)
    if isinstance(node, ast.Name | ast.arg):
        name = node.id if isinstance(node, ast.Name) else node.arg
        return name if name in names else variables.setdefault(name, f"_{len(variables)}")
    if isinstance(node, ast.keyword):
        return _written(node.value, names, variables)
    if isinstance(node, ast.Call):
        arguments: list[ast.AST] = [*node.args, *node.keywords]
        if not isinstance(node.func, ast.Attribute):
            return f"{_written(node.func, names, variables)}({_written(arguments, names, variables)})"
        owner = node.func.value
        if not (isinstance(owner, ast.Name) and owner.id in LIBRARIES):
            arguments.insert(0, owner)
        return f"{node.func.attr}({_written(arguments, names, variables)})"
    if isinstance(node, ast.AST) and not isinstance(node, ast.expr_context):
        fields = [_written(value, names, variables) for _, value in ast.iter_fields(node) if value is not None]
        return f"{type(node).__name__}({','.join(filter(None, fields))})"
    return "" if isinstance(node, ast.AST) else repr(node)


def _global_names(tree: ast.Module) -> set[str]:
    """What is no variable: built-ins, imports, and what the module defines."""
    found = set(dir(builtins))
    for node in tree.body:
        if isinstance(node, Function | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        else:
            found |= {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}
    return found


def _imported(text: str, seen: Mapping[str, str]) -> list[str]:
    """Paths of the project's modules that a module imports, also within its functions."""
    wanted = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module:
            wanted |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            wanted |= {alias.name for alias in node.names}
    files = (f"{name.replace('.', '/')}{ending}" for name in sorted(wanted) for ending in (".py", "/__init__.py"))
    return [path for path in files if path in seen]
