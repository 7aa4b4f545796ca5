"""``authpipe operators``, as the installed program."""

from __future__ import annotations

import contextlib
import os
import subprocess
import termios
import time

import pytest

from support.cli import PROGRAM, Cli
from support.operators import ANOTHER, PASSWORD


def test_an_operator_is_added_changed_and_disabled(cli: Cli) -> None:
    """Each command prints the operator as they are then."""
    made = cli.ok(
        "operators", "add", "Ada@Example.com", "--role", "owner", "--name", "Ada", "--password-stdin",
        "--json", stdin=PASSWORD + "\n",
    ).json  # fmt: skip
    assert (made["object"], made["email"], made["role"], made["status"]) == (
        "operator",
        "ada@example.com",
        "owner",
        "active",
    )
    assert made["has_password"] is True
    cli.ok("operators", "add", "bob@example.com", "--role", "viewer", "--no-password")
    changed = cli.ok(
        "operators", "update", "BOB@example.com", "--role", "developer", "--name", "Bob", "--json"
    ).json
    assert (changed["role"], changed["name"], changed["status"]) == ("developer", "Bob", "invited")
    assert cli.ok("operators", "update", "bob@example.com", "--name", "", "--json").json["name"] is None
    assert cli.ok("operators", "disable", "bob@example.com", "--json").json["status"] == "disabled"
    assert cli.ok("operators", "enable", "bob@example.com", "--json").json["status"] == "invited"
    assert cli.ok("operators", "unlock", "ada@example.com", "--json").json["status"] == "active"
    listed = cli.ok("operators", "list", "--json").json
    assert [each["email"] for each in listed["data"]] == ["ada@example.com", "bob@example.com"]
    assert "bob@example.com" in cli.ok("operators", "list").out
    assert cli("operators", "disable", "ada@example.com").complaint.startswith("This is the last owner")
    assert "no operator" in cli("operators", "unlock", "nobody@example.com").complaint


def test_a_link_or_a_password_is_given(cli: Cli) -> None:
    """The link alone is on standard output; a password never is."""
    ran = cli.ok("operators", "add", "carol@example.com", "--role", "viewer", "--invite")
    assert ran.out.strip().startswith("http://127.0.0.1:8700/invitation/")
    assert "once, within 24 hours" in ran.err
    again = cli.ok("operators", "invite", "carol@example.com", "--json").json
    assert again["invitation_url"] != ran.out.strip()
    done = cli.ok("operators", "set-password", "carol@example.com", "--password-stdin", stdin=ANOTHER)
    assert ANOTHER not in done.out + done.err
    ended = cli.ok("operators", "sign-out", "carol@example.com", "--json").json
    assert (ended["object"], ended["sessions"]) == ("operator_sign_out", 0)
    assert "0 sessions" in cli.ok("operators", "sign-out", "carol@example.com").out


@pytest.mark.parametrize(
    ("arguments", "stdin", "complaint"),
    [
        (["add", "x@example.com", "--role", "viewer"], None, "--password-stdin"),
        (["add", "x@example.com", "--role", "viewer", "--password-stdin"], "short", "at least 12"),
        (["add", "x@example.com", "--role", "viewer", "--password-stdin"], "password1234", "most common"),
        (["add", "x@example.com", "--role", "viewer", "--invite", "--no-password"], None, "give one of"),
        (["add", "no-email", "--role", "viewer", "--no-password"], None, "address such as"),
    ],
)
def test_what_cannot_be_is_one_line(
    cli: Cli, arguments: list[str], stdin: str | None, complaint: str
) -> None:
    """With the remedy, and nobody is added."""
    assert complaint in cli("operators", *arguments, stdin=stdin).complaint
    assert "x@example.com" not in cli.ok("operators", "list").out


def test_a_terminal_is_asked_twice(cli: Cli) -> None:
    """Without an echo; two different answers are asked for again."""
    master, slave = os.openpty()
    with subprocess.Popen(
        [str(PROGRAM), "operators", "add", "dora@example.com", "--role", "viewer", "--json"],
        stdin=slave, stdout=subprocess.PIPE, stderr=slave, env=cli.environment(), text=True,
        start_new_session=True,
    ) as program:  # fmt: skip
        os.close(slave)
        seen = b""
        for prompt, typed in (
            (b"Password", PASSWORD),
            (b"Once more", ANOTHER),
            (b"Password", PASSWORD),
            (b"Once more", PASSWORD),
        ):
            told = b""
            while prompt not in told:
                told += os.read(master, 1024)
            seen += told
            # What is typed before the echo is off would be thrown away.
            while termios.tcgetattr(master)[3] & termios.ECHO:
                time.sleep(0.01)
            os.write(master, typed.encode() + b"\n")
        out = program.communicate(timeout=30)[0]
    assert program.returncode == 0, seen
    assert '"dora@example.com"' in out
    with contextlib.suppress(OSError):
        seen += os.read(master, 65_536)
    os.close(master)
    assert PASSWORD.encode() not in seen
    assert ANOTHER.encode() not in seen
