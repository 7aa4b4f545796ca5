"""Erasing a tenant: nothing of it is left, nothing of others is touched, and the certificate counts it."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from authpipe.connect import erase
from authpipe.connect.disconnect import Disconnection
from authpipe.connect.erase import UNHURRIED, Patience
from authpipe.connect.erase_upstream import UpstreamErasure
from authpipe.credentials.contexts import secret_context
from authpipe.domain.access import ApiKeyRole
from authpipe.domain.connection import Connection
from authpipe.domain.erasure import Erasure, ErasureCertificate, ErasureCounts, ErasureStep
from authpipe.domain.errors import ConfigurationError, Conflict, NotFound, Unauthenticated, VaultError
from authpipe.domain.event import ActorKind, Origin
from authpipe.sandbox import seeds
from authpipe.sandbox.faults import FaultOrder
from authpipe.store.vault_keysets import DatabaseKeysets
from authpipe.vault.keks.local import LocalKek
from authpipe.vault.keks.ring import KekRing
from authpipe.vault.vault import Vault
from support.erasing import begin_erasure, left_of
from support.hosted import Hosted

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Back, Connect, Dsns

OPERATOR = Origin(actor_kind=ActorKind.COMMAND_LINE, actor_id="ada")
GUILD = "310000000000000001"
KEY = dict(zip(("username", "api_key"), next(iter(seeds.CLICKSEND_API_KEYS.items())), strict=True))


def alive(hosted: Hosted, provider: str = "discord") -> list[Any]:
    """The authorizations that still hold at the sandbox."""
    return [each for each in hosted.sandbox.state.ledgers[provider].authorizations if not each.revoked]


async def erased(hosted: Hosted, tenant_id: str = "org_acme", **given: Any) -> ErasureCertificate:
    """Erase a tenant of the scene's environment."""
    return await hosted.rooms.connecting.tenant_erasure.erase(
        hosted.scene.environment_id, tenant_id, **{"origin": OPERATOR, "patience": UNHURRIED} | given
    )


async def test_nothing_of_the_tenant_is_left_and_nothing_of_others_is_touched(
    hosted: Hosted, connect: Connect, go_and_come_back: Back, dsns: Dsns
) -> None:
    """Connections, installations, sessions, what waits for completion, keys: all go, here and upstream."""
    await connect(kind="installation", guild_id=GUILD, scopes=("bot", "webhook.incoming"))
    await connect()
    await connect("clicksend", key=KEY)
    await go_and_come_back("dialpad")
    await hosted.mint()
    await connect(tenant_id="org_other", who="grace")
    key, text = await hosted.rooms.api_keys.create(
        hosted.scene.environment_id,
        name="theirs",
        role=ApiKeyRole.SERVER,
        tenant_id="org_acme",
        origin=OPERATOR,
    )
    await hosted.rooms.changes.listening()
    assert (await hosted.rooms.authenticator.authenticate(text)).api_key.api_key_id == key.api_key_id
    certificate = await erased(hosted)
    assert await left_of(dsns.superuser, hosted.scene.environment_id, "org_acme") == {}
    assert certificate.counts == ErasureCounts(
        connections=2,
        installations=1,
        credentials=4,
        connect_sessions=5,
        remembered_answers=0,
        api_keys=1,
        data_keys=1,
        revoked_upstream=3,
        left_shared=0,
        not_revocable=1,
        not_revoked=0,
    )
    assert [each.user for each in alive(hosted)] == ["grace"]
    assert alive(hosted, "dialpad") == []
    assert seeds.DISCORD_CLIENT_ID not in hosted.sandbox.state.discord.guilds[GUILD].bots
    assert await hosted.credential(tenant_id="org_other", user_id="user_123")
    with pytest.raises(Unauthenticated):
        await hosted.rooms.authenticator.authenticate(text)
    with pytest.raises(NotFound):
        await erased(hosted)


async def test_the_certificate_is_the_audit_record(hosted: Hosted, connect: Connect) -> None:
    """One event, with who asked and the same counts; what the tenant did before stays as evidence."""
    await connect()
    before = [event.event_id for event in await hosted.events()]
    certificate = await erased(hosted)
    [told] = await hosted.events("tenant.erased")
    assert (told.event_id, told.tenant_id, told.object_id) == (certificate.event_id, "org_acme", "org_acme")
    assert told.origin == OPERATOR
    assert told.data == {
        **asdict(certificate.counts),
        "began_at": certificate.began_at.isoformat(),
        "finished_at": certificate.finished_at.isoformat(),
    }
    after = [event.event_id for event in await hosted.events()]
    assert after[: len(before)] == before


