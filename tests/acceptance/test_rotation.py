"""Twenty thousand credentials get new keys while they are read and refreshed, and the command keeps dying.

The promise: no reader sees a failure or a wrong secret, and whatever was cut off is finished by running the
same command again.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import asyncpg
import pytest

from authpipe.catalog.catalog import Catalog
from authpipe.credentials.contexts import refresh_context, secret_context
from authpipe.credentials.serve import CredentialReader, CredentialRequest
from authpipe.domain.clock import SystemClock
from authpipe.domain.credential import CredentialFor
from authpipe.domain.identifiers import new_id
from authpipe.domain.provider_config import ProviderConfig
from authpipe.domain.secret import Secret
from authpipe.sandbox.server import SandboxServer
from authpipe.server.settings import Settings, load_settings
from authpipe.server.wiring import Rooms, open_rooms
from authpipe.store.vault_keysets import DatabaseKeysets
from authpipe.vault import envelope
from authpipe.vault.aes_key import AesKey
from authpipe.vault.keks.local import LocalKek
from authpipe.vault.keks.ring import KekRing
from authpipe.vault.keyset import KeysetOwner
from authpipe.vault.vault import Vault
from support.cli import PROGRAM, Cli
from support.postgres import Dsns
from support.scene import Scene, Stored

CREDENTIALS = 20_000
SMALL_TENANTS = 1_500
BIG = "org_big"
KILLS = 10
READERS = 2
SEED = 20_260_517


def secret_of(number: int) -> str:
    return f"access-{number}"


def refresh_of(number: int) -> str:
    return f"refresh-{number}"


def tenant_of(number: int) -> str:
    """Four in every small tenant; most of all in the big one."""
    return f"org_{number % SMALL_TENANTS}" if number < 4 * SMALL_TENANTS else BIG


@dataclass
class World:
    """A database with its credentials, and a process that serves from it.

    ``keks`` are known to everybody; the first is the one that commands make primary.
    """

    scene: Scene
    config: ProviderConfig
    rooms: Rooms
    settings: Settings
    keks: list[LocalKek]

    def cli(self) -> Cli:
        uris = ",".join(kek.uri for kek in self.keks)
        return Cli(self.settings.data_dir, self.settings.as_environment() | {"AUTHPIPE_KEKS": uris})

    async def command(self, *arguments: str) -> Any:
        """Run to its end, which must be good."""
        return (await asyncio.to_thread(self.cli().ok, "keys", *arguments, "--json")).json


@pytest.fixture
async def world(dsns: Dsns, tmp_path: Path, catalog: Catalog) -> AsyncIterator[World]:
    """Twenty thousand connections with a token each, encrypted as the vault does, under the last KEK."""
    clock = SystemClock()
    keks = [LocalKek.create(tmp_path / f"kek-{number}") for number in range(12)]
    settings = load_settings(
        data_dir=tmp_path / "state",
        database_url=dsns.owner,
        keks=[kek.uri for kek in reversed(keks)],
        allow_loopback_egress=True,
        pool_size=8,
    )
    async with SandboxServer(clock=clock) as sandbox, open_rooms(settings) as rooms:
        scene = await Scene.set(rooms.database, rooms.vault, catalog, clock, sandbox)
        world = World(scene, await scene.config(), rooms, settings, keks)
        await fill(world, dsns.superuser)
        yield world


async def fill(world: World, superuser: str) -> None:
    environment_id, config_id = world.scene.environment_id, world.config.provider_config_id
    now, kek = world.scene.clock.now(), world.keks[-1]
    keys: dict[str, tuple[UUID, AesKey]] = {}
    wrapped, connections, credentials = [], [], []
    for number in range(CREDENTIALS):
        tenant_id = tenant_of(number)
        if tenant_id not in keys:
            key_id, key = keys[tenant_id] = new_id(), AesKey.generate()
            wrap = await kek.wrap(key, KeysetOwner(environment_id, tenant_id).associated_data(key_id))
            wrapped.append((environment_id, tenant_id, key_id, kek.kek_id, wrap, True, 100_000, now))
        key_id, key = keys[tenant_id]
        connection_id, credential_id = new_id(), new_id()
        place = (environment_id, tenant_id, credential_id)
        ciphertexts = [
            envelope.encrypt(Secret(text), context, key_id=key_id, key=key)
            for text, context in (
                (secret_of(number), secret_context(*place)),
                (refresh_of(number), refresh_context(*place)),
            )
        ]
        connections.append(
            (environment_id, tenant_id, connection_id, f"u{number}", config_id, "discord", "active", now, now)
        )
        credentials.append(
            (*place, "connection", connection_id, config_id, "discord", "oauth_token", "own", *ciphertexts,
             now + timedelta(days=1), now, now)
        )  # fmt: skip
    connection: asyncpg.Connection[Any] = await asyncpg.connect(superuser)
    await connection.execute("SET session_replication_role = replica")
    owner = "environment_id tenant_id"
    secrets = "secret_ciphertext refresh_ciphertext expires_at issued_at updated_at"
    for table, columns, rows in (
        ("tenants", f"{owner} created_at", [(environment_id, each, now) for each in keys]),
        (
            "data_keys",
            f"{owner} key_id kek_id wrapped is_primary encryptions created_at",
            wrapped,
        ),
        (
            "connections",
            f"{owner} connection_id user_id provider_config_id provider status created_at updated_at",
            connections,
        ),
        (
            "credentials",
            f"{owner} credential_id owner_kind owner_id provider_config_id provider kind source {secrets}",
            credentials,
        ),
    ):
        await connection.copy_records_to_table(table, records=rows, columns=columns.split())
    await connection.execute("ANALYZE")
    await connection.close()


class Readers:
    """Read random credentials one after the other until told to stop; what went wrong is kept."""

    def __init__(self, reader: CredentialReader, environment_id: UUID) -> None:
        self._reader = reader
        self._environment_id = environment_id
        self._tasks: list[asyncio.Task[None]] = []
        self.count = 0
        self.wrong: list[str] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._read(random.Random(seed))) for seed in range(READERS)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    async def _read(self, choose: random.Random) -> None:
        while True:
            await self.read(choose.randrange(CREDENTIALS))
            # The command has two cores to share with this.
            await asyncio.sleep(0.002)

    async def read(self, number: int) -> None:
        """One, by the way an application takes."""
        request = CredentialRequest(
            provider="discord",
            tenant_id=tenant_of(number),
            user_id=f"u{number}",
            credential_for=CredentialFor.USER,
        )
        try:
            got = await self._reader.get(self._environment_id, request)
        except Exception as error:  # whatever it is, it is what this test looks for
            self.wrong.append(f"{number}: {error!r} {getattr(error, 'detail', '')}")
        else:
            if got.secret.reveal() != secret_of(number):
                self.wrong.append(f"{number}: another secret")
        self.count += 1


class Refreshes:
    """Connect users of the big tenant one after the other, and refresh what each was given."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._stopping = asyncio.Event()
        self.made: list[Stored] = []

    async def __aenter__(self) -> Self:
        self._world.scene.tenant_id = BIG
        self._task = asyncio.create_task(self._refresh())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping.set()
        await self._task

    async def _refresh(self) -> None:
        scene = self._world.scene
        while not self._stopping.is_set():
            self.made.append(
                await scene.connected(
                    self._world.config, user_id=f"refreshed-{len(self.made)}", due_at=scene.clock.now()
                )
            )
            await self._world.rooms.refresh_worker.round()
            await asyncio.sleep(0.05)

    async def check(self) -> None:
        """Each was refreshed once, and the provider takes what is stored."""
        scene = self._world.scene
        for stored in self.made:
            now = await scene.now(stored.credential)
            assert now.version == 2
            access, refresh = await scene.secrets_of(now)
            assert scene.works(access)
            assert scene.refresh_works(refresh)


