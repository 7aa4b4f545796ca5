"""Runs programs of ours as child processes: starts them again when they die, and takes them down together."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from authpipe.domain.errors import ConfigurationError

#: Seconds a child has to stop by itself.
_PATIENCE_S = 3.0
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
#: A child that lived so long, in seconds, is started again at once.
_SETTLED_S = 30.0
#: Seconds to wait for the last words of a child that has ended.
_PIPES_S = 1.0
_KEPT_LINES = 50

Say = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class Program:
    """A command of ours: its name in the log, its arguments, the modules to import early.

    It says on standard output, in one line, that it is ready; its log goes to standard error.
    """

    name: str
    arguments: tuple[str, ...]
    modules: tuple[str, ...] = ()


@dataclass(slots=True)
class _Tended:
    program: Program
    environment: asyncio.Future[Mapping[str, str]]
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT_LINES))
    process: Process | None = None
    task: asyncio.Task[None] | None = None


class Supervisor:
    """Children with one log.  ``say`` gets each of their lines, and what happens to them, by program name.

    ``started_again`` is called when a child that died is ready anew.  A child ends when this process does,
    also when it is killed.
    """

    def __init__(self, say: Say, started_again: Callable[[str], Awaitable[None]] | None = None) -> None:
        self._say = say
        self._started_again = started_again
        self._children: dict[str, _Tended] = {}

    def prepare(self, program: Program) -> None:
        """Start its process, which waits for :meth:`start` with everything imported."""
        child = _Tended(program, asyncio.get_running_loop().create_future())
        self._children[program.name] = child
        child.task = asyncio.create_task(self._tend(child), name=program.name)

    async def start(self, name: str, environment: Mapping[str, str]) -> None:
        """Let a prepared program go, with these variables beside those of this process that are not ours.

        Returns when it is ready.  Raises ``ConfigurationError`` when it ends before that.
        """
        child = self._children[name]
        if child.task is None:
            raise RuntimeError(f"{name} was not prepared")
        child.environment.set_result(environment)
        ready = asyncio.create_task(child.ready.wait())
        try:
            await asyncio.wait({ready, child.task}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        if not child.ready.is_set():
            child.task.result()
            raise ConfigurationError(
                f"the {name} did not start: {_reason(child.lines)}", detail="\n".join(child.lines)
            )

    async def stop(self) -> None:
        """Stop all children; returns when they are gone, 3 seconds from now at the latest."""
        await asyncio.gather(*(self._stop(child) for child in self._children.values()))

    async def _stop(self, child: _Tended) -> None:
        child.stopping.set()
        if child.process is not None and child.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.process.terminate()
        if child.task is None:
            return
        done, _ = await asyncio.wait({child.task}, timeout=_PATIENCE_S)
        if not done:
            if child.process is not None:
                _kill_all_of(child.process)
            await asyncio.wait({child.task})

    async def _tend(self, child: _Tended) -> None:
        pause = _FIRST_PAUSE_S
        while not child.stopping.is_set():
            begun = time.monotonic()
            process = child.process = await _spawn(child.program)
            if child.stopping.is_set():
                process.terminate()
            listening = asyncio.create_task(self._listen(child, process))
            letting_go = asyncio.create_task(_let_go(process, child.environment))
            await process.wait()
            letting_go.cancel()
            # What it started itself must not hold its ports, nor our pipes.
            _kill_all_of(process)
            await asyncio.wait({listening}, timeout=_PIPES_S)
            listening.cancel()
            if child.stopping.is_set() or not child.ready.is_set():
                return
            if time.monotonic() - begun > _SETTLED_S:
                pause = _FIRST_PAUSE_S
            self._say(child.program.name, f"ended unexpectedly ({_how(process)}); starting it again")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(child.stopping.wait(), pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    async def _listen(self, child: _Tended, process: Process) -> None:
        """Pass its log on, and hear when it is ready."""
        name = child.program.name

        async def log() -> None:
            async for line in _lines(process.stderr):
                child.lines.append(line)
                self._say(name, line)

        async def announcements() -> None:
            async for _ in _lines(process.stdout):
                if not child.ready.is_set():
                    child.ready.set()
                else:
                    self._say(name, "is ready again")
                    if self._started_again is not None:
                        await self._started_again(name)

        await asyncio.gather(log(), announcements())


async def _let_go(process: Process, environment: asyncio.Future[Mapping[str, str]]) -> None:
    variables = await asyncio.shield(environment)
    if process.stdin is not None:
        process.stdin.write(json.dumps(dict(variables)).encode() + b"\n")
        with contextlib.suppress(ConnectionError):
            await process.stdin.drain()


async def _spawn(program: Program) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        # Without -P a file in the current directory could take the place of a library.
        "-P",
        "-m",
        "authpipe.cli.supervised",
        ",".join(program.modules),
        *program.arguments,
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env={name: value for name, value in os.environ.items() if not name.startswith("AUTHPIPE_")},
        # Ctrl-C in the terminal is for us; we stop the children in order.
        start_new_session=True,
    )


async def _lines(stream: asyncio.StreamReader | None) -> AsyncIterator[str]:
    """Lines of any length, until the stream ends."""
    rest = b""
    while stream is not None and (piece := await stream.read(65_536)):
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace").rstrip()
    if rest:
        yield rest.decode(errors="replace").rstrip()


def _kill_all_of(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _how(process: Process) -> str:
    code = process.returncode
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"


def _reason(lines: deque[str]) -> str:
    """What the child itself says is wrong: the line under our name, else its last one."""
    for line in reversed(lines):
        if line.startswith("authpipe: "):
            return line.removeprefix("authpipe: ")
    return lines[-1] if lines else "it said nothing"
