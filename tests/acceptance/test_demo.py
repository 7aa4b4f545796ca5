"""``authpipe demo``: what a newcomer sees first."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import aiohttp
import pytest

from support.cli import Cli, descendants, gone

STEPS = [
    "Start",
    "Installation",
    "Bot credential",
    "User connection",
    "User credential",
    "Cached read",
    "Wrong key",
    "Right key",
    "Background refresh",
    "Revocation",
    "Stop",
]


@pytest.mark.timeout(180)
def test_the_demonstration_shows_everything_and_leaves_nothing(tmp_path: Path) -> None:
    """Exit code 0, every step passed, no secret shown, no file and no process left."""
    cli = Cli(tmp_path / "data")
    settings = {
        "TMPDIR": str(tmp_path),
        # Whatever a machine's own settings are, they are not the demonstration's.
        "AUTHPIPE_DATABASE_URL": "postgresql://nobody:canary@127.0.0.1:9/none",
        "AUTHPIPE_PROFILE": "production",
    }
    ran = cli("demo", "--json", env=settings)
    assert ran.code == 0, ran.err
    told = ran.json
    assert told["passed"]
    assert [step["name"] for step in told["steps"]] == STEPS
    assert all(step["passed"] and step["seen"] for step in told["steps"])
    seen = {step["name"]: step["seen"] for step in told["steps"]}
    assert seen["Bot credential"].startswith("Bot MTEw\N{BULLET}")
    assert "200" in seen["User credential"]
    assert "0 refused" in seen["Background refresh"]
    assert "ReauthorizationRequired" in seen["Revocation"]
    for title in ("What you saw", *STEPS):
        assert title in ran.err
    for secret in ("sandbox.bot-token", "sandbox-clicksend-key", "sandbox-discord-secret", "canary"):
        assert secret not in ran.out + ran.err
    assert list(tmp_path.glob("authpipe-demo-*")) == []
    assert not cli.data_dir.exists()


@pytest.mark.timeout(120)
def test_ctrl_c_in_the_middle_leaves_nothing_either(tmp_path: Path) -> None:
    """Exit code 130, and the directory is gone with the processes."""
    cli = Cli(tmp_path / "data", {"TMPDIR": str(tmp_path)})
    with cli.running("demo") as program:
        deadline = time.monotonic() + 60
        while len(below := descendants(program.pid)) < 4:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        program.send_signal(signal.SIGINT)
        assert program.wait(15) == 130
        assert gone(below, within_s=1)
    assert list(tmp_path.glob("authpipe-demo-*")) == []


@pytest.mark.timeout(120)
async def test_a_demonstration_that_fails_says_where(tmp_path: Path) -> None:
    """One credential that the provider refuses is enough: exit code 1, a clear last line, nothing left."""
    cli = Cli(tmp_path / "data", {"TMPDIR": str(tmp_path)})
    with cli.running("demo") as program:
        assert program.stdout is not None
        sandbox_url = ""
        for line in program.stdout:
            if line.split()[:1] == ["sandbox"]:
                sandbox_url = line.split()[1]
            if "a loop reads it and tries it" in line:
                break
        fault = {"kind": "status", "status": 401, "path_contains": "/oauth2/@me", "times": 1}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{sandbox_url}/_control/faults", json=fault) as answer,
        ):
            assert answer.status == 201
        below = descendants(program.pid)
        out, err = program.communicate(timeout=60)
        assert program.returncode == 1
        assert gone(below, within_s=1)
    assert "All of it worked" not in out
    last = err.splitlines()[-1]
    assert last.startswith("authpipe: the demonstration failed at step 9: Discord refused 1 of")
    assert "Traceback" not in err
