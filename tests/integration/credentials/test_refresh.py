"""One refresh attempt against a provider: what each answer does to credential, connection and config."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from authpipe.credentials.contexts import refresh_context, secret_context
from authpipe.credentials.outcome import Refreshed, Step
from authpipe.domain.clock import ManualClock
from authpipe.domain.connection import ConnectionStatus
from authpipe.domain.credential import StoredCredential
from authpipe.domain.provider_config import ProviderConfig
from authpipe.sandbox.faults import FaultOrder
from support.postgres import Dsns
from support.replica import Replica, Replicas
from support.scene import Scene, Stored

LEASE = timedelta(seconds=60)


def fault(scene: Scene, kind: Any, **order: Any) -> None:
    """The next refresh request at the simulator goes wrong in this way."""
    order = {"times": 1, "grant_type": "refresh_token", **order}
    scene.sandbox.state.faults.add(FaultOrder(kind, **order))


async def attempt(scene: Scene, replica: Replica, stored: Stored) -> Refreshed:
    return await replica.engine.attempt(await scene.claim(stored.credential))


async def names(scene: Scene) -> list[str]:
    return [event.type for event in await scene.events()]


async def test_a_refresh_stores_the_new_tokens_and_keeps_the_previous(
    scene: Scene, replica: Replica, config: ProviderConfig, clock: ManualClock, dsns: Dsns
) -> None:
    """New access and refresh token, new times, version up, lease gone; the old ones stay, encrypted."""
    stored = await scene.connected(config, lifetime=timedelta(hours=1))
    clock.advance(timedelta(minutes=55))
    assert await attempt(scene, replica, stored) is Refreshed.REFRESHED
    now = await scene.now(stored.credential)
    access, refresh = await scene.secrets_of(now)
    assert scene.works(access)
    assert scene.refresh_works(refresh)
    assert access != stored.issued.access_token
    assert refresh != stored.issued.refresh_token
    assert not scene.refresh_works(stored.issued.refresh_token)
    assert (now.version, now.lease, now.lease_until) == (2, None, None)
    assert now.expires_at == clock.now() + timedelta(days=7)
    assert now.refresh_due_at is not None
    assert clock.now() + timedelta(days=6) < now.refresh_due_at < now.expires_at
    superuser = await asyncpg.connect(dsns.superuser)
    previous = await superuser.fetchrow("SELECT * FROM credentials")
    await superuser.close()
    place = (scene.environment_id, scene.tenant_id, now.credential_id)
    assert previous is not None
    assert (
        await scene.vault.decrypt(previous["previous_secret_ciphertext"], secret_context(*place))
    ).reveal() == stored.issued.access_token
    assert (
        await scene.vault.decrypt(previous["previous_refresh_ciphertext"], refresh_context(*place))
    ).reveal() == stored.issued.refresh_token
    assert previous["previous_until"] == clock.now() + timedelta(hours=1)


async def test_a_refresh_writes_one_event_in_its_own_transaction(
    scene: Scene, replica: Replica, config: ProviderConfig
) -> None:
    """With ids, version and end; no secret in it."""
    stored = await scene.connected(config)
    await attempt(scene, replica, stored)
    (event,) = await scene.events()
    assert event.type == "credential.refreshed"
    assert event.object_id == str(stored.credential.credential_id)
    assert event.data["connection_id"] == str(stored.owner_id)
    assert event.data["version"] == 2
    assert set(event.data) == {"provider", "connection_id", "user_id", "version", "expires_at"}


async def test_the_second_refresh_uses_the_rotated_token(
    scene: Scene, replica: Replica, config: ProviderConfig
) -> None:
    """The first refresh is easy; the chain must hold."""
    stored = await scene.connected(config)
    for _ in range(4):
        assert await attempt(scene, replica, stored) is Refreshed.REFRESHED
    used = [request["refresh_token_sha256"] for request in scene.refreshes()]
    assert len(set(used)) == 4
    assert (await scene.now(stored.credential)).version == 5


async def test_an_installations_token_is_refreshed_as_well(scene: Scene, replica: Replica) -> None:
    """The same engine; the event names the installation."""
    drift = await scene.config("drift")
    stored = await scene.token(drift, await scene.installation(drift))
    assert await attempt(scene, replica, stored) is Refreshed.REFRESHED
    (event,) = await scene.events()
    assert event.data["installation_id"] == str(stored.owner_id)
    access, _ = await scene.secrets_of(await scene.now(stored.credential))
    assert scene.works(access, "drift")


async def test_a_revoked_grant_needs_reauthorization_with_one_event(
    scene: Scene, replica: Replica, config: ProviderConfig
) -> None:
    """At the first refusal, not after days; and nobody asks the provider again."""
    stored = await scene.connected(config)
    scene.sandbox.state.ledgers["discord"].revoke()
    assert await attempt(scene, replica, stored) is Refreshed.CONDEMNED
    owner = await scene.owner(stored)
    assert (owner.status, owner.status_reason) == (ConnectionStatus.NEEDS_REAUTH, "revoked")
    now = await scene.now(stored.credential)
    assert (now.refresh_due_at, now.lease, now.version) == (None, None, 1)
    assert await names(scene) == ["connection.needs_reauth"]
    assert await replica.worker.round() == 0
    assert len(scene.refreshes()) == 1


async def test_a_refused_client_is_a_problem_of_the_config_and_condemns_no_connection(
    scene: Scene, replica: Replica, config: ProviderConfig, clock: ManualClock
) -> None:
    """One incident for all connections, closed by the first refresh after the operator mended it."""
    stored = [await scene.connected(config, user_id=str(number), due_at=clock.now()) for number in range(3)]
    await scene.client_secret(config, "wrong")
    assert await replica.worker.round() == 3
    assert (await scene.stored_config(config)).problem == "invalid_client"
    for each in stored:
        assert (await scene.owner(each)).status is ConnectionStatus.ACTIVE
    told = await names(scene)
    assert told.count("provider_config.problem") == 1
    assert "connection.needs_reauth" not in told
    asked = len(scene.refreshes())
    assert 1 <= asked <= 3
    await scene.client_secret(config, "sandbox-discord-secret-0000000000000000")
    clock.advance(timedelta(minutes=15))
    assert await replica.worker.round() == 1, "one is the trial"
    assert await replica.worker.round() == 2
    assert (await scene.stored_config(config)).problem is None
    told = await names(scene)
    assert told.count("provider_config.recovered") == 1
    assert told.count("credential.refreshed") == 3
    assert told.count("credential.refresh_failed") == asked, "what was not asked did not fail"


@pytest.mark.parametrize(
    ("kind", "order", "unknown"),
    [
        ("status", {"status": 500}, True),
        ("status", {"status": 503}, True),
        ("status", {"status": 502, "acts": True}, True),
        ("status", {"status": 302}, True),
        ("rate_limit", {"retry_after": 3}, False),
        ("drop_before", {}, True),
        ("drop_after", {}, True),
        ("malformed_json", {}, True),
        ("large_body", {"bytes": 2_000_000}, True),
        ("status", {"status": 400, "body": {"error": "temporarily_unavailable"}}, True),
        ("status", {"status": 400, "body": {"error": "slow_down"}}, False),
        ("status", {"status": 400, "body": {"error": "something_new"}}, False),
        ("status", {"status": 403, "body": "<html>blocked</html>"}, False),
    ],
)
async def test_a_passing_failure_postpones(
    scene: Scene,
    replica: Replica,
    config: ProviderConfig,
    clock: ManualClock,
    kind: str,
    order: dict[str, Any],
    unknown: bool,
) -> None:
    """The connection stays active; whether the provider may have acted is written down."""
    stored = await scene.connected(config)
    fault(scene, kind, **order)
    assert await attempt(scene, replica, stored) is Refreshed.POSTPONED
    now = await scene.now(stored.credential)
    assert now.outcome_unknown is unknown
    assert (now.lease, now.version, now.refresh_failures) == (None, 1, 1)
    # When it last worked is not forgotten.
    assert (now.issued_at, now.expires_at) == (stored.credential.issued_at, stored.credential.expires_at)
    assert now.refresh_due_at is not None
    assert now.refresh_due_at > clock.now()
    assert (await scene.owner(stored)).status is ConnectionStatus.ACTIVE
    assert await names(scene) == ["credential.refresh_failed"]


async def test_a_provider_that_does_not_answer_costs_its_deadline_and_no_more(
    scene: Scene, replica: Replica, config: ProviderConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call ends well inside the lease."""
    monkeypatch.setattr("authpipe.credentials.refresh.PROVIDER_DEADLINE_S", 0.3)
    stored = await scene.connected(config)
    fault(scene, "hang")
    started = asyncio.get_running_loop().time()
    assert await attempt(scene, replica, stored) is Refreshed.POSTPONED
    assert asyncio.get_running_loop().time() - started < 2
    assert (await scene.now(stored.credential)).outcome_unknown


