"""Runs the benchmarks, each in a process of its own; prints one table and writes ``results.json``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

#: In the order of the table.
NAMES = ("sdk_cache", "start_up", "read_path", "refresh_engine", "claim", "million")
RESULTS = Path(__file__).parent / "results.json"


def _measure(name: str) -> list[dict[str, Any]]:
    """One benchmark in a fresh process, so that none meets another's memory."""
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--here", name], stdout=subprocess.PIPE, check=False
    )
    if ran.returncode != 0:
        raise SystemExit(f"benchmark {name} failed")
    found: list[dict[str, Any]] = json.loads(ran.stdout.splitlines()[-1])
    return found


def _print(results: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for column in ("Measured", "Value", "Reference", "Value", "Ratio", "Bar", "Met"):
        table.add_column(column, justify="right" if column in {"Value", "Ratio"} else "left", overflow="fold")
    for each in results:
        met = {True: "[green]yes[/]", False: "[red]no[/]", None: ""}[each["met"]]
        table.add_row(
            each["name"],
            f"{each['value']:,} {each['unit']}",
            each["reference"] or "",
            "" if each["reference_value"] is None else f"{each['reference_value']:,} {each['unit']}",
            "" if each["ratio"] is None else f"{each['ratio']:,}",
            each["bar"] or "",
            met,
        )
    Console().print(table)


def main(arguments: list[str]) -> int:
    """All benchmarks, or those named; exit code 1 when a bar is missed."""
    if arguments[:1] == ["--here"]:
        measured = import_module(f"benchmarks.{arguments[1]}").run()
        print(json.dumps([each.document() for each in measured]))
        return 0
    unknown = set(arguments) - set(NAMES)
    if unknown:
        raise SystemExit(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    results: list[dict[str, Any]] = []
    for name in arguments or NAMES:
        begun = time.perf_counter()
        results += _measure(name)
        print(f"{name}: {time.perf_counter() - begun:.0f} s", file=sys.stderr)
    _print(results)
    if not arguments:
        RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    return 0 if all(each["met"] is not False for each in results) else 1


if __name__ == "__main__":
    os.chdir(Path(__file__).parent.parent)
    sys.exit(main(sys.argv[1:]))
