"""Every public name says what a caller may rely on."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Module


def _repeats_a_neighbour(node: ast.AST) -> bool:
    """Overloads and setters repeat what the documented definition beside them says."""
    for decorator in getattr(node, "decorator_list", []):
        last = decorator.attr if isinstance(decorator, ast.Attribute) else getattr(decorator, "id", "")
        if last in {"overload", "setter", "deleter"}:
            return True
    return False


def _methods(cls: ast.ClassDef) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    return {node.name: node for node in cls.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def _base_names(cls: ast.ClassDef) -> set[str]:
    bases = [base.value if isinstance(base, ast.Subscript) else base for base in cls.bases]
    return {base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "") for base in bases}


class _Promises:
    """What the classes of the package promise, so that an implementation need not say it again."""

    def __init__(self, modules: list[Module]) -> None:
        self._classes: dict[str, list[ast.ClassDef]] = {}
        for module in modules:
            for node in ast.walk(module.tree):
                if isinstance(node, ast.ClassDef):
                    self._classes.setdefault(node.name, []).append(node)

    def made_for(self, cls: ast.ClassDef, method: str) -> bool:
        """Whether a class above `cls`, or a protocol that `cls` fulfils, documents `method`."""
        above, waiting = [], [cls]
        while waiting:
            for name in _base_names(waiting.pop()):
                found = [known for known in self._classes.get(name, []) if known not in above]
                above += found
                waiting += found
        own = {name for known in [cls, *above] for name in _methods(known)}
        protocols = [
            known
            for classes in self._classes.values()
            for known in classes
            if "Protocol" in _base_names(known) and set(_methods(known)) <= own
        ]
        return any(
            method in _methods(known) and ast.get_docstring(_methods(known)[method])
            for known in [*above, *protocols]
        )


def _undocumented(
    owner: ast.Module | ast.ClassDef | ast.If | ast.Try, promises: _Promises
) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    for node in owner.body:
        if isinstance(node, ast.If | ast.Try):
            found += _undocumented(node, promises)
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if node.name.startswith("_") or _repeats_a_neighbour(node):
            continue
        inherited = isinstance(owner, ast.ClassDef) and promises.made_for(owner, node.name)
        if not ast.get_docstring(node) and not inherited:
            found.append((node.lineno, node.name))
        if isinstance(node, ast.ClassDef):
            found += _undocumented(node, promises)
    return found


def test_every_public_name_has_a_docstring(modules: list[Module]) -> None:
    """Modules, classes, functions and methods without a leading underscore say what a caller may rely on.

    A method that fulfils a documented one, of a class above or of a protocol, need not repeat it.
    """
    promises = _Promises(modules)
    found = []
    for module in modules:
        if not ast.get_docstring(module.tree):
            found.append(f"{module.shown}:1: the module")
        found += [f"{module.shown}:{line}: {name}" for line, name in _undocumented(module.tree, promises)]
    assert not found, "\n".join(["", *found])