async def test_a_provider_that_cannot_be_reached_leaves_no_doubt(scene: Scene, replica: Replica) -> None:
    """Nothing was sent, so the refresh token was not used."""
    config = await scene.config(base_url="http://127.0.0.1:9/discord")
    stored = await scene.connected(config)
    assert await attempt(scene, replica, stored) is Refreshed.POSTPONED
    assert not (await scene.now(stored.credential)).outcome_unknown


async def test_an_unknown_outcome_is_tried_once_more_and_then_given_up(
    scene: Scene, replica: Replica, config: ProviderConfig, clock: ManualClock
) -> None:
    """The provider rotated and the answer was lost: the old token is refused, and the reason tells why."""
    stored = await scene.connected(config)
    fault(scene, "drop_after")
    assert await attempt(scene, replica, stored) is Refreshed.POSTPONED
    clock.advance(timedelta(seconds=5))
    assert await replica.worker.round() == 1
    owner = await scene.owner(stored)
    assert (owner.status, owner.status_reason) == (ConnectionStatus.NEEDS_REAUTH, "refresh_outcome_unknown")
    used = [request["refresh_token_sha256"] for request in scene.refreshes()]
    assert used == [scene.digest(stored.issued.refresh_token)] * 2


async def test_an_unknown_outcome_that_was_none_recovers(
    scene: Scene, replica: Replica, config: ProviderConfig, clock: ManualClock
) -> None:
    """The connection was cut before the provider acted: the old token still works."""
    stored = await scene.connected(config)
    fault(scene, "drop_before")
    await attempt(scene, replica, stored)
    clock.advance(timedelta(seconds=5))
    assert await replica.worker.round() == 1
    now = await scene.now(stored.credential)
    assert (now.version, now.outcome_unknown, now.refresh_failures) == (2, False, 0)
    assert (await scene.owner(stored)).status is ConnectionStatus.ACTIVE


