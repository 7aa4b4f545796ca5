"""Reports of refused credentials: one provider call for all of them, and a verdict that is acted on once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest

from authpipe.credentials.grants import Grant
from authpipe.credentials.provider import Providers
from authpipe.credentials.rejected import RejectedReports
from authpipe.credentials.upstream import Upstream
from authpipe.domain.clock import ManualClock
from authpipe.domain.connection import ConnectionStatus, InstallationStatus
from authpipe.domain.credential import CredentialKind, StoredCredential, UsableCredential
from authpipe.domain.errors import (
    Conflict,
    InvalidInput,
    NotConnected,
    NotFound,
    ProviderUnavailable,
    ReauthorizationRequired,
)
from authpipe.domain.provider_config import ProviderConfig
from authpipe.domain.secret import Secret
from authpipe.net.client import HttpClient
from authpipe.net.egress import EgressPolicy
from authpipe.sandbox import seeds
from authpipe.sandbox.faults import FaultOrder
from support.replica import Replica, Replicas
from support.scene import Scene, Stored

Reports = Callable[[Replica], RejectedReports]
PROBE = "/oauth2/@me"


@pytest.fixture
async def reports(scene: Scene, clock: ManualClock) -> AsyncIterator[Reports]:
    """The reports of a replica."""
    http = HttpClient(EgressPolicy(allow_loopback=True))
    made: list[RejectedReports] = []

    def of(replica: Replica) -> RejectedReports:
        providers = Providers(scene.catalog, replica.database, replica.vault)
        made.append(
            RejectedReports(
                database=replica.database,
                reader=replica.reader,
                refresh_now=replica.refresh_now,
                providers=providers,
                upstream=Upstream(providers=providers, http=http, metrics=replica.metrics),
                limits=replica.limits,
                clock=clock,
                metrics=replica.metrics,
            )
        )
        return made[-1]

    yield of
    for each in made:
        await each.close()
    await http.close()


async def report(reports: RejectedReports, stored: StoredCredential, version: int = 1) -> UsableCredential:
    found = await reports.find(stored.environment_id, stored.tenant_id, stored.credential_id)
    return await reports.settle(found, version=version)


async def report_by(
    reports: RejectedReports, stored: StoredCredential, number: int, version: int = 1
) -> list[UsableCredential | BaseException]:
    return await asyncio.gather(
        *(report(reports, stored, version) for _ in range(number)), return_exceptions=True
    )


def probes(scene: Scene, path: str = PROBE, provider: str = "discord") -> list[Any]:
    requests = scene.sandbox.state.journal.report(provider=provider, path=path)["requests"]
    assert isinstance(requests, list)
    return requests


def outcome(replica: Replica, word: str) -> float:
    return float(replica.metrics.rejected_reports.labels(word)._value.get())


async def known(scene: Scene, config: ProviderConfig, **token: Any) -> Stored:
    """A connection of somebody the provider can look up, as a probe does."""
    stored = await scene.connected(config, **token)
    issued = scene.sandbox.state.ledgers[config.provider].alive("access", stored.issued.access_token)
    assert issued is not None
    issued.authorization.user = seeds.PEOPLE[config.provider][0].username
    return stored


async def lasting(scene: Scene, config: ProviderConfig) -> Stored:
    """A token nothing but a person can replace."""
    return await known(scene, config, refreshable=False, lifetime=None)


async def test_fifty_reports_in_two_replicas_cause_one_refresh(
    scene: Scene, replicas: Replicas, config: ProviderConfig, reports: Reports
) -> None:
    """All get the same new token; nothing is probed, and there is one event."""
    stored = await scene.connected(config)
    both = [await replicas.start(), await replicas.start()]
    got = await asyncio.gather(
        *(report_by(of, stored.credential, 25) for of in [reports(replica) for replica in both])
    )
    tokens = {each.secret.reveal() for some in got for each in some if isinstance(each, UsableCredential)}
    assert [len(some) for some in got] == [25, 25]
    assert len(tokens) == 1
    assert scene.works(tokens.pop())
    assert len(scene.refreshes()) == 1
    assert probes(scene) == []
    assert [event.type for event in await scene.events()] == ["credential.refreshed"]
    assert sum(outcome(replica, "refreshed") + outcome(replica, "newer") for replica in both) == 50


async def test_a_later_version_is_given_at_once(
    scene: Scene, replica: Replica, config: ProviderConfig, reports: Reports
) -> None:
    """Whoever still has the one before is not worth a call."""
    stored = await scene.connected(config)
    of = reports(replica)
    await report(of, stored.credential)
    assert (await report(of, stored.credential)).version == 2
    assert len(scene.refreshes()) == 1
    assert (outcome(replica, "refreshed"), outcome(replica, "newer")) == (1, 1)


async def test_a_grant_that_was_revoked_is_found_out(
    scene: Scene, replica: Replica, config: ProviderConfig, reports: Reports
) -> None:
    """The refresh says so; one event, and everybody is told to reconnect."""
    stored = await scene.connected(config)
    scene.sandbox.state.ledgers["discord"].revoke()
    results = await report_by(reports(replica), stored.credential, 10)
    assert {(type(each), getattr(each, "reason", None)) for each in results} == {
        (ReauthorizationRequired, "revoked")
    }
    assert len(scene.refreshes()) == 1
    assert [event.type for event in await scene.events()] == ["connection.needs_reauth"]


async def test_a_probe_that_says_alive_is_asked_once_for_all_and_believed_for_30_s(
    scene: Scene, replica: Replica, config: ProviderConfig, reports: Reports, clock: ManualClock
) -> None:
    """The same version comes back; an application that reports in a loop is no storm."""
    stored = await lasting(scene, config)
    of = reports(replica)
    results = await report_by(of, stored.credential, 50)
    assert {each.version for each in results if isinstance(each, UsableCredential)} == {1}
    assert len(results) == 50
    clock.advance(timedelta(seconds=29))
    await report_by(of, stored.credential, 5)
    assert len(probes(scene)) == 1
    clock.advance(timedelta(seconds=1))
    await report(of, stored.credential)
    assert len(probes(scene)) == 2
    assert (await scene.owner(stored)).status is ConnectionStatus.ACTIVE
    assert await scene.events() == []
    assert outcome(replica, "alive") == 56


async def test_a_dead_one_is_marked_once(
    scene: Scene, replicas: Replicas, config: ProviderConfig, reports: Reports
) -> None:
    """By one event, however many processes found out in the same moment; then nobody asks again."""
    stored = await lasting(scene, config)
    scene.sandbox.state.ledgers["discord"].revoke()
    both = [await replicas.start(), await replicas.start()]
    of = [reports(replica) for replica in both]
    got = await asyncio.gather(*(report_by(each, stored.credential, 25) for each in of))
    assert {(type(each), getattr(each, "reason", None)) for some in got for each in some} == {
        (ReauthorizationRequired, "rejected")
    }
    assert 1 <= len(probes(scene)) <= 2
    asked = len(probes(scene))
    with pytest.raises(ReauthorizationRequired):
        await report(of[0], stored.credential)
    assert len(probes(scene)) == asked
    (event,) = await scene.events()
    assert (event.type, event.object_id) == ("connection.needs_reauth", str(stored.owner_id))
    assert event.data == {"provider": "discord", "user_id": "user_123", "reason": "rejected"}
    assert outcome(both[0], "dead") == 26


async def test_a_reconnect_that_comes_in_between_is_not_undone(
    scene: Scene, replica: Replica, config: ProviderConfig, reports: Reports
) -> None:
    """What the probe found dead is not what is stored any more."""
    connection = await scene.connection(config)
    stored = await scene.token(config, connection, refreshable=False, lifetime=None)
    scene.sandbox.state.ledgers["discord"].revoke()
    held = scene.sandbox.state.faults.add(FaultOrder("hold", path_contains=PROBE))
    of = reports(replica)
    reporting = asyncio.create_task(report(of, stored.credential))
    assert await held.wait_for(1, 10)
    await scene.token(config, connection, refreshable=False, lifetime=None, anew=True)
    held.release()
    with pytest.raises(NotConnected, match="replaced"):
        await asyncio.wait_for(reporting, 5)
    assert (await scene.owner(stored)).status is ConnectionStatus.ACTIVE
    assert await scene.events() == []


async def test_a_provider_that_cannot_say_changes_nothing(
    scene: Scene, replica: Replica, config: ProviderConfig, reports: Reports
) -> None:
    """5xx and silence are no verdict; the caller hears that it is the provider's trouble."""
    stored = await lasting(scene, config)
    fault = scene.sandbox.state.faults.add(FaultOrder("status", status=503))
    of = reports(replica)
    with pytest.raises(ProviderUnavailable):
        await report(of, stored.credential)
    scene.sandbox.state.faults.remove(fault.id)
    fault = scene.sandbox.state.faults.add(FaultOrder("drop_before"))
    with pytest.raises(ProviderUnavailable):
        await report(of, stored.credential)
    scene.sandbox.state.faults.remove(fault.id)
    assert (await report(of, stored.credential)).version == 1
    assert await scene.events() == []
    assert outcome(replica, "failed") == 2


