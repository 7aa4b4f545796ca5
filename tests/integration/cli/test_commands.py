"""The administrative commands, as the installed program."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from authpipe import __version__
from authpipe.cli.main import build
from support.cli import PROGRAM, Cli

KEY = r"apk_"


def test_the_version_is_told_quickly(fresh: Cli) -> None:
    """Nothing heavy is loaded for it; counted in processor time, since others use this machine as well."""
    took = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        ran = fresh.ok("version", "--json")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert ran.json["version"] == __version__
    assert min(took) < 0.4
    assert fresh.ok("version").out.startswith(f"authpipe {__version__}")


def test_building_the_command_line_loads_no_heavy_room() -> None:
    """What a command needs is imported when it runs."""
    program = (
        "import sys, authpipe.cli.main; authpipe.cli.main.build(); "
        "print([name for name in sys.modules if name.split('.')[0] in "
        "('asyncpg', 'sqlalchemy', 'fastapi', 'aiohttp', 'granian', 'httpx2', 'cryptography', 'rich')])"
    )
    done = subprocess.run(
        [str(PROGRAM.with_name("python")), "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_init_makes_everything_and_may_be_repeated(fresh: Cli) -> None:
    """The second time finds what the first made and changes nothing."""
    first = fresh.ok("init", "--json").json
    key_file = fresh.data_dir / "kek.key"
    assert (first["kek_made"], first["environment"], first["environment_made"]) == (True, "development", True)
    assert key_file.stat().st_mode & 0o777 == 0o600
    before = key_file.read_bytes()
    second = fresh.ok("init", "--json").json
    assert (second["kek_made"], second["environment_made"]) == (False, False)
    assert key_file.read_bytes() == before
    assert "was there" in fresh.ok("init").out


def test_a_command_before_init_names_it(fresh: Cli) -> None:
    """One line, no trace, exit code 1, nothing on standard output."""
    ran = fresh("environments", "list", "--json")
    assert (ran.code, ran.out) == (1, "")
    assert "authpipe init" in ran.complaint


def test_migrating_twice_changes_nothing_the_second_time(cli: Cli) -> None:
    """It says so, too."""
    told = cli.ok("migrate", "--json").json
    assert told["changed"] is False
    assert told["to"]
    assert "up to date" in cli.ok("migrate").out


def test_environments_are_made_listed_and_changed(cli: Cli) -> None:
    """Return URLs are added and taken away one by one."""
    made = cli.ok(
        "environments", "create", "shop", "--kind", "production",
        "--return-url", "https://shop.example/a/*", "--popup-origin", "https://shop.example", "--json",
    ).json  # fmt: skip
    assert made["kind"] == "production"
    changed = cli.ok(
        "environments", "update", "shop",
        "--add-return-url", "https://shop.example/b",
        "--remove-return-url", "https://shop.example/a/*", "--json",
    ).json  # fmt: skip
    assert changed["return_urls"] == ["https://shop.example/b"]
    assert changed["origins"] == ["https://shop.example"]
    names = [each["name"] for each in cli.ok("environments", "list", "--json").json["data"]]
    assert names[:1] == ["development"]
    assert "shop" in names
    assert "https://shop.example/b" in cli.ok("environments", "list").out


def test_what_an_environment_refuses_is_one_line(cli: Cli) -> None:
    """The line is the room's own message, which names the field."""
    ran = cli("environments", "create", "web", "--kind", "production", "--return-url", "http://web.example/")
    assert ran.code == 1
    assert "return_urls[0]" in ran.complaint
    ran = cli("environments", "update", "nowhere")
    assert ran.code == 1
    assert "development" in ran.complaint


def test_a_key_is_shown_once(cli: Cli) -> None:
    """Standard output is the key and nothing else; no later command knows it."""
    ran = cli.ok("api-keys", "create", "--name", "checkout", "--expires-in", "90d")
    key = ran.out.strip()
    assert key.startswith(KEY)
    assert "cannot be shown again" in ran.err
    listing = cli.ok("api-keys", "list", "--json")
    assert key not in listing.out
    (found,) = [each for each in listing.json["data"] if each["name"] == "checkout"]
    assert found["status"] == "active"
    assert found["expires_at"] is not None
    assert found["prefix"] in cli.ok("api-keys", "list").out


def test_a_key_is_revoked_by_its_prefix(cli: Cli) -> None:
    """It stays in the list, as revoked."""
    made = cli.ok("api-keys", "create", "--json").json
    assert made["key"].startswith(made["prefix"])
    ended = cli.ok("api-keys", "revoke", made["prefix"], "--json").json
    assert (ended["id"], ended["status"]) == (made["id"], "revoked")
    ran = cli("api-keys", "revoke", "apk_aaaaaaaa")
    assert ran.code == 1
    assert "authpipe api-keys list" in ran.complaint