async def test_a_refused_client_does_not_hide_an_earlier_doubt(
    scene: Scene, replica: Replica, config: ProviderConfig, clock: ManualClock
) -> None:
    """The answer says nothing about the refresh token; the final reason is still that of the lost answer."""
    stored = await scene.connected(config)
    fault(scene, "drop_after")
    await attempt(scene, replica, stored)
    fault(scene, "status", status=401, body={"error": "invalid_client"})
    assert await attempt(scene, replica, stored) is Refreshed.POSTPONED
    clock.advance(timedelta(hours=1))
    assert await attempt(scene, replica, stored) is Refreshed.CONDEMNED
    assert (await scene.owner(stored)).status_reason == "refresh_outcome_unknown"


async def test_retry_after_is_obeyed(
    scene: Scene, replica: Replica, config: ProviderConfig, clock: ManualClock
) -> None:
    """No request goes out before the provider's time is up."""
    stored = await scene.connected(config, due_at=clock.now())
    fault(scene, "rate_limit", retry_after=120)
    assert await replica.worker.round() == 1
    clock.advance(timedelta(seconds=119))
    assert await replica.worker.round() == 0
    clock.advance(timedelta(seconds=2))
    assert await replica.worker.round() == 1
    assert (await scene.now(stored.credential)).version == 2


