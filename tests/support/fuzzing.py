"""Schemathesis in a process of its own, and what was answered to it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from support.fuzzing_arena import Arena

_HOOKS = Path(__file__).with_name("fuzzing_hooks.py")


@dataclass
class Tally:
    """What was answered to how many requests, by operation."""

    statuses: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    codes: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0

    @classmethod
    def read(cls, path: Path) -> Tally:
        tally = cls()
        for line in path.read_text().splitlines():
            told = json.loads(line)
            tally.statuses[told["operation"]][told["status"]] += 1
            if told["code"]:
                tally.codes[told["code"]] += 1
            tally.slowest_s = max(tally.slowest_s, told["seconds"])
        return tally

    @property
    def requests(self) -> int:
        return sum(sum(counted.values()) for counted in self.statuses.values())

    def served(self) -> set[str]:
        """The operations that were done at least once."""
        return {
            operation
            for operation, counted in self.statuses.items()
            if any(200 <= status < 300 for status in counted)
        }

    def __str__(self) -> str:
        lines = [f"{self.requests} requests, {len(self.statuses)} operations, slowest {self.slowest_s} s"]
        lines += [f"  {name}: {dict(sorted(told.items()))}" for name, told in sorted(self.statuses.items())]
        return "\n".join([*lines, f"  codes: {dict(self.codes.most_common())}"])


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its exit code, what it printed, and what was answered."""

    code: int
    printed: str
    tally: Tally


_CONFIGURATION = f"""\
hooks = "{_HOOKS}"
continue-on-failure = true
request-timeout = 60
# A stream goes on for ever.
max-stream-events = 1
phases.coverage.generate-duplicate-query-parameters = true
generation.database = "none"
generation.no-shrink = true
auth.openapi.api_key.bearer = "${{FUZZ_KEY}}"
"""


async def fuzz(arena: Arena, directory: Path, *arguments: str) -> Outcome:
    """Run Schemathesis in a process of its own; everything it writes goes to ``directory``."""
    directory.mkdir(exist_ok=True)
    tally = directory / "tally.jsonl"
    tally.touch()
    (directory / "schemathesis.toml").write_text(_CONFIGURATION)
    given = {"FUZZ_ARENA": arena.control, "FUZZ_KEY": arena.key, "FUZZ_TALLY": str(tally)}
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "schemathesis.cli", "run", f"{arena.url}/openapi.json", "--no-color",
        *arguments,
        cwd=directory,
        env=os.environ | given,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        printed, _ = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    assert child.returncode is not None
    return Outcome(child.returncode, printed.decode(errors="replace"), Tally.read(tally))