async def test_the_id_may_be_used_anew_with_a_fresh_keyset(
    hosted: Hosted, connect: Connect, dsns: Dsns
) -> None:
    """It is another tenant under the old name: it reads nothing of the old one and works like any other."""
    await connect()
    [old] = await _keys(dsns, "org_acme")
    await erased(hosted)
    connection = (await connect()).connection
    assert connection is not None
    assert await hosted.credential(tenant_id="org_acme", user_id="user_123")
    [new] = await _keys(dsns, "org_acme")
    assert new["key_id"] != old["key_id"]


async def test_several_connections_on_one_account_end_with_one_revocation(
    hosted: Hosted, connect: Connect
) -> None:
    """They do not protect each other, and the provider is asked once."""
    for user in ("user_1", "user_2", "user_3"):
        await connect("dialpad", user_id=user)
    certificate = await erased(hosted)
    assert (certificate.counts.revoked_upstream, certificate.counts.connections) == (3, 3)
    assert alive(hosted, "dialpad") == []
    asked = hosted.sandbox.state.journal.report(provider="dialpad", path="deauthorize")
    assert asked["count"] == 1


async def test_what_another_tenant_stands_on_is_left(hosted: Hosted, connect: Connect) -> None:
    """One account, two tenants: the other one goes on working."""
    await connect(tenant_id="org_acme")
    await connect(tenant_id="org_other")
    certificate = await erased(hosted)
    assert (certificate.counts.left_shared, certificate.counts.revoked_upstream) == (1, 0)
    assert await hosted.credential(tenant_id="org_other", user_id="user_123")
    assert (await erased(hosted, "org_other")).counts.revoked_upstream == 1


async def test_a_provider_that_does_not_answer_well_stops_nothing(
    hosted: Hosted, connect: Connect, dsns: Dsns
) -> None:
    """It is counted, and everything here is gone all the same."""
    await connect()
    hosted.sandbox.state.faults.add(
        FaultOrder("status", provider="discord", path_contains="revoke", status=503)
    )
    certificate = await erased(hosted)
    assert (certificate.counts.not_revoked, certificate.counts.revoked_upstream) == (1, 0)
    assert await left_of(dsns.superuser, hosted.scene.environment_id, "org_acme") == {}


@pytest.mark.parametrize("upstream_s", [0.0, 0.3])
async def test_providers_have_no_more_time_than_there_is(
    hosted: Hosted, connect: Connect, upstream_s: float, dsns: Dsns
) -> None:
    """One that never answers is given up; those that nobody came to are counted as well."""
    await connect()
    await connect("dialpad")
    await connect(kind="installation", guild_id=GUILD)
    for path in ("revoke", "guilds", "deauthorize"):
        hosted.sandbox.state.faults.add(FaultOrder("hang", path_contains=path))
    certificate = await erased(hosted, patience=Patience(upstream_s=upstream_s))
    assert (certificate.counts.not_revoked, certificate.counts.revoked_upstream) == (3, 0)
    assert await left_of(dsns.superuser, hosted.scene.environment_id, "org_acme") == {}


class Crash(Exception):
    """Stands for whatever ends a process."""


@pytest.mark.parametrize("step", list(ErasureStep))
async def test_an_erasure_that_was_interrupted_goes_on(
    hosted: Hosted, connect: Connect, go_and_come_back: Back, dsns: Dsns, step: ErasureStep
) -> None:
    """After whichever step: the next one ends it, and the certificate counts what both did."""
    await connect()
    await connect(kind="installation", guild_id=GUILD)
    await go_and_come_back("dialpad")
    steps = list(ErasureStep)

    def crash(erasure: Erasure) -> None:
        if steps.index(erasure.step) > steps.index(step) or erasure.counts.credentials:
            raise Crash

    with pytest.raises(Crash):
        await erased(hosted, progress=crash)
    with pytest.raises(Conflict) as refused:
        await hosted.mint()
    assert refused.value.code == "tenant_erasing"
    certificate = await hosted.rooms.connecting.tenant_erasure.resume()
    assert certificate is not None
    counts = certificate.counts
    assert (counts.connections, counts.installations, counts.credentials) == (1, 1, 2)
    assert (counts.revoked_upstream, counts.data_keys) == (3, 1)
    assert await left_of(dsns.superuser, hosted.scene.environment_id, "org_acme") == {}
    assert (await hosted.events("tenant.erased"))[-1].origin == OPERATOR
    assert await hosted.rooms.connecting.tenant_erasure.resume() is None