async def test_failures_of_one_credential_back_off_and_tell_once(
    scene: Scene, replica: Replica, config: ProviderConfig, clock: ManualClock
) -> None:
    """A day of an unreachable provider costs about a hundred calls and one event, not sixty thousand."""
    stored = await scene.connected(config, due_at=clock.now())
    fault(scene, "status", status=503, times=None)
    ends = clock.now() + timedelta(days=1)
    while clock.now() < ends:
        await replica.worker.round()
        clock.advance(timedelta(minutes=1))
    assert 60 <= len(scene.refreshes()) <= 200
    assert await names(scene) == ["credential.refresh_failed"]
    scene.sandbox.state.faults.clear()
    clock.advance(timedelta(minutes=20))
    await replica.worker.round()
    assert (await scene.now(stored.credential)).version == 2
    assert (await scene.owner(stored)).status is ConnectionStatus.ACTIVE


async def test_a_provider_that_is_down_is_left_alone(
    scene: Scene, replica: Replica, config: ProviderConfig, clock: ManualClock
) -> None:
    """After eight failures nothing is claimed for it until a trial works; then all are refreshed."""
    stored = [await scene.connected(config, user_id=str(number), due_at=clock.now()) for number in range(40)]
    fault(scene, "status", status=503, times=None)
    await replica.worker.round()
    first = len(scene.refreshes())
    assert first < 40
    assert await replica.worker.round() == 0
    for _ in range(60):
        clock.advance(timedelta(seconds=10))
        await replica.worker.round()
    assert len(scene.refreshes()) - first <= 10
    scene.sandbox.state.faults.clear()
    for _ in range(300):
        clock.advance(timedelta(seconds=10))
        await replica.worker.round()
    for each in stored:
        assert (await scene.now(each.credential)).version == 2
    told = await names(scene)
    assert "connection.needs_reauth" not in told
    assert told.count("credential.refresh_failed") <= 40


async def test_callers_that_are_refused_while_the_circuit_is_open_do_not_keep_it_open(
    scene: Scene, replica: Replica, config: ProviderConfig, clock: ManualClock
) -> None:
    """Only what the provider did counts against it."""
    stored = [await scene.connected(config, user_id=str(number)) for number in range(9)]
    fault(scene, "status", status=503, times=None)
    for each in stored[:8]:
        await attempt(scene, replica, each)
    scene.sandbox.state.faults.clear()
    for _ in range(14):
        clock.advance(timedelta(seconds=1))
        assert await attempt(scene, replica, stored[8]) is Refreshed.POSTPONED
    clock.advance(timedelta(seconds=1))
    assert await attempt(scene, replica, stored[8]) is Refreshed.REFRESHED
    assert len(scene.refreshes()) == 9


async def test_the_steps_are_observed_in_order(
    scene: Scene, replicas: Replicas, config: ProviderConfig
) -> None:
    """Claimed, sent, answered, on disk, committed: the points a crash is tested at."""
    steps: list[Step] = []

    def observe(step: Step, _credential: StoredCredential) -> None:
        steps.append(step)

    replica = await replicas.start(observe=observe)
    await attempt(scene, replica, await scene.connected(config))
    assert steps == list(Step)


@pytest.mark.parametrize("what", ["a lost key", "a config without a client id", "a damaged ciphertext"])
async def test_trouble_of_ours_is_postponed_and_blamed_on_nobody(
    scene: Scene, replicas: Replicas, config: ProviderConfig, clock: ManualClock, dsns: Dsns, what: str
) -> None:
    """No request, no doubt, no condemned connection; the lease is given back and one event tells."""
    stored = await scene.connected(config)
    superuser = await asyncpg.connect(dsns.superuser)
    if what == "a lost key":
        await superuser.execute("DELETE FROM data_keys WHERE tenant_id = $1", scene.tenant_id)
    elif what == "a damaged ciphertext":
        await superuser.execute("UPDATE credentials SET refresh_ciphertext = refresh_ciphertext || '\\x00'")
    else:
        await scene.change_config(config, client_id=None)
    await superuser.close()
    assert await attempt(scene, await replicas.start(), stored) is Refreshed.POSTPONED
    now = await scene.now(stored.credential)
    assert (now.lease, now.outcome_unknown, now.refresh_failures) == (None, False, 1)
    assert now.refresh_due_at is not None
    assert now.refresh_due_at >= clock.now() + timedelta(minutes=10)
    assert scene.refreshes() == []
    (event,) = await scene.events()
    assert (event.type, event.data["class"]) == ("credential.refresh_failed", "misconfigured")
    assert (await scene.owner(stored)).status is ConnectionStatus.ACTIVE
