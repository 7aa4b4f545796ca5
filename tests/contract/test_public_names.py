"""The public surface of the package: what users import is written down, documented and nothing more."""

from __future__ import annotations

import inspect
from pathlib import Path

import authpipe


def test_the_public_names_are_the_ones_written_down() -> None:
    """`authpipe.__all__` is public_names.txt, sorted; a change to either is a deliberate one."""
    listed = (Path(__file__).parent / "public_names.txt").read_text().split()
    assert listed == sorted(listed)
    assert sorted(authpipe.__all__) == listed


def test_nothing_is_public_by_accident() -> None:
    """A name without an underscore in the package is listed in `__all__`, or is a submodule."""
    stray = [
        name
        for name, value in vars(authpipe).items()
        if not name.startswith("_") and name not in authpipe.__all__ and not inspect.ismodule(value)
    ]
    assert [name for name in stray if name not in {"annotations", "TYPE_CHECKING"}] == []


def test_every_public_name_is_documented() -> None:
    """Each public class and function, and each of its public methods, carries a docstring of its own."""
    missing = []
    for name in authpipe.__all__:
        value = getattr(authpipe, name)
        if not inspect.isclass(value) and not inspect.isfunction(value):
            continue
        if not value.__doc__:
            missing.append(name)
        if inspect.isclass(value):
            missing += [
                f"{name}.{attribute}"
                for attribute, member in vars(value).items()
                if not attribute.startswith("_")
                and (inspect.isfunction(member) or isinstance(member, property))
                and not inspect.getdoc(member)
            ]
    assert not missing, "\n".join(["", *missing])
