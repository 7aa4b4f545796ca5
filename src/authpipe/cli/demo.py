"""``authpipe demo``: the whole path, end to end, against the sandbox and through real HTTP."""

from __future__ import annotations

import shutil
import tempfile
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from authpipe.cli.failures import FAILED, INTERRUPTED, complain
from authpipe.cli.options import Json
from authpipe.cli.output import console, print_json

if TYPE_CHECKING:
    from authpipe.cli.demo_steps import Cast
    from authpipe.cli.demo_story import Story

#: How much of the processes' log is shown when something fails.
_LAST_LINES = 15


def add_to(app: typer.Typer) -> None:
    """Mount the command."""
    app.command("demo", rich_help_panel="Start here")(demo)


def demo(as_json: Json = False) -> None:
    """Show the whole path in 20 seconds: install, connect, credentials, refresh, revocation.

    Everything runs on this machine, in a directory that is removed afterwards.
    """
    from authpipe.cli.until_told import run_until_told
    from authpipe.telemetry.logs import configure

    configure("ERROR", json=False)
    directory = Path(tempfile.mkdtemp(prefix="authpipe-demo-"))
    try:
        code = run_until_told(_tell(directory, as_json=as_json), told=INTERRUPTED)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    raise typer.Exit(code)


async def _tell(directory: Path, *, as_json: bool) -> int:
    from authpipe.cli.demo_story import Story

    out = console(stderr=as_json)
    out.print(
        "\n[bold]Authpipe, from an installation to a revocation[/]\n"
        "[dim]Every step is real HTTP between processes on this machine. The sandbox plays "
        "Discord and ClickSend. This program plays an application, its user Ada and her browser; "
        "of Authpipe it knows an address and an API key.[/]\n"
    )
    story = Story(out)
    log: deque[str] = deque(maxlen=_LAST_LINES)
    problem = await _problem(story, directory, log)
    story.summary()
    if as_json:
        print_json(_document(story, problem))
    if problem is not None:
        complain(*(f"log: {line}" for line in log))
        complain(f"the demonstration failed at step {len(story.steps)}: {problem}")
        return FAILED
    out.print("\n[bold green]All of it worked.[/] Everything was stopped and removed again.")
    out.print("Next: [cyan]authpipe dev[/] starts the same for you to try by hand.\n")
    return 0


async def _problem(story: Story, directory: Path, log: deque[str]) -> str | None:
    """Play it all; what was not as it should be, in a line."""
    import aiohttp

    from authpipe.cli.demo_browser import NoSuchButton
    from authpipe.cli.demo_steps import demonstrate
    from authpipe.cli.demo_story import Unmet
    from authpipe.domain.errors import AuthpipeError
    from authpipe.sdk.errors import AuthpipeError as SdkError

    try:
        await demonstrate(_cast(), story, directory, say=lambda name, line: log.append(f"{name}: {line}"))
    except (Unmet, NoSuchButton) as error:
        return str(error)
    except (AuthpipeError, SdkError) as error:
        return error.message
    except (aiohttp.ClientError, TimeoutError) as error:
        return f"a part of it does not answer ({type(error).__name__})"
    return None


def _cast() -> Cast:
    from authpipe.cli.demo_steps import Cast
    from authpipe.sandbox.seeds import CLICKSEND_API_KEYS

    username, api_key = next(iter(CLICKSEND_API_KEYS.items()))
    return Cast(
        tenant_id="org_acme",
        user_id="user_123",
        installed="discord",
        keyed="clicksend",
        key={"username": username, "api_key": api_key},
    )


def _document(story: Story, problem: str | None) -> dict[str, Any]:
    return {
        "object": "demo",
        "passed": problem is None,
        "problem": problem,
        "steps": [
            {
                "name": step.name,
                "title": step.title,
                "passed": step.passed,
                "seen": step.result,
                "seconds": round(step.seconds, 3),
            }
            for step in story.steps
        ],
    }
