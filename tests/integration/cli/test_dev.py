"""``authpipe dev``: one process tree that starts whole, heals, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from authpipe.cli.demo_browser import Browser
from support.cli import Cli, command_of, descendants, document_of, gone, line_with


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


@pytest.fixture
def started(fresh: Cli) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """A running ``authpipe dev --json`` and its document."""
    port, sandbox_port = free_ports(2)
    with fresh.running("dev", "--json", "--port", str(port), "--sandbox-port", str(sandbox_port)) as program:
        yield program, document_of(program)


def child(program: subprocess.Popen[str], command: str) -> int:
    """The process of one command below ``authpipe dev``."""
    (found,) = [pid for pid in descendants(program.pid) if f" {command}" in command_of(pid)]
    return found


def tree(program: subprocess.Popen[str]) -> list[int]:
    """Every process of it, which must be at least database, server, worker and sandbox."""
    found = descendants(program.pid)
    assert len(found) >= 4
    return found


async def status(url: str, **headers: str) -> int:
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        return answer.status


async def test_it_starts_and_stops_cleanly(started: tuple[subprocess.Popen[str], dict[str, Any]]) -> None:
    """Everything answers with the key it printed; Ctrl-C ends it within 5 seconds, with exit code 0."""
    program, told = started
    assert told["providers"] == ["discord", "aircall", "clicksend", "dialpad", "drift"]
    assert await status(told["url"] + "/healthz") == 200
    assert await status(told["sandbox_url"] + "/_control") == 200
    assert await status(told["url"] + "/v1/connections", Authorization=f"Bearer {told['api_key']}") == 200
    below = tree(program)
    begun = time.monotonic()
    program.send_signal(signal.SIGINT)
    assert program.wait(10) == 0
    assert time.monotonic() - begun < 5
    assert gone(below, within_s=0.5)
    assert "Traceback" not in (program.stderr.read() if program.stderr else "")


def test_it_takes_everything_along_when_it_is_killed(
    started: tuple[subprocess.Popen[str], dict[str, Any]],
) -> None:
    """Even ``kill -9`` leaves no process."""
    program, _ = started
    below = tree(program)
    program.kill()
    program.wait(5)
    assert gone(below, within_s=10)


def test_a_closed_terminal_ends_it(started: tuple[subprocess.Popen[str], dict[str, Any]]) -> None:
    """SIGHUP is what a closing terminal sends."""
    program, _ = started
    below = tree(program)
    program.send_signal(signal.SIGHUP)
    assert program.wait(10) == 0
    assert gone(below, within_s=0.5)


async def test_a_part_that_dies_is_started_again(
    started: tuple[subprocess.Popen[str], dict[str, Any]],
) -> None:
    """It says so; a new sandbox hears the redirect URIs anew."""
    program, told = started
    for name, command, url in (
        ("server", "serve", told["url"] + "/healthz"),
        ("sandbox", "sandbox --port", told["sandbox_url"] + "/_control"),
    ):
        before = child(program, command)
        os.kill(before, signal.SIGKILL)
        assert name in line_with(program, "killed by SIGKILL")
        line_with(program, "is ready again")
        assert await status(url) == 200
        assert child(program, command) != before
    line_with(program, "its state is new")
    app = "/_control/discord/apps/1100000000000000001"
    async with aiohttp.ClientSession() as session, session.get(told["sandbox_url"] + app) as answer:
        (redirect_uri,) = (await answer.json())["redirect_uris"]
    assert redirect_uri.startswith(told["url"] + "/oauth/callback/")


def test_the_key_stays_the_same(fresh: Cli) -> None:
    """It is kept in a file only its owner can read, and made anew when it was revoked."""
    keys = []
    for revoked in (False, False, True):
        if revoked:
            fresh.ok("api-keys", "revoke", keys[-1])
        port, sandbox_port = free_ports(2)
        with fresh.running(
            "dev", "--json", "--port", str(port), "--sandbox-port", str(sandbox_port)
        ) as program:
            keys.append(document_of(program)["api_key"])
            program.send_signal(signal.SIGTERM)
            assert program.wait(10) == 0
    assert keys[0] == keys[1] != keys[2]
    kept = fresh.data_dir / "dev-api-key"
    assert kept.read_text().strip() == keys[2]
    assert kept.stat().st_mode & 0o777 == 0o600


def test_taken_ports_are_passed_over_unless_they_were_asked_for(fresh: Cli) -> None:
    """The next free one is taken, and told; one named on the command line is refused instead."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ran = fresh("dev", "--port", str(port))
        assert ran.code == 1
        assert f"port {port} is taken" in ran.complaint
        busy = Cli(fresh.data_dir, {"AUTHPIPE_PORT": str(port)})
        with busy.running("dev", "--json", "--sandbox-port", str(free_ports(1)[0])) as program:
            told = document_of(program)
            assert told["url"] != f"http://127.0.0.1:{port}"
            program.send_signal(signal.SIGTERM)
            assert program.wait(10) == 0