async def test_a_dead_provider_is_left_alone(
    scene: Scene, replica: Replica, config: ProviderConfig, reports: Reports, clock: ManualClock
) -> None:
    """Its circuit is the one the refreshes share."""
    stored = await lasting(scene, config)
    scene.sandbox.state.faults.add(FaultOrder("status", status=503))
    of = reports(replica)
    for _ in range(12):
        with pytest.raises(ProviderUnavailable):
            await report(of, stored.credential)
    assert len(probes(scene)) == 8
    assert replica.limits.paused() == [config.provider_config_id]


async def test_a_token_of_a_moment_ago_is_tried_before_another_is_made(
    scene: Scene, replica: Replica, config: ProviderConfig, reports: Reports, clock: ManualClock
) -> None:
    """Who reports each new token again, for a reason of its own, gets no refresh out of it for 30 s."""
    stored = await known(scene, config)
    of = reports(replica)
    await report(of, stored.credential)
    assert (await report(of, stored.credential, 2)).version == 2
    assert (len(scene.refreshes()), len(probes(scene))) == (1, 1)
    scene.sandbox.state.ledgers["discord"].revoke()
    clock.advance(timedelta(seconds=29))
    assert (await report(of, stored.credential, 2)).version == 2
    clock.advance(timedelta(seconds=1))
    with pytest.raises(ReauthorizationRequired):
        await report(of, stored.credential, 2)
    assert len(scene.refreshes()) == 2