async def run_and_kill(world: World, *command: str, after_s: float) -> bool:
    """Start a command and kill it so long after its work began.  False when it was done by then."""
    child = await asyncio.create_subprocess_exec(
        str(PROGRAM),
        "keys",
        *command,
        env=world.cli().environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert child.stderr is not None
    # No line: the kill before this one came when all was done.
    at_work = b" of " in await asyncio.wait_for(child.stderr.readline(), 30)
    with contextlib.suppress(TimeoutError):
        assert await asyncio.wait_for(child.wait(), after_s if at_work else 30) == 0
        return False
    with contextlib.suppress(ProcessLookupError):
        child.kill()
    return await child.wait() == -signal.SIGKILL


async def rotate_keks(world: World, chance: random.Random) -> None:
    """From KEK to KEK: one that the command finished before its end is followed by the next."""
    kills = 0
    while kills < KILLS // 2:
        if await run_and_kill(world, "rotate-kek", after_s=chance.uniform(0, 0.4)):
            kills += 1
        else:
            world.keks.append(world.keks.pop(0))
    assert (await world.command("rotate-kek"))["left"] == 0


async def rotate_big_tenant(world: World, chance: random.Random) -> None:
    """Each run finishes what the one before it left, or begins anew."""
    kills = 0
    while kills < KILLS // 2:
        kills += await run_and_kill(world, "rotate-tenant", BIG, after_s=chance.uniform(0, 1.5))
    assert (await world.command("rotate-tenant", BIG))["left"] == 0


async def test_twenty_thousand_credentials_get_new_keys_under_load(world: World) -> None:
    """Killed ten times, it ends with all under new keys; neither readers nor refreshes ever noticed."""
    chance = random.Random(SEED)
    environment_id = world.scene.environment_id
    keysets = DatabaseKeysets(world.rooms.database)
    [first] = await keysets.load(environment_id, BIG)
    reader = world.rooms.credential_reader
    async with Readers(reader, environment_id) as readers, Refreshes(world) as refreshes:
        await rotate_keks(world, chance)
        await rotate_big_tenant(world, chance)
    await refreshes.check()
    assert readers.wrong == []
    assert readers.count > 1_000
    assert len(refreshes.made) > 50

    # What a refresh encrypted while the last run was ending is left to the worker.
    await world.rooms.rotating.upkeep.round()
    report = await world.command("status", "--check", "--all")
    newest = world.keks[0]
    assert report["clean"] is True
    assert report["keysets"] == SMALL_TENANTS + 2
    assert [kek["kek_id"] for kek in report["keks"]] == [newest.kek_id]
    [big] = [each for each in report["data"] if each["tenant_id"] == BIG]
    assert big["keys"] > 1
    assert big["payloads_under_old_keys"] == 0
    await all_readable_with(newest, world, first.key_id)


async def all_readable_with(kek: LocalKek, world: World, first_key_id: UUID) -> None:
    """By a process that has no other KEK: every secret, and a hundred by the way an application takes."""
    vault = Vault(KekRing(kek), DatabaseKeysets(world.rooms.database), world.scene.clock)
    async with world.rooms.database.environment(world.scene.environment_id) as transaction:
        rows = await transaction.connection.fetch(
            "SELECT k.*, c.user_id FROM credentials k JOIN connections c ON c.connection_id = k.owner_id"
            " WHERE c.user_id LIKE 'u%'"
        )
    assert len(rows) == CREDENTIALS
    for row in rows:
        number = int(row["user_id"].removeprefix("u"))
        place = (row["environment_id"], row["tenant_id"], row["credential_id"])
        secret = await vault.decrypt(row["secret_ciphertext"], secret_context(*place))
        refresh = await vault.decrypt(row["refresh_ciphertext"], refresh_context(*place))
        assert (secret.reveal(), refresh.reveal()) == (secret_of(number), refresh_of(number))
        if row["tenant_id"] == BIG:
            assert envelope.key_id_of(row["secret_ciphertext"]) != first_key_id
    settings = load_settings(
        data_dir=world.settings.data_dir, database_url=world.settings.database_url, keks=[kek.uri]
    )
    async with open_rooms(settings) as rooms:
        readers = Readers(rooms.credential_reader, world.scene.environment_id)
        for number in range(0, CREDENTIALS, CREDENTIALS // 100):
            await readers.read(number)
        assert readers.wrong == []