def test_a_sandbox_whose_port_is_taken_says_so(fresh: Cli) -> None:
    """In one line, with the option that helps."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ran = fresh("sandbox", "--port", str(taken.getsockname()[1]))
    assert ran.code == 1
    assert "--port" in ran.complaint


def test_what_keeps_it_from_starting_is_one_line(fresh: Cli) -> None:
    """And nothing that did start is left."""
    ran = fresh("dev", env={"AUTHPIPE_PROFILE": "production"})
    assert ran.code == 1
    assert "AUTHPIPE_PROFILE" in ran.err
    ran = fresh("dev", env={"AUTHPIPE_DATABASE_URL": "postgresql://nobody:canary@127.0.0.1:9/none"})
    assert ran.code == 1
    complaint = ran.err.splitlines()[-1]
    assert complaint.startswith("authpipe: ")
    assert "canary" not in ran.err + ran.out
    assert "Traceback" not in ran.err


async def test_a_person_connects_from_the_terminal(
    started: tuple[subprocess.Popen[str], dict[str, Any]], fresh: Cli
) -> None:
    """``connect`` waits for the browser and completes; ``credential get`` masks; lists show what there is."""
    _, told = started
    asking = Cli(fresh.data_dir, {"AUTHPIPE_URL": told["url"], "AUTHPIPE_API_KEY": told["api_key"]})
    port = str(free_ports(1)[0])
    fresh.ok("environments", "update", "development", "--add-return-url", f"http://127.0.0.1:{port}/*")
    made = {}
    for kind, arguments in (
        ("installation", ("--install",)),
        ("connection", ("--user", "user_123")),
    ):
        with asking.running(
            "connect", "discord", "--tenant", "org_acme", "--port", port, *arguments, "--json"
        ) as program:
            link = line_with(program, "/connect/").strip()
            async with Browser([told["url"], told["sandbox_url"]]) as browser:
                page = await browser.press(await browser.open(link), "Continue")
                page = await browser.press(page, "Authorize")
                assert page.says("Connected")
            made[kind] = document_of(program)[kind]
            assert program.wait(10) == 0
    assert made["connection"]["installation_id"] == made["installation"]["id"]

    wanted = ("credential", "get", "discord", "--tenant", "org_acme", "--user", "user_123")
    revealed = asking.ok(*wanted, "--reveal", "--json").json
    token = revealed["credential"]
    assert revealed["headers"] == {"Authorization": f"Bearer {token}"}
    assert await status(told["sandbox_url"] + "/discord/api/v10/users/@me", **revealed["headers"]) == 200
    for output in (asking.ok(*wanted), asking.ok(*wanted, "--json")):
        assert token not in output.out
        assert token[:4] in output.out
    (listed,) = fresh.ok("connections", "list", "--tenant", "org_acme", "--json").json["data"]
    assert listed["id"] == made["connection"]["id"]
    assert listed["id"] in fresh.ok("connections", "list").out
    assert "Analytical Engine Club" in fresh.ok("installations", "show", made["installation"]["id"]).out
    loopback = {"AUTHPIPE_ALLOW_LOOPBACK_EGRESS": "true"}
    ended = fresh.ok("connections", "disconnect", listed["id"], "--json", env=loopback).json
    assert ended["status"] == "revoked"
    ran = asking(*wanted, "--for", "user")
    assert ran.code == 1
    assert "authpipe connect" in ran.complaint
