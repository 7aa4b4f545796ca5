"""docs/reference/telemetry.md names every metric and every span there is, and no other."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client import Counter, Gauge, Histogram

from authpipe.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from conftest import Module

_KINDS = {Counter: "counter", Gauge: "gauge", Histogram: "histogram"}


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "docs" / "reference" / "telemetry.md").read_text(encoding="utf-8")


def _rows(page: str, heading: str) -> list[list[str]]:
    """The rows of the table under a heading, without its two first lines."""
    section = re.split(r"^#+ ", page.partition(f"{heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_metric_is_documented(page: str) -> None:
    """With its kind and its labels, which dashboards are built on."""
    told = {
        row[0].strip("`"): (row[1], tuple(re.findall(r"`(\w+)`", row[2])))
        for row in _rows(page, "## Metrics")
    }
    metrics = vars(Metrics())
    found = {
        metric._name: (_KINDS[type(metric)], metric._labelnames)
        for name, metric in metrics.items()
        if name != "registry"
    }
    assert told == found


def _spans(modules: list[Module]) -> tuple[dict[str, set[str]], set[str]]:
    """Every span the sources begin with its first attributes, and all attributes that are set later."""
    begun: dict[str, set[str]] = {}
    later: set[str] = set()
    for module in modules:
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            names = {keyword.arg or "" for keyword in node.keywords}
            if node.func.attr == "span" and ast.unparse(node.func.value) == "traces":
                assert isinstance(node.args[0], ast.Constant), f"{module.shown}:{node.lineno}: a fixed word"
                begun.setdefault(node.args[0].value, set()).update(names)
            elif node.func.attr == "set" and ast.unparse(node.func.value) in ("span", "call"):
                later |= names
    return begun, later


def test_every_span_is_documented(page: str, modules: list[Module]) -> None:
    """With the attributes it begins with; those it gets later stand in some row."""
    told = {
        row[0].strip("`"): set(re.findall(r"`([\w.]+)`", row[2]))
        for row in _rows(page, "### Spans")
        if not row[0].startswith("`<")
    }
    begun, later = _spans(modules)
    assert told.keys() == begun.keys()
    for name, attributes in begun.items():
        assert attributes <= told[name], name
    known = set().union(*told.values())
    assert later <= known
    assert known <= later.union(*begun.values()), "no attribute is told of that nothing sets"
