"""``authpipe audit``, as the installed program, on a database somebody tampers with."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from urllib.parse import quote

import asyncpg

from support.cli import Cli


def tamper(cli: Cli, statement: str) -> None:
    """As a superuser of the embedded database."""
    directory = cli.data_dir / "postgres"
    password = (directory / "postgres.password").read_text()
    port = (directory / "data" / "postmaster.pid").read_text().splitlines()[3]

    async def run() -> None:
        connection = await asyncpg.connect(
            f"postgresql://postgres:{password}@/authpipe?host={quote(str(directory), safe='')}&port={port}"
        )
        await connection.execute(statement)
        await connection.close()

    asyncio.run(run())


def link(cli: Cli) -> None:
    """A worker, for as long as something waits."""
    with cli.running("worker"):
        deadline = time.monotonic() + 30
        while any(each["waiting"] for each in cli("audit", "verify", "--all", "--json").json["data"]):
            assert time.monotonic() < deadline


def test_a_chain_is_verified_exported_and_found_broken(cli: Cli, tmp_path: Path) -> None:
    """From intact to broken and back; the exit code tells, and the line says where."""
    cli.ok("environments", "create", "audited")
    for number in range(3):
        cli.ok("environments", "update", "audited", "--add-return-url", f"http://localhost:{3000 + number}/")
    # Whoever verifies seals nothing.
    ran = cli.ok("audit", "verify", "-e", "audited")
    assert ran.out.startswith("audited: intact, 0 events, head 0:")
    assert ran.out.endswith("4 wait for a worker to link them\n")
    link(cli)
    ran = cli.ok("audit", "verify", "-e", "audited")
    assert ran.out.startswith("audited: intact, 4 events, head 4:")
    head = ran.out.split("head ")[1].strip()
    document = cli.ok("audit", "verify", "-e", "audited", "--expect", head, "--json").json
    assert (document["intact"], document["sealed"], document["broken"]) == (True, True, None)
    assert f"{document['head']['position']}:{document['head']['hash']}" == head

    file = tmp_path / "export.jsonl"
    cli.ok("audit", "export", "-e", "audited", "--output", str(file))
    assert file.stat().st_mode & 0o777 == 0o600
    lines = file.read_text().splitlines()
    assert len(lines) == 6
    part = cli.ok("audit", "export", "-e", "audited", "--from", "2", "--to", "3").out.splitlines()
    assert part[1:3] == lines[2:4]

    # Where there is nothing but the file.
    elsewhere = Cli(tmp_path / "nowhere")
    assert f"head {head}" in elsewhere.ok("audit", "verify", "--export", str(file), "--expect", head).out
    assert not elsewhere.data_dir.exists()
    file.write_text("\n".join(lines).replace("localhost:3001", "localhost:3009"))
    ran = elsewhere("audit", "verify", "--export", str(file))
    assert ran.code == 1
    assert "BROKEN at position 3" in ran.out

    edited = json.loads(lines[2])
    change = f"UPDATE events SET source_address = {{}} WHERE event_id = '{edited['event_id']}'"
    tamper(cli, change.format("'192.0.2.1'"))
    ran = cli("audit", "verify", "-e", "audited")
    assert ran.code == 1
    assert ran.out.startswith(
        f"audited: BROKEN at position 2, event {edited['event_id']}, of {edited['created_at']}: "
    )
    ran = cli("audit", "verify", "--all", "--json")
    assert ran.code == 1
    verdicts = {each["name"]: each for each in ran.json["data"]}
    assert {name for name, each in verdicts.items() if not each["intact"]} == {"audited"}
    assert {"workspace", "development"} <= set(verdicts)
    assert verdicts["audited"]["broken"]["position"] == 2
    tamper(cli, change.format("NULL"))
    cli.ok("audit", "verify", "--all")


def test_history_made_anew_is_not_sealed_by_looking_at_it(cli: Cli) -> None:
    """Nor by asking for what is begun with an environment: that is refused where links are left."""
    cli.ok("environments", "create", "rewritten")
    link(cli)
    place = "(SELECT environment_id FROM environments WHERE name = 'rewritten')"
    tamper(cli, f"CREATE TABLE kept AS SELECT * FROM audit_heads WHERE environment_id = {place}")
    tamper(cli, f"DELETE FROM audit_heads WHERE environment_id = {place}")
    for _ in range(2):
        ran = cli("audit", "verify", "-e", "rewritten")
        assert (ran.code, "(head_missing)" in ran.out) == (1, True)
        cli.ok("audit", "export", "-e", "rewritten")
        assert cli.ok("audit", "begin").out == "every chain has begun: nothing to do\n"
    tamper(cli, "INSERT INTO audit_heads SELECT * FROM kept")
    cli.ok("audit", "verify", "-e", "rewritten")


def test_chains_are_begun_on_request(cli: Cli) -> None:
    """Those that a migration without the KEK left."""
    cli.ok("environments", "create", "late")
    place = "(SELECT environment_id FROM environments WHERE name = 'late')"
    tamper(cli, f"DELETE FROM audit_heads WHERE environment_id = {place}")
    (begun,) = cli.ok("audit", "begin", "--json").json["data"]
    assert begun["name"] == "late"
    cli.ok("audit", "verify", "-e", "late")


def test_a_migration_begins_the_chains_where_the_kek_is(fresh: Cli) -> None:
    """And says what is left to do where it is not."""
    ran = fresh.ok("migrate")
    assert "run authpipe audit begin where the KEK is" in ran.complaint
    fresh.ok("init")
    assert fresh("audit", "verify", "--workspace").code == 1
    assert fresh.ok("audit", "begin").out.startswith("workspace: begun")
    fresh.ok("audit", "verify", "--all")


def test_an_export_is_private_wherever_it_is_written(cli: Cli, tmp_path: Path) -> None:
    """Over a file everybody can read, which somebody may hold open, and through no link somebody has laid."""
    there = tmp_path / "there"
    there.write_text("old")
    there.chmod(0o644)
    with there.open() as held:
        cli.ok("audit", "export", "--output", str(there))
        assert held.read() == "old"
    assert there.stat().st_mode & 0o777 == 0o600
    assert there.read_text().startswith('{"object":"audit_export"')
    laid = tmp_path / "laid"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("kept")
    laid.symlink_to(elsewhere)
    ran = cli("audit", "export", "--output", str(laid))
    assert (ran.code, "no regular file" in ran.complaint) == (1, True)
    assert elsewhere.read_text() == "kept"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["elsewhere", "laid", "there"]


def test_events_are_listed(cli: Cli) -> None:
    """With who did it; filters narrow them."""
    cli.ok("api-keys", "create", "--name", "listed")
    found = cli.ok("audit", "list", "--type", "api_key.created", "--limit", "1", "--json").json["data"]
    assert [(each["type"], each["actor"]["kind"]) for each in found] == [("api_key.created", "command_line")]
    shown = cli.ok("audit", "list", "--object", found[0]["object_id"]).out
    assert "api_key.created" in shown
    assert cli.ok("audit", "list", "--tenant", "nobody").out == "no such event\n"
    cli.ok("audit", "list", "--workspace")


def test_what_cannot_be_is_refused_in_one_line(cli: Cli, tmp_path: Path) -> None:
    """A head, a place, a file, a range: each names its remedy."""
    rubbish = tmp_path / "rubbish"
    rubbish.write_text("{}\n")
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    good = tmp_path / "good"
    good.write_text("kept")
    for arguments, words in (
        (("verify", "--expect", "12"), "POSITION:HASH"),
        (("verify", "--all", "--expect", f"1:{'0' * 64}"), "leave --all out"),
        (("verify", "--export", str(rubbish)), "line 1"),
        (("verify", "--export", str(binary)), "UTF-8"),
        (("verify", "--export", str(tmp_path / "none")), "cannot be read"),
        (("export", "--from", "soon"), "--from takes"),
        (("export", "--to", "99999", "--output", str(good)), "between 1 and"),
        (("export", "--output", str(tmp_path / "no" / "such")), "cannot be written"),
        (("verify", "-e", "nowhere"), "nowhere"),
    ):
        ran = cli("audit", *arguments)
        assert ran.code in (1, 2)
        assert words in ran.complaint
    assert good.read_text() == "kept"