async def test_a_new_token_that_is_dead_condemns_nobody(
    scene: Scene, replica: Replica, config: ProviderConfig, reports: Reports
) -> None:
    """It is the provider's trouble until a refresh says otherwise."""
    stored = await scene.connected(config)
    of = reports(replica)
    await report(of, stored.credential)
    scene.sandbox.state.ledgers["discord"].revoke()
    with pytest.raises(ProviderUnavailable) as caught:
        await report(of, stored.credential, 2)
    assert caught.value.retry_after_s == 30
    assert (await scene.owner(stored)).status is ConnectionStatus.ACTIVE


async def test_a_bot_that_was_removed_is_marked(
    scene: Scene, replica: Replica, config: ProviderConfig, reports: Reports, clock: ManualClock
) -> None:
    """The installation it was removed from, and no other."""
    installation = await scene.installation(config)
    stored = await scene.bot(config, installation)
    of = reports(replica)
    bots = scene.sandbox.state.discord.guilds[installation.external_id].bots
    bots[seeds.client_id("discord")] = 0
    assert (await report(of, stored)).secret.reveal() == seeds.DISCORD_BOT_TOKEN
    clock.advance(timedelta(seconds=30))
    bots.clear()
    with pytest.raises(ReauthorizationRequired) as caught:
        await report(of, stored)
    assert (caught.value.reason, caught.value.installation_id) == (
        "rejected",
        str(installation.installation_id),
    )
    assert [event.type for event in await scene.events()] == ["installation.needs_reauth"]


