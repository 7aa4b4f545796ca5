"""``authpipe tenants``: listing them, and erasing one only when that is really meant."""

from __future__ import annotations

import asyncio
import os
import pty
import subprocess
from typing import TYPE_CHECKING

from authpipe.cli.administration import origin
from authpipe.server.settings import load_settings
from authpipe.server.wiring import open_rooms
from support.cli import PROGRAM

if TYPE_CHECKING:
    from support.cli import Cli


def make_tenant(cli: Cli, tenant_id: str) -> None:
    """As the application's first connect session does."""

    async def make() -> None:
        async with open_rooms(load_settings(data_dir=cli.data_dir, log_level="WARNING")) as rooms:
            found = await rooms.environments.by_name("development")
            await rooms.connecting.amendment.tenant(
                found.environment_id, tenant_id, name="Acme Ltd", origin=origin()
            )

    asyncio.run(make())


def tenants(cli: Cli) -> list[str]:
    """The ids of those that exist."""
    return [each["id"] for each in cli.ok("tenants", "list", "--json").json["data"]]


def test_a_tenant_is_erased_and_its_certificate_printed(cli: Cli) -> None:
    """For people as names and values, for scripts with the fields of the HTTP API."""
    make_tenant(cli, "org_one")
    make_tenant(cli, "org_two")
    cli.ok("api-keys", "create", "--tenant", "org_two")
    assert "Acme Ltd" in cli.ok("tenants", "list").out
    ran = cli.ok("tenants", "erase", "org_one", "--yes")
    assert "org_one" in ran.out
    assert "Audit record" in ran.out
    told = cli.ok("tenants", "erase", "org_two", "--yes", "--json").json
    assert (told["object"], told["tenant_id"], told["api_keys"]) == ("tenant_erasure", "org_two", 1)
    assert told["finished_at"] >= told["began_at"]
    assert not {"org_one", "org_two"} & set(tenants(cli))


def test_nothing_is_erased_without_a_word(cli: Cli) -> None:
    """A script must say so; and what does not exist cannot be erased."""
    make_tenant(cli, "org_three")
    ran = cli("tenants", "erase", "org_three")
    assert ran.code == 1
    assert "--yes" in ran.complaint
    ran = cli("tenants", "erase", "org_nobody", "--yes")
    assert ran.code == 1
    assert "authpipe tenants list" in ran.complaint
    assert "org_three" in tenants(cli)


def test_the_id_has_to_be_typed(cli: Cli) -> None:
    """At a terminal: another id erases nothing, the right one does."""
    make_tenant(cli, "org_four")
    assert typed(cli, "org_four", "yes") == 1
    assert "org_four" in tenants(cli)
    assert typed(cli, "org_four", "org_four") == 0
    assert "org_four" not in tenants(cli)


def typed(cli: Cli, tenant_id: str, answer: str) -> int:
    """The exit code, when this is what a person types."""
    ours, theirs = pty.openpty()
    try:
        program = subprocess.Popen(
            [str(PROGRAM), "tenants", "erase", tenant_id],
            stdin=theirs,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=cli.environment(),
        )
        os.write(ours, f"{answer}\n".encode())
        return program.wait(60)
    finally:
        os.close(ours)
        os.close(theirs)