async def test_an_erasure_whose_process_died_is_taken_over_after_its_lease(
    hosted: Hosted, connect: Connect
) -> None:
    """Until then nobody else is at it; the worker ends it without being asked."""
    await connect()
    await _claim(hosted)
    with pytest.raises(Conflict) as refused:
        await erased(hosted)
    assert refused.value.code == "tenant_erasing"
    resumption = hosted.rooms.connecting.erasure_resumption
    assert await hosted.rooms.connecting.tenant_erasure.resume() is None
    hosted.clock.advance(timedelta(seconds=61))
    working = asyncio.create_task(resumption.run())
    async with asyncio.timeout(20):
        while not await hosted.events("tenant.erased"):
            await asyncio.sleep(0.02)
    resumption.stop()
    await asyncio.wait_for(working, 10)


async def test_a_process_that_lost_its_lease_stops(hosted: Hosted, connect: Connect, dsns: Dsns) -> None:
    """Another one went on meanwhile: it alone ends the work, and counts it."""
    await connect("dialpad")
    first, second = (
        hosted.sandbox.state.faults.add(FaultOrder("hold", path_contains="deauthorize", times=1))
        for _ in range(2)
    )
    slow = asyncio.create_task(erased(hosted))
    assert await first.wait_for(1, 10)
    hosted.clock.advance(timedelta(seconds=61))
    heir = asyncio.create_task(hosted.rooms.connecting.tenant_erasure.resume())
    assert await second.wait_for(1, 10)
    first.release()
    with pytest.raises(Conflict, match="another process"):
        await slow
    assert "data_keys" in await left_of(dsns.superuser, hosted.scene.environment_id, "org_acme")
    second.release()
    certificate = await heir
    assert certificate is not None
    assert (certificate.counts.connections, certificate.counts.data_keys) == (1, 1)
    assert len(await hosted.events("tenant.erased")) == 1


async def test_of_two_at_once_one_erases(hosted: Hosted, connect: Connect) -> None:
    """The other is told so, or comes too late."""
    await connect()
    ended = await asyncio.gather(*(erased(hosted) for _ in range(4)), return_exceptions=True)
    assert sum(isinstance(each, ErasureCertificate) for each in ended) == 1
    assert all(isinstance(each, ErasureCertificate | Conflict | NotFound) for each in ended)
    assert len(await hosted.events("tenant.erased")) == 1