async def test_an_application_that_is_refused_condemns_no_installation(
    scene: Scene, replica: Replica, config: ProviderConfig, reports: Reports
) -> None:
    """One incident on the provider config, however many report."""
    installation = await scene.installation(config)
    stored = await scene.bot(config, installation)
    scene.sandbox.state.faults.add(FaultOrder("status", status=401))
    results = await report_by(reports(replica), stored, 10)
    assert {getattr(each, "code", None) for each in results} == {"provider_config_refused"}
    assert (await scene.stored_config(config)).problem == "bot_token_refused"
    assert [event.type for event in await scene.events()] == ["provider_config.problem"]
    async with scene.database.tenant(scene.environment_id, scene.tenant_id) as transaction:
        now = await transaction.installations.get(
            scene.environment_id, scene.tenant_id, installation.installation_id
        )
    assert now is not None
    assert now.status is InstallationStatus.ACTIVE


async def test_a_key_is_tried_with_its_user_name(scene: Scene, replica: Replica, reports: Reports) -> None:
    """The parts that are no secret are needed for the request."""
    config = await scene.config("clicksend", client_id=None, client_secret_ciphertext=None)
    person = seeds.CLICKSEND_PEOPLE[0].username
    connection = await scene.connection(config, user_id=None)
    good = await scene.secret(
        config,
        connection,
        Grant(
            kind=CredentialKind.BASIC,
            secret=Secret(seeds.CLICKSEND_API_KEYS[person]),
            facts={"username": person},
        ),
    )
    assert (await report(reports(replica), good)).version == 1
    assert len(probes(scene, "/account", "clicksend")) == 1


async def test_a_webhooks_secret_cannot_be_tried(
    scene: Scene, replica: Replica, config: ProviderConfig, reports: Reports
) -> None:
    """There is no header to send it in."""
    installation = await scene.installation(config)
    stored = await scene.secret(
        config,
        installation,
        Grant(kind=CredentialKind.WEBHOOK_SECRET, secret=Secret("https://hooks.example.com/x"), facts={}),
    )
    with pytest.raises(Conflict) as caught:
        await report(reports(replica), stored)
    assert caught.value.code == "nothing_to_check"


async def test_what_is_not_there_cannot_be_reported(
    scene: Scene, replica: Replica, config: ProviderConfig, reports: Reports
) -> None:
    """Another tenant's id, and a version there has not been."""
    stored = (await scene.connected(config)).credential
    of = reports(replica)
    await scene.tenant("org_other")
    with pytest.raises(NotFound):
        await of.find(scene.environment_id, "org_other", stored.credential_id)
    with pytest.raises(InvalidInput) as caught:
        await report(of, stored, 2)
    assert caught.value.field == "version"
    assert scene.refreshes() == []


async def test_a_switched_off_provider_is_not_asked(
    scene: Scene, replica: Replica, config: ProviderConfig, reports: Reports
) -> None:
    """The answer is the one a read would give."""
    stored = await scene.connected(config)
    await scene.change_config(config, enabled=False)
    with pytest.raises(Conflict) as caught:
        await report(reports(replica), stored.credential)
    assert caught.value.code == "provider_disabled"
    assert scene.refreshes() == []


async def test_the_right_one_of_several_is_found(
    scene: Scene, replica: Replica, config: ProviderConfig, reports: Reports
) -> None:
    """By its id, where a read would have to choose."""
    first = await scene.token(config, await scene.connection(config, label="work"))
    second = await scene.token(
        config, await scene.connection(config, label="home", account_id="410000000000000009")
    )
    got = await report(reports(replica), second.credential)
    assert got.credential_id == second.credential.credential_id
    assert (await scene.now(first.credential)).version == 1