def test_a_key_has_a_role_and_may_be_of_one_tenant(cli: Cli) -> None:
    """A server's, for the whole environment, unless something else is said."""
    plain = cli.ok("api-keys", "create", "--json").json
    assert (plain["role"], plain["tenant_id"]) == ("server", None)
    made = cli.ok("api-keys", "create", "--role", "viewer", "--tenant", "org_acme", "--json").json
    assert (made["role"], made["tenant_id"]) == ("viewer", "org_acme")
    listing = cli.ok("api-keys", "list").out
    assert "viewer" in listing
    assert "org_acme" in listing
    assert cli("api-keys", "create", "--role", "owner").code == 2


def test_a_key_is_replaced(cli: Cli) -> None:
    """The new key is printed once; the replaced one names it and has an end."""
    made = cli.ok("api-keys", "create", "--role", "viewer", "--json").json
    ran = cli.ok("api-keys", "rotate", made["prefix"], "--overlap", "2h")
    assert ran.out.strip().startswith(KEY)
    assert ran.out.strip() != made["key"]
    assert made["prefix"] in ran.err
    keys = {key["id"]: key for key in cli.ok("api-keys", "list", "--json").json["data"]}
    old = keys[made["id"]]
    assert old["expires_at"] is not None
    assert keys[old["replaced_by"]]["role"] == "viewer"
    again = cli("api-keys", "rotate", made["prefix"])
    assert again.code == 1
    assert old["replaced_by"] in again.complaint
    ran = cli("api-keys", "rotate", keys[old["replaced_by"]]["prefix"], "--overlap", "soon")
    assert ran.code == 1
    assert "--overlap" in ran.complaint


def test_a_length_of_life_has_a_unit(cli: Cli) -> None:
    """Anything else is refused with an example."""
    ran = cli("api-keys", "create", "--expires-in", "soon")
    assert ran.code == 1
    assert "90d" in ran.complaint


def test_a_provider_is_configured_shown_switched_and_removed(cli: Cli, tmp_path: Path) -> None:
    """The secrets come from a file and from standard input, and never show again."""
    secret_file = tmp_path / "secret"
    secret_file.write_text("canary-client-secret-0001\n")
    settings = {"AUTHPIPE_ALLOW_LOOPBACK_EGRESS": "true"}
    outputs = []
    made = cli.ok(
        "configs", "add", "discord", "--client-id", "42", "--client-secret-file", str(secret_file),
        "--app-credential-file", "-", "--scope", "identify", "--scope", "email",
        "--parameter", "permissions=2048", "--base-url", "http://127.0.0.1:9", "--json",
        stdin="canary-bot-token-0002\n", env=settings,
    )  # fmt: skip
    outputs.append(made)
    config = made.json
    assert (config["has_client_secret"], config["has_app_credential"]) == (True, True)
    assert config["scopes"] == ["identify", "email"]
    assert config["parameters"] == {"permissions": "2048"}
    assert config["redirect_uri"].endswith(f"/oauth/callback/{config['id']}")
    for arguments in (("list",), ("list", "--json"), ("show", "discord"), ("show", "discord", "--json")):
        outputs.append(cli.ok("configs", *arguments))
    assert cli.ok("configs", "disable", "discord", "--json").json["enabled"] is False
    assert cli.ok("configs", "enable", "discord", "--json").json["enabled"] is True
    assert cli.ok("configs", "remove", "discord", "--json").json["deleted"] is True
    ran = cli("configs", "show", "discord")
    assert ran.code == 1
    assert "authpipe configs add discord" in ran.complaint
    for output in outputs:
        assert "canary" not in output.out + output.err


def test_a_secret_is_read_from_a_variable(cli: Cli) -> None:
    """Its name is given, not its text."""
    made = cli.ok(
        "configs", "add", "drift", "--client-id", "d1", "--client-secret-env", "SHOP_DRIFT", "--json",
        env={"SHOP_DRIFT": "canary-client-secret-0003"},
    )  # fmt: skip
    assert made.json["has_client_secret"] is True
    ran = cli("configs", "add", "dialpad", "--client-id", "d1", "--client-secret-env", "NOT_SET_ANYWHERE")
    assert ran.code == 1
    assert "NOT_SET_ANYWHERE" in ran.complaint


def test_a_secret_nobody_gave_is_asked_for_only_at_a_terminal(cli: Cli) -> None:
    """A script hears what to give instead of hanging."""
    ran = cli("configs", "add", "aircall", "--client-id", "a1")
    assert ran.code == 1
    assert "--client-secret-file" in ran.complaint


def test_a_secret_typed_at_a_terminal_is_not_shown(cli: Cli) -> None:
    """The terminal does not echo it."""
    master, slave = os.openpty()
    with subprocess.Popen(
        [str(PROGRAM), "configs", "add", "dialpad", "--client-id", "d1", "--json"],
        stdin=slave, stdout=subprocess.PIPE, stderr=slave, env=cli.environment(), text=True,
        start_new_session=True,
    ) as program:  # fmt: skip
        os.close(slave)
        seen = b""
        while b"Client secret" not in seen:
            seen += os.read(master, 1024)
        # What is typed before the echo is off would be thrown away.
        while termios.tcgetattr(master)[3] & termios.ECHO:
            time.sleep(0.01)
        os.write(master, b"canary-typed-secret-0004\n")
        out = program.communicate(timeout=30)[0]
    assert program.returncode == 0
    assert '"has_client_secret": true' in out
    with contextlib.suppress(OSError):
        seen += os.read(master, 65_536)
    os.close(master)
    assert b"canary" not in seen