async def test_a_request_does_not_wait_for_the_end_of_a_large_tenant(
    hosted: Hosted, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time is over: it says that the work goes on, and a worker ends it."""
    await connect()
    monkeypatch.setattr(erase, "BATCH", 1)
    with pytest.raises(Conflict, match="a worker goes on") as refused:
        await erased(hosted, patience=Patience(upstream_s=5, total_s=0))
    assert refused.value.code == "tenant_erasing"
    certificate = await hosted.rooms.connecting.tenant_erasure.resume()
    assert certificate is not None
    assert certificate.counts.revoked_upstream == 1


async def test_a_request_gives_no_grant_up_for_want_of_time(
    hosted: Hosted, connect: Connect, dsns: Dsns
) -> None:
    """What providers did not answer in time is left to the worker, which has more of it."""
    await connect()
    await connect("dialpad")
    hosted.sandbox.state.faults.add(FaultOrder("hang", path_contains="revoke", times=1))
    for upstream_s in (0.5, 0.0):
        with pytest.raises(Conflict, match="a worker goes on") as refused:
            await erased(hosted, patience=Patience(upstream_s=upstream_s, total_s=25))
        assert refused.value.code == "tenant_erasing"
        assert "data_keys" in await left_of(dsns.superuser, hosted.scene.environment_id, "org_acme")
    certificate = await hosted.rooms.connecting.tenant_erasure.resume()
    assert certificate is not None
    assert (certificate.counts.revoked_upstream, certificate.counts.not_revoked) == (2, 0)
    assert alive(hosted) == alive(hosted, "dialpad") == []


async def test_an_erasure_that_cannot_go_on_keeps_no_other_waiting(
    hosted: Hosted, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is put off for a minute; whoever asks for it by name need not wait."""
    for tenant_id, who in (("org_acme", "ada"), ("org_other", "grace")):
        await connect(tenant_id=tenant_id, who=who)
        await begin_erasure(hosted.rooms.database, hosted.clock, hosted.scene.environment_id, tenant_id)
        hosted.clock.advance(timedelta(seconds=1))
    resume = hosted.rooms.connecting.tenant_erasure.resume
    revoke, tried = Disconnection.revoke, []

    async def broken(self: Disconnection, connection: Connection) -> Any:
        tried.append(connection.tenant_id)
        if connection.tenant_id == "org_acme":
            raise OSError("from below")
        return await revoke(self, connection)

    monkeypatch.setattr(Disconnection, "revoke", broken)
    certificate = await resume()
    assert certificate is not None
    assert certificate.tenant_id == "org_other"
    assert await resume() is None
    hosted.clock.advance(timedelta(seconds=61))
    assert await resume() is None
    assert tried == ["org_acme", "org_other", "org_acme"]
    monkeypatch.undo()
    assert (await erased(hosted)).counts.revoked_upstream == 1


async def test_what_cannot_be_told_of_one_grant_stops_nothing(
    hosted: Hosted, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is counted like any other failure."""
    for user in ("user_1", "user_2"):
        await connect("dialpad", user_id=user)

    async def broken(*_: object) -> bool:
        raise ConfigurationError("gone")

    monkeypatch.setattr(UpstreamErasure, "_is_shared", broken)
    counts = (await erased(hosted)).counts
    assert (counts.revoked_upstream, counts.not_revoked) == (1, 1)


async def test_rows_go_in_batches(
    hosted: Hosted, connect: Connect, monkeypatch: pytest.MonkeyPatch, dsns: Dsns
) -> None:
    """None of which holds locks for long; all are told, so that caches elsewhere drop what they have."""
    for number in range(5):
        await connect("clicksend", key=KEY, user_id=f"user_{number}")
    monkeypatch.setattr(erase, "BATCH", 2)
    heard: list[str] = []
    listener = await asyncpg.connect(dsns.owner)
    await listener.add_listener("authpipe_credentials", lambda *told: heard.append(str(told[-1])))
    seen: list[int] = []
    certificate = await erased(hosted, progress=lambda erasure: seen.append(erasure.counts.credentials))
    assert certificate.counts.credentials == 5
    assert sorted(set(seen) - {0}) == [2, 4, 5]
    async with asyncio.timeout(10):
        while len(set(heard)) < 5:
            await asyncio.sleep(0.01)
    await listener.close()


async def test_a_saved_ciphertext_is_unreadable_and_a_restored_keyset_reads_it_until_its_kek_is_gone(
    hosted: Hosted, connect: Connect, dsns: Dsns, tmp_path: Path
) -> None:
    """What a backup of before can do: nothing with the rows alone, all with the keyset and its KEK."""
    await connect()
    superuser = await asyncpg.connect(dsns.superuser)
    [row] = await superuser.fetch("SELECT * FROM credentials WHERE tenant_id = 'org_acme'")
    keys = await _keys(dsns, "org_acme")
    plain = await hosted.credential(tenant_id="org_acme", user_id="user_123")
    place = secret_context(hosted.scene.environment_id, "org_acme", row["credential_id"])
    assert (await hosted.rooms.vault.decrypt(row["secret_ciphertext"], place)).reveal() == plain
    await erased(hosted)
    ring = LocalKek.open(hosted.rooms.settings.data_dir / "kek.key", refuse_exposed=True)
    database = hosted.rooms.database

    def fresh(kek: LocalKek) -> Vault:
        return Vault(KekRing(kek), DatabaseKeysets(database), hosted.clock)

    for vault in (hosted.rooms.vault, fresh(ring)):
        with pytest.raises(VaultError):
            await vault.decrypt(row["secret_ciphertext"], place)
    await superuser.execute("SET session_replication_role = replica")
    for key in keys:
        names = ", ".join(key.keys())
        marks = ", ".join(f"${number}" for number in range(1, len(key) + 1))
        await superuser.execute(f"INSERT INTO data_keys ({names}) VALUES ({marks})", *key.values())
    await superuser.close()
    assert (await fresh(ring).decrypt(row["secret_ciphertext"], place)).reveal() == plain
    with pytest.raises(VaultError):
        await fresh(LocalKek.create(tmp_path / "new")).decrypt(row["secret_ciphertext"], place)


async def _claim(hosted: Hosted) -> None:
    await begin_erasure(hosted.rooms.database, hosted.clock, hosted.scene.environment_id, "org_acme")
    now = hosted.clock.now()
    async with hosted.rooms.database.tenant(hosted.scene.environment_id, "org_acme") as transaction:
        assert await transaction.erasures.claim(
            hosted.scene.environment_id, "org_acme", now=now, lease_until=now + timedelta(seconds=60)
        )


async def _keys(dsns: Dsns, tenant_id: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(dsns.superuser)
    try:
        return await connection.fetch("SELECT * FROM data_keys WHERE tenant_id = $1", tenant_id)
    finally:
        await connection.close()
