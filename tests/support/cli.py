"""The ``authpipe`` command as people run it: the installed program, in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROGRAM = Path(sys.executable).with_name("authpipe")


@dataclass(frozen=True)
class Ran:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which must be one JSON document."""
        return json.loads(self.out)

    @property
    def complaint(self) -> str:
        """The one line of a failure; a second line or a trace fails the test."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("authpipe: ")
        return lines[0].removeprefix("authpipe: ")


@dataclass(frozen=True)
class Cli:
    """Runs commands on one data directory; of this process's settings nothing is passed on."""

    data_dir: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("AUTHPIPE_")}
        return {**own, "AUTHPIPE_DATA_DIR": str(self.data_dir), **self.settings, **(more or {})}

    def __call__(
        self, *arguments: str, stdin: str | None = None, env: Mapping[str, str] | None = None
    ) -> Ran:
        done = subprocess.run(
            [str(PROGRAM), *arguments],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            env=self.environment(env),
            timeout=60,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def ok(self, *arguments: str, **more: Any) -> Ran:
        """A command that must succeed."""
        ran = self(*arguments, **more)
        assert ran.code == 0, ran.err
        return ran

    @contextmanager
    def running(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """A command that goes on; whatever is left of it at the end is killed."""
        program = subprocess.Popen(
            [str(PROGRAM), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment(),
        )
        try:
            yield program
        finally:
            for pid in descendants(program.pid):
                _kill(pid)
            program.kill()
            program.communicate()


def document_of(program: subprocess.Popen[str]) -> Any:
    """The first JSON document a running program prints."""
    assert program.stdout is not None
    text = ""
    while True:
        line = program.stdout.readline()
        assert line, program.stderr.read() if program.stderr else ""
        text += line
        if line == "}\n":
            return json.loads(text)


def line_with(program: subprocess.Popen[str], words: str) -> str:
    """The next line on standard error that holds ``words``."""
    assert program.stderr is not None
    for line in program.stderr:
        if words in line:
            return line
    raise AssertionError(f"it ended without saying {words!r}")


def descendants(pid: int) -> list[int]:
    """Every process below ``pid``, however deep."""
    parents: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z":
            parents.setdefault(int(fields[1]), []).append(int(status.parent.name))
    found, waiting = [], [pid]
    while waiting:
        below = parents.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def command_of(pid: int) -> str:
    """The command line of a process; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def gone(pids: list[int], within_s: float) -> bool:
    """Whether all of them end in that time.  Those that do not are killed, lest they outlive the test."""
    deadline = time.monotonic() + within_s
    while any(is_running(pid) for pid in pids):
        if time.monotonic() > deadline:
            for pid in pids:
                _kill(pid)
            return False
        time.sleep(0.05)
    return True


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