@pytest.mark.parametrize("group", ["connections", "installations"])
def test_empty_lists_are_lists(cli: Cli, group: str) -> None:
    """A document for scripts, a sentence for people."""
    assert cli.ok(group, "list", "--json").json == {"object": "list", "data": []}
    assert "no " in cli.ok(group, "list").out
    ran = cli(group, "show", "not-an-id")
    assert ran.code == 1
    assert "UUID" in ran.complaint
    ran = cli(group, "show", "0190d2a4-0000-7000-8000-000000000000")
    assert ran.code == 1
    assert f"authpipe {group} list" in ran.complaint


def test_the_catalog_is_listed_shown_and_checked(fresh: Cli, tmp_path: Path) -> None:
    """Without a database; a definition that cannot be used makes exit code 1."""
    assert [each["id"] for each in fresh.ok("providers", "list", "--json").json["data"]] == [
        "aircall", "clicksend", "dialpad", "discord", "drift",
    ]  # fmt: skip
    assert "Basic" in fresh.ok("providers", "list").out
    shown = fresh.ok("providers", "show", "discord")
    assert "guilds.members.read" in shown.out
    assert fresh.ok("providers", "show", "discord", "--json").json["auth_model"] == "installation_and_user"
    assert fresh.ok("providers", "lint").code == 0
    broken = tmp_path / "acme.toml"
    broken.write_text('id = "acme"\nnmae = "Acme"\n')
    ran = fresh("providers", "lint", str(broken), "--json")
    assert ran.code == 1
    assert any("nmae" in finding["message"] for finding in ran.json["data"])


def test_an_unknown_provider_gets_a_suggestion(fresh: Cli) -> None:
    """The catalog's own words, in one line."""
    ran = fresh("providers", "show", "discrod")
    assert (ran.code, ran.out) == (1, "")
    assert "did you mean discord" in ran.complaint


@pytest.mark.parametrize(
    "arguments",
    [
        ("keyz",),
        ("api-keys", "revoke"),
        ("api-keys", "list", "--nonsense"),
        ("environments", "create", "x", "--kind", "staging"),
        ("connections", "list", "--limit", "0"),
        ("credential", "get", "discord"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(fresh: Cli, arguments: tuple[str, ...]) -> None:
    """The line says where help is."""
    ran = fresh(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert "--help`" in ran.complaint


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        ({}, "AUTHPIPE_URL"),
        ({"AUTHPIPE_URL": "http://127.0.0.1:9"}, "authpipe api-keys create"),
        (
            {"AUTHPIPE_URL": "http://127.0.0.1:9", "AUTHPIPE_API_KEY": "apk_aaaaaaaa_canary"},
            "authpipe serve",
        ),
    ],
)
def test_asking_a_server_that_is_not_there_names_the_remedy(
    fresh: Cli, settings: dict[str, str], remedy: str
) -> None:
    """The API key is in none of it."""
    ran = fresh("credential", "get", "discord", "--tenant", "org_acme", env=settings)
    assert (ran.code, ran.out) == (1, "")
    assert remedy in ran.complaint
    assert "canary" not in ran.err


def test_a_wrong_setting_is_one_line_each(fresh: Cli) -> None:
    """Each names its variable; no value is shown."""
    ran = fresh("environments", "list", env={"AUTHPIPE_PORT": "canary", "AUTHPIPE_LOG_LEVEL": "loud"})
    assert ran.code == 1
    assert len(ran.err.splitlines()) == 2
    assert "AUTHPIPE_PORT" in ran.err
    assert "AUTHPIPE_LOG_LEVEL" in ran.err
    assert "canary" not in ran.err


def test_a_reader_that_goes_away_causes_no_trace(fresh: Cli) -> None:
    """As with ``authpipe providers show discord | head -1``."""
    program = f"{PROGRAM} providers show discord --json | head -c 1"
    done = subprocess.run(
        ["bash", "-c", program], capture_output=True, text=True, env=fresh.environment(), check=False
    )
    assert (done.stdout, done.stderr) == ("{", "")


def _commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, below in getattr(command, "commands", {}).items():
        yield from _commands(below, (*path, name))
    if not hasattr(command, "commands"):
        yield path


def test_every_command_has_help_and_is_on_the_reference_page() -> None:
    """And no command of the specification is missing."""
    app = build()
    page = (Path(__file__).parents[3] / "docs" / "reference" / "cli.md").read_text()
    found = list(_commands(get_command(app)))
    for path in found:
        shown = CliRunner().invoke(app, [*path, "--help"])
        assert shown.exit_code == 0
        assert f"`authpipe {' '.join(path)}" in page
    groups = {path[0] for path in found}
    assert groups >= {
        "init", "migrate", "dev", "serve", "worker", "sandbox", "demo", "environments", "configs", "connect",
        "credential", "connections", "installations", "providers", "api-keys", "version",
    }  # fmt: skip
