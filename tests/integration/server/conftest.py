"""Programs that serve or work, as processes of their own on a test's database."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from authpipe.server.first_start import prepare
from authpipe.server.settings import Settings, load_settings
from support.running import free_port

if TYPE_CHECKING:
    from conftest import Dsns

DEADLINE_S = 20

Configure = Callable[..., Settings]
Launch = Callable[..., Awaitable["Program"]]


@dataclass(frozen=True)
class Program:
    """A child that says what happens to it, line by line, in a file beside its log."""

    child: asyncio.subprocess.Process
    said: Path
    log: Path

    async def says(self, line: str) -> None:
        """Wait until it printed a line."""
        async with asyncio.timeout(DEADLINE_S):
            while line not in self.said.read_text().splitlines():
                assert self.child.returncode in (None, 0), f"not {line!r}; {self.log.read_text()}"
                await asyncio.sleep(0.01)

    async def ends(self) -> int:
        """Its exit code."""
        return await asyncio.wait_for(self.child.wait(), DEADLINE_S)


@pytest.fixture
def configure(tmp_path: Path, dsns: Dsns) -> Configure:
    """Settings for this test's database, on a free port, with a key."""

    def make(**given: Any) -> Settings:
        settings = load_settings(
            **{"data_dir": tmp_path / "state", "database_url": dsns.owner, "port": free_port()} | given
        )
        prepare(settings)
        return settings

    return make


@pytest.fixture
async def launch(tmp_path: Path) -> AsyncIterator[Launch]:
    """Run Python code with the given settings in its environment; killed when the test ends."""
    programs: list[Program] = []

    async def start(code: str, settings: Settings, *arguments: str) -> Program:
        log, said = (tmp_path / f"program-{len(programs)}.{what}" for what in ("log", "said"))
        script = tmp_path / f"program_{len(programs)}.py"
        script.write_text(code)
        own = {name: value for name, value in os.environ.items() if not name.startswith("AUTHPIPE_")}
        with log.open("wb") as errors, said.open("wb") as output:
            child = await asyncio.create_subprocess_exec(
                sys.executable,
                str(script),
                *arguments,
                env=own | settings.as_environment(),
                stdout=output,
                stderr=errors,
            )
        programs.append(Program(child, said, log))
        return programs[-1]

    yield start
    for program in programs:
        with suppress(ProcessLookupError):
            program.child.kill()
        await program.child.wait()
