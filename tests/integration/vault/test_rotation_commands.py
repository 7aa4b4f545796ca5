"""``authpipe keys`` as people and scripts use it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from authpipe.catalog.catalog import Catalog
from authpipe.domain.clock import ManualClock, SystemClock
from authpipe.domain.provider_config import ProviderConfig
from authpipe.sandbox.server import SandboxServer
from authpipe.server.first_start import prepare
from authpipe.server.settings import load_settings
from authpipe.server.wiring import Rooms, open_rooms
from authpipe.vault.keks.local import LocalKek
from authpipe.vault.keyset import KeysetOwner
from support.cli import Cli, Ran
from support.postgres import Dsns
from support.scene import Scene


@dataclass(frozen=True)
class Place:
    """An environment `development` with a tenant, a process that serves it, and commands beside that."""

    cli: Cli
    rooms: Rooms
    scene: Scene
    config: ProviderConfig
    kek: LocalKek

    async def run(self, *arguments: str, keks: str | None = None) -> Ran:
        more = {} if keks is None else {"AUTHPIPE_KEKS": keks}
        return await asyncio.to_thread(self.cli, "keys", *arguments, env=more)

    async def ok(self, *arguments: str, keks: str | None = None) -> Ran:
        ran = await self.run(*arguments, keks=keks)
        assert ran.code == 0, ran.err
        return ran


@pytest.fixture
async def place(dsns: Dsns, tmp_path: Path, catalog: Catalog, sandbox: SandboxServer) -> AsyncIterator[Place]:
    settings = load_settings(data_dir=tmp_path / "state", database_url=dsns.owner)
    prepare(settings)
    async with open_rooms(settings) as rooms:
        scene = await Scene.set(rooms.database, rooms.vault, catalog, SystemClock(), sandbox)
        yield Place(
            Cli(settings.data_dir, {"AUTHPIPE_DATABASE_URL": dsns.owner}),
            rooms,
            scene,
            await scene.config(),
            LocalKek.open(settings.data_dir / "kek.key", refuse_exposed=True),
        )


@pytest.fixture
def new_kek(tmp_path: Path) -> LocalKek:
    return LocalKek.create(tmp_path / "new-kek")


async def test_status_of_a_clean_installation(place: Place) -> None:
    """One screen: how many, under which KEK, and the word; the keysets themselves only when asked for."""
    await place.scene.connected(place.config)
    shown = (await place.ok("status", "--check")).out
    assert "2 keysets, 2 keys" in shown
    assert f"2 under {place.kek.kek_id} ({place.kek.uri}, primary)" in shown
    assert shown.endswith("0 secrets under old keys\nclean\n")
    assert "org_acme" not in shown
    assert "org_acme" in (await place.ok("status", "--all")).out
    chosen = (await place.ok("status", "-e", "development", "--tenant", "org_acme", "--json", "--all")).json
    [keyset] = chosen["data"]
    assert chosen["clean"] is True
    assert (keyset["environment"], keyset["tenant_id"]) == ("development", "org_acme")
    assert (keyset["kek_id"], keyset["kek_uri"]) == (place.kek.kek_id, place.kek.uri)
    assert (keyset["keys"], keyset["encryptions"]) == (1, 1024)
    assert keyset["primary_created_at"].startswith("20")


async def test_status_names_what_is_to_do(place: Place, new_kek: LocalKek) -> None:
    """The keysets concerned, the command that helps, and with --check an exit code for scripts."""
    await place.scene.connected(place.config)
    await place.run("rotate-tenant", "org_acme")
    both = f"{new_kek.uri},{place.kek.uri}"
    ran = await place.run("status", "--check", keks=both)
    assert ran.code == 1
    assert f"3 under {place.kek.kek_id} ({place.kek.uri})" in ran.out
    assert "3 keys are not under the primary KEK: authpipe keys rotate-kek" in ran.out
    assert "org_acme" in ran.out
    assert (await place.run("status", keks=both)).code == 0
    alone = (await place.ok("status", "--json", keks=new_kek.uri)).json
    assert [(kek["is_known"], kek["uri"]) for kek in alone["keks"]] == [(True, new_kek.uri), (False, None)]
    assert alone["keys_not_under_primary_kek"] == 3


async def test_a_tenants_rotation_tells_what_it_did(place: Place) -> None:
    """And the server goes on reading with what it heard meanwhile."""
    stored = await place.scene.connected(place.config)
    ran = await place.ok("rotate-tenant", "org_acme", "--json")
    assert ran.json["object"] == "keyset_rotation"
    assert (ran.json["reencrypted"], ran.json["left"]) == (2, 0)
    assert ran.json["new_primary_key_id"]
    access, _ = await place.scene.secrets_of(await place.scene.now(stored.credential))
    assert access == stored.issued.access_token
    told = (await place.ok("rotate-environment")).out
    assert "new primary key" in told
    assert "2 payloads re-encrypted" in told
    assert (await place.ok("status", "--json", "--check")).json["clean"] is True


async def test_what_was_cut_off_is_finished_first(place: Place) -> None:
    """Unless a new primary is demanded."""
    await place.scene.connected(place.config)
    ran = await place.ok("rotate-tenant", "org_acme", "--json")
    for_again = ran.json["new_primary_key_id"]
    async with place.rooms.database.system() as transaction:
        # The payloads name the first key again: nothing was moved yet.
        await transaction.connection.execute(
            "UPDATE data_keys SET is_primary = false, retired_at = now(), examine_at = now()"
            " WHERE key_id = $1::uuid",
            for_again,
        )
        await transaction.connection.execute(
            "UPDATE data_keys SET is_primary = true, retired_at = NULL, examine_at = NULL"
            " WHERE tenant_id = 'org_acme' AND key_id <> $1::uuid",
            for_again,
        )
    ran = await place.run("status", "--check")
    assert ran.code == 1
    assert "2 secrets under old keys" in ran.out
    assert "authpipe keys rotate-tenant org_acme -e development" in ran.out
    told = (await place.ok("rotate-tenant", "org_acme")).out
    assert "an earlier rotation finished: 2 payloads re-encrypted; --new-primary" in told
    assert "new primary key" in (await place.ok("rotate-tenant", "org_acme", "--new-primary")).out


async def test_kek_rotation_from_beginning_to_end(place: Place, new_kek: LocalKek) -> None:
    """Both are configured, the command runs, the old one goes; nothing on the way is unreadable."""
    stored = await place.scene.connected(place.config)
    both = f"{new_kek.uri},{place.kek.uri}"
    ran = await place.ok("rotate-kek", "--json", keks=both)
    assert ran.json == {
        "object": "kek_rotation", "kek_id": new_kek.kek_id, "kek_uri": new_kek.uri, "rewrapped": 2,
        "left": 0, "unknown_keks": [],
    }  # fmt: skip
    assert "0 keys rewrapped" in (await place.ok("rotate-kek", keks=both)).out
    await place.ok("status", "--check", keks=new_kek.uri)
    assert (await place.run("status", "--check")).code == 1
    settings = load_settings(
        data_dir=place.rooms.settings.data_dir,
        database_url=place.rooms.settings.database_url,
        keks=[new_kek.uri],
    )
    async with open_rooms(settings) as rooms:
        place.scene.vault = rooms.vault
        access, _ = await place.scene.secrets_of(await place.scene.now(stored.credential))
    assert access == stored.issued.access_token


async def test_a_missing_kek_is_named_and_fails_the_command(place: Place, new_kek: LocalKek) -> None:
    """The keys under it stay as they are."""
    await place.scene.connected(place.config)
    ran = await place.run("rotate-kek", "--json", keks=new_kek.uri)
    assert ran.code == 1
    assert ran.complaint.startswith(f"2 keys under {place.kek.kek_id}, which is not configured")
    assert ran.json["unknown_keks"] == [{"kek_id": place.kek.kek_id, "keys": 2}]
    assert (await place.ok("status", "--check")).code == 0


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (("rotate-tenant", "nobody"), "there is no keyset yet"),
        (("rotate-workspace",), "there is no keyset yet"),
        (("rotate-tenant", "org_acme", "-e", "elsewhere"), "elsewhere"),
        (("status", "-e", "elsewhere"), "elsewhere"),
    ],
)
async def test_what_does_not_exist_is_said_in_one_line(
    place: Place, command: tuple[str, ...], complaint: str
) -> None:
    """With exit code 1."""
    ran = await place.run(*command)
    assert ran.code == 1
    assert complaint in ran.complaint


async def test_ctrl_c_ends_it_at_once_and_says_what_then(place: Place, dsns: Dsns) -> None:
    """Even while it waits for the database; nothing is left half done."""
    await place.scene.connected(place.config)
    owner: asyncpg.Connection[Any] = await asyncpg.connect(dsns.owner)
    with place.cli.running("keys", "rotate-tenant", "org_acme") as program:
        async with owner.transaction():
            await owner.execute("LOCK TABLE credentials IN ACCESS EXCLUSIVE MODE")
            async with asyncio.timeout(30):
                while not await owner.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                    await asyncio.sleep(0.02)
            program.send_signal(signal.SIGINT)
            assert await asyncio.to_thread(program.wait, 20) == 130
        assert program.stderr is not None
        assert "the same command goes on from there" in program.stderr.read()
    await owner.close()
    assert (await place.ok("status", "--json")).json["clean"] is True


@pytest.mark.parametrize("room_for", [1, 10])
async def test_the_settings_bound_what_the_vault_holds(
    dsns: Dsns, tmp_path: Path, catalog: Catalog, sandbox: SandboxServer, clock: ManualClock, room_for: int
) -> None:
    """In number by AUTHPIPE_KEYSET_CACHE_SIZE, in time by AUTHPIPE_KEYSET_CACHE_S."""
    settings = load_settings(
        data_dir=tmp_path / "state", database_url=dsns.owner, keyset_cache_size=room_for, keyset_cache_s=7
    )
    prepare(settings)
    async with open_rooms(settings, clock=clock) as rooms:
        scene = await Scene.set(rooms.database, rooms.vault, catalog, clock, sandbox)
        config = await scene.config()
        await scene.connected(config)
        cache = rooms.vault._keysets._cache
        assert len(cache) == min(room_for, 2)
        clock.advance(timedelta(seconds=6.9))
        held = KeysetOwner(scene.environment_id, scene.tenant_id)
        assert cache.get(held) is not None
        clock.advance(timedelta(seconds=0.1))
        assert cache.get(held) is None
        assert len(cache) == 0
