"""The change stream over HTTP: what is told, to whom, how soon, and when it says that it missed some."""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import aiohttp
import asyncpg
import pytest

from authpipe.domain.access import ApiKeyRole
from authpipe.domain.event import ActorKind, Origin
from authpipe.domain.identifiers import new_id
from authpipe.events.record import record
from authpipe.events.types import EventType
from support.problems import is_problem
from support.streams import Told, reading

if TYPE_CHECKING:
    from authpipe.server.settings import Settings
    from conftest import Api, Dsns

ORIGIN = Origin(actor_kind=ActorKind.COMMAND_LINE)
OTHER_TENANT = "org_other"
NULLS = {"user_id": None, "connection_id": None, "installation_id": None, "credential_id": None}
# Another process records a change, and says at what moment it was committed.
ELSEWHERE = """
import asyncio, sys, time
from datetime import UTC, datetime
from uuid import UUID
from authpipe.domain.event import ActorKind, Origin
from authpipe.domain.identifiers import new_id
from authpipe.events.record import record
from authpipe.events.types import EventType
from authpipe.store.database import Database

async def main():
    database = await Database.connect(sys.argv[1])
    environment_id = UUID(sys.argv[2])
    for line in sys.stdin:
        connection_id = new_id()
        async with database.environment(environment_id) as transaction:
            await record(
                transaction, EventType.CONNECTION_DISCONNECTED, environment_id=environment_id,
                tenant_id="org_acme", object_kind="connection", object_id=connection_id,
                origin=Origin(actor_kind=ActorKind.COMMAND_LINE), at=datetime.now(UTC),
                data={"provider": "discord", "user_id": "user_123"},
            )
        print(connection_id, time.monotonic(), flush=True)
    await database.close()

asyncio.run(main())
"""


async def happened(
    api: Api,
    type: EventType = EventType.CONNECTION_DISCONNECTED,  # noqa: A002  # the field's own name
    *,
    tenant_id: str | None = "org_acme",
    object_kind: str = "connection",
    object_id: UUID | str | None = None,
    environment_id: UUID | None = None,
    **data: Any,
) -> str:
    """Record an event; returns the id of its object."""
    named = str(object_id or new_id())
    environment_id = environment_id or api.environment_id
    async with api.rooms.database.environment(environment_id) as transaction:
        await record(
            transaction,
            type,
            environment_id=environment_id,
            tenant_id=tenant_id,
            object_kind=object_kind,
            object_id=named,
            origin=ORIGIN,
            at=api.clock.now(),
            data={"provider": "discord", **data},
        )
    return named


def url_of(api: Api) -> str:
    return str(api.http.base_url).rstrip("/")


def count(api: Api, reason: str) -> float:
    return float(api.rooms.metrics.stream_resets.labels(reason)._value.get())


async def until(condition: Any, seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


async def test_the_first_event_says_how_it_goes_on(api: Api) -> None:
    """At once, with a place to go on from, in headers that keep proxies from holding it back."""
    async with reading(url_of(api), api.key) as stream:
        hello = await stream.next()
        headers = stream.answer.headers
    assert (hello.name, hello.data) == ("hello", {"heartbeat_s": 10})
    assert UUID(str(hello.id)).version == 7
    assert headers["Content-Type"] == "text/event-stream"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Accel-Buffering"] == "no"
    assert "Content-Length" not in headers


async def test_a_change_is_told_whole(api: Api) -> None:
    """Its ids, as far as they are known, and the id of its event."""
    async with reading(url_of(api), api.key) as stream:
        await stream.event("hello")
        connection = await happened(api, user_id="user_123", installation_id="i-1", reason="not told")
        told = await stream.next()
    (event,) = await api.events("connection.disconnected")
    assert (told.name, told.id) == ("change", event["id"])
    assert told.data == NULLS | {
        "type": "connection.disconnected",
        "tenant_id": "org_acme",
        "provider": "discord",
        "user_id": "user_123",
        "connection_id": connection,
        "installation_id": "i-1",
        "created_at": "2026-05-17T12:00:00.000000Z",
    }


async def test_only_what_makes_a_cache_untrue_is_told(api: Api) -> None:
    """By type; of a provider config no id, as it concerns everything of the provider."""
    told: list[Told] = []
    config = new_id()
    async with reading(url_of(api), api.key) as stream:
        await stream.event("hello")
        for type in EventType:  # noqa: A001  # the field's own name
            kind = type.partition(".")[0]
            await happened(
                api,
                type,
                object_kind=kind,
                object_id=config,
                tenant_id=None if "config" in kind else "org_acme",
            )
        last = await happened(api)
        told.append(await stream.next())
        while last not in told[-1].text:
            told.append(await stream.next())
    assert {each.data["type"] for each in told} == {
        each
        for each in EventType
        if each.startswith(("connection.", "installation."))
        or each
        in {
            "credential.stored", "credential.refreshed", "tenant.erased", "provider_config.updated",
            "provider_config.deleted", "provider_config.problem", "provider_config.recovered",
        }
    }  # fmt: skip
    for each in told:
        kind = each.data["type"].partition(".")[0]
        named = {name for name in NULLS if each.data[name] is not None}
        assert named == ({f"{kind}_id"} if f"{kind}_id" in NULLS else set())
        assert each.data["provider"] == "discord"


async def test_the_longest_ids_there_can_be_fit(api: Api) -> None:
    """A notification holds 8,000 bytes; one more than that would undo the change itself."""
    longest = "\\" * 200
    async with reading(url_of(api), api.key) as stream:
        await stream.event("hello")
        await happened(
            api,
            EventType.CREDENTIAL_REFRESHED,
            tenant_id=longest,
            object_kind="credential",
            user_id=longest,
            connection_id=str(new_id()),
            installation_id=str(new_id()),
            provider="p" * 64,
        )
        told = await stream.event("change")
    assert (told.data["tenant_id"], told.data["user_id"]) == (longest, longest)


async def test_a_refresh_and_a_needed_authorization_name_the_user(api: Api) -> None:
    """As the engine itself records them, so that no more than the user's own entries are dropped."""
    config = await api.scene.config()
    stored = await api.scene.connected(config)
    async with reading(url_of(api), api.key) as stream:
        await stream.event("hello")
        await api.post(f"/v1/connections/{stored.owner_id}/refresh")
        refreshed = await stream.until(str(stored.credential.credential_id))
        api.sandbox.state.ledgers["discord"].revoke()
        await api.post(f"/v1/connections/{stored.owner_id}/refresh")
        dead = await stream.event("change")
    whose = {"tenant_id": "org_acme", "user_id": "user_123", "connection_id": str(stored.owner_id)}
    assert whose.items() <= refreshed.data.items()
    assert (refreshed.data["type"], dead.data["type"]) == ("credential.refreshed", "connection.needs_reauth")
    assert whose.items() <= dead.data.items()
    assert stored.issued.access_token not in "".join(each.text for each in stream.told)


async def test_a_change_of_another_process_is_heard_within_50_ms(api: Api, dsns: Dsns) -> None:
    """From the commit to the reader's socket, nearly always; never later than a quarter of a second."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ELSEWHERE, dsns.owner, str(api.environment_id),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert child.stdin is not None
    assert child.stdout is not None
    took = []
    async with reading(url_of(api), api.key) as stream:
        await stream.event("hello")
        for _ in range(40):
            child.stdin.write(b"\n")
            told = await stream.event("change", 20)
            connection_id, committed_at = (await child.stdout.readline()).split()
            assert told.data["connection_id"] == connection_id.decode()
            took.append(told.at - float(committed_at))
    child.stdin.close()
    assert await child.wait() == 0
    took.sort()
    print("median, 36th of 40, slowest, in ms:", *(round(took[each] * 1000, 1) for each in (20, 35, -1)))
    assert took[35] < 0.05
    assert took[-1] < 0.25


async def test_a_restricted_key_hears_of_its_tenant_alone(api: Api) -> None:
    """And of provider configs, which decide whether its tenant's credentials are handed out."""
    key = await api.new_key(api.environment_id, role=ApiKeyRole.SERVER, tenant_id=OTHER_TENANT)
    async with reading(url_of(api), key) as stream, reading(url_of(api), api.key) as whole:
        await stream.event("hello")
        await whole.event("hello")
        hidden = await happened(api)
        await happened(api, EventType.PROVIDER_CONFIG_UPDATED, tenant_id=None, object_kind="provider_config")
        own = await happened(api, tenant_id=OTHER_TENANT)
        config, mine = await stream.next(), await stream.next()
        assert (await whole.until(hidden)).data["tenant_id"] == "org_acme"
    assert config.data["type"] == "provider_config.updated"
    assert mine.data["connection_id"] == own
    async with reading(url_of(api), key, last_event_id=str(stream.told[0].id)) as again:
        await again.until(own)
    assert hidden not in "".join(each.text for each in [*stream.told, *again.told])


async def test_nothing_of_another_environment_is_told(api: Api, other: Api) -> None:
    """Neither live nor on the way back in."""
    async with reading(url_of(api), api.key) as stream:
        begun = await stream.event("hello")
        await happened(other, environment_id=other.environment_id)
        await happened(
            other, EventType.PROVIDER_CONFIG_UPDATED, tenant_id=None, environment_id=other.environment_id
        )
        mine = await happened(api)
        assert (await stream.next()).data["connection_id"] == mine
    async with reading(url_of(api), api.key, last_event_id=begun.id) as again:
        await again.event("hello")
        assert (await again.next()).data["connection_id"] == mine


async def test_a_viewer_hears_nothing(api: Api) -> None:
    """The stream is for those who may read credentials; HEAD is ruled alike, and ends."""
    viewer = await api.new_key(api.environment_id, role=ApiKeyRole.VIEWER)
    is_problem(await api.get("/v1/stream", key=viewer), 403, "forbidden")
    assert (await api.call("HEAD", "/v1/stream", key=viewer)).status_code == 403
    head = await api.call("HEAD", "/v1/stream")
    assert (head.status_code, head.headers["content-type"]) == (200, "text/event-stream")
    is_problem(await api.get("/v1/stream", params={"tenant_id": "org_acme"}), 422, "invalid_input")


async def test_a_reader_that_comes_again_is_told_what_it_missed(api: Api) -> None:
    """From the event it read last, in the order of events, and then goes on live."""
    async with reading(url_of(api), api.key) as stream:
        await stream.event("hello")
        first = await happened(api)
        last = await stream.until(first)
    missed = [await happened(api) for _ in range(3)]
    async with reading(url_of(api), api.key, last_event_id=last.id) as again:
        assert (await again.next()).id == last.id
        for each in missed:
            await again.until(each)
        live = await happened(api)
        await again.until(live)
    changes = [each for each in again.told if each.name == "change"]
    ids = [str(each.id) for each in changes]
    assert ids == sorted(ids)
    assert "reset" not in {each.name for each in again.told}


async def test_an_event_that_was_committed_late_is_not_missed(api: Api) -> None:
    """Its id is older than what the reader heard last, as its transaction took longer."""
    connection_id = new_id()
    async with reading(url_of(api), api.key) as stream:
        await stream.event("hello")
        async with api.rooms.database.environment(api.environment_id) as transaction:
            await record(
                transaction, EventType.CONNECTION_UPDATED, environment_id=api.environment_id,
                tenant_id="org_acme", object_kind="connection", object_id=connection_id, origin=ORIGIN,
                at=api.clock.now(), data={"provider": "discord"},
            )  # fmt: skip
            last = await stream.until(await happened(api))
    async with reading(url_of(api), api.key, last_event_id=last.id) as again:
        assert str((await again.until(str(connection_id))).id) < str(last.id)


def id_made(ago: timedelta) -> str:
    milliseconds = int((datetime.now(UTC) - ago).timestamp() * 1000)
    return str(UUID(int=milliseconds << 80 | 0x7 << 76 | 0b10 << 62))


@pytest.mark.parametrize(
    "last",
    [
        id_made(timedelta(minutes=6)),
        id_made(timedelta(minutes=-10)),
        "00000000-0000-0000-0000-000000000000",
        "7b6f8f5e-51c3-4c67-9b2a-1f0a2b3c4d5e",
        "nothing of ours",
    ],
    ids=["older", "later", "nil", "random", "text"],
)
async def test_where_a_stream_cannot_go_on_it_says_so(api: Api, last: str) -> None:
    """Too long ago, in the future, or no id of an event: a reset, and then on from now."""
    before = count(api, "resume")
    await happened(api)
    async with reading(url_of(api), api.key, last_event_id=last) as stream:
        hello = await stream.next()
        assert hello.id != last
        assert await stream.next() == stream.told[1]
        assert (stream.told[1].name, stream.told[1].data) == ("reset", {})
        fresh = await happened(api)
        assert (await stream.next()).data["connection_id"] == fresh
    assert count(api, "resume") == before + 1


async def test_too_much_to_tell_again_is_a_reset(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading everything anew is shorter then."""
    from authpipe.credentials import stream as stream_module

    monkeypatch.setattr(stream_module, "_PAGE", 2)
    monkeypatch.setattr(stream_module, "_MOST_MISSED", 4)
    begun = str(new_id())
    for _ in range(3):
        await happened(api)
    async with reading(url_of(api), api.key, last_event_id=begun) as stream:
        await stream.event("hello")
        assert [(await stream.next()).name for _ in range(3)] == ["change"] * 3
        await happened(api)
        assert (await stream.next()).name == "change"
    await happened(api)
    async with reading(url_of(api), api.key, last_event_id=begun) as stream:
        await stream.event("hello")
        assert [(await stream.next()).name for _ in range(5)] == ["change"] * 4 + ["reset"]


async def test_a_quiet_stream_shows_that_it_lives(api: Api) -> None:
    """With a comment, and a later place to go on from: an hour's silence must not end in a reset."""
    api.rooms.change_streams._heartbeat_s = 0.2
    async with reading(url_of(api), api.key) as stream:
        hello = await stream.next()
        beats = [await stream.next(2) for _ in range(3)]
    assert all(each.name is None and each.data is None and each.text.startswith(": ") for each in beats)
    ids = [str(each.id) for each in (hello, *beats)]
    assert ids == sorted(set(ids))
    pauses = [later.at - earlier.at for earlier, later in itertools.pairwise(beats)]
    assert all(0.15 < pause < 1 for pause in pauses)


async def cut(dsns: Dsns) -> None:
    """End the connections that listen."""
    superuser = await asyncpg.connect(dsns.superuser)
    await superuser.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'authpipe-listen'"
    )
    await superuser.close()


async def test_after_the_server_could_not_hear_it_says_so(api: Api, dsns: Dsns) -> None:
    """A reset as soon as it hears again, no sign of life meanwhile, and a lost change is not told later."""
    api.rooms.change_streams._heartbeat_s = 0.2
    async with reading(url_of(api), api.key) as stream:
        await stream.event("hello")
        await cut(dsns)
        await until(lambda: not api.rooms.changes.hearing)
        lost = await happened(api)
        await stream.event("reset", 10)
        fresh = await happened(api)
        await stream.until(fresh)
    deaf = [each for each in stream.told if each.name is None and each.at > 0]
    resets = [each for each in stream.told if each.name == "reset"]
    assert len(resets) == 1
    assert lost not in "".join(each.text for each in stream.told)
    assert not [each for each in deaf if resets[0].at - 0.7 < each.at < resets[0].at - 0.3]
    assert count(api, "gap") == 1


async def test_a_stream_of_a_server_that_cannot_hear_does_not_begin(api: Api, dsns: Dsns) -> None:
    """It waits until it can, so that nothing committed after its first event is missed."""
    await cut(dsns)
    await until(lambda: not api.rooms.changes.hearing)
    async with reading(url_of(api), api.key) as stream:
        await stream.event("hello")
        assert api.rooms.changes.hearing
        await stream.until(await happened(api))


async def key_id(api: Api, text: str) -> str:
    keys = (await api.get("/v1/api-keys")).json()["data"]
    return next(str(key["id"]) for key in keys if text.startswith(key["prefix"]))


async def test_a_revoked_keys_stream_ends_within_a_second(api: Api) -> None:
    """Other keys' streams go on; coming again is refused."""
    key = await api.new_key(api.environment_id, role=ApiKeyRole.SERVER)
    named = await key_id(api, key)
    async with reading(url_of(api), key) as stream, reading(url_of(api), api.key) as kept:
        await stream.event("hello")
        await kept.event("hello")
        began = time.monotonic()
        await api.post(f"/v1/api-keys/{named}/revoke")
        await stream.end()
        assert time.monotonic() - began < 1
        await kept.until(await happened(api))
    is_problem(await api.get("/v1/stream", key=key), 401, "unauthenticated")


async def test_a_key_that_was_revoked_unheard_ends_its_stream_too(api: Api, dsns: Dsns) -> None:
    """Looked up again once the server hears."""
    key = await api.new_key(api.environment_id, role=ApiKeyRole.SERVER)
    named = await key_id(api, key)
    async with reading(url_of(api), key) as stream, reading(url_of(api), api.key) as kept:
        await stream.event("hello")
        await kept.event("hello")
        await cut(dsns)
        await until(lambda: not api.rooms.changes.hearing)
        await api.post(f"/v1/api-keys/{named}/revoke")
        await stream.end()
        await kept.until(await happened(api))


async def test_a_key_that_expires_ends_its_stream(api: Api) -> None:
    """At the next sign of life at the latest."""
    api.rooms.change_streams._heartbeat_s = 0.2
    key = await api.new_key(api.environment_id, role=ApiKeyRole.SERVER, expires_in=timedelta(seconds=60))
    async with reading(url_of(api), key) as stream:
        await stream.event("hello")
        await stream.next()
        api.clock.advance(timedelta(seconds=60))
        await stream.end(2)


async def test_a_key_that_is_replaced_may_come_again(api: Api) -> None:
    """While it overlaps with its successor; nothing was missed."""
    key = await api.new_key(api.environment_id, role=ApiKeyRole.SERVER)
    named = await key_id(api, key)
    async with reading(url_of(api), key) as stream:
        await stream.event("hello")
        await api.post(f"/v1/api-keys/{named}/rotate", {})
        await stream.end()
    missed = await happened(api)
    async with reading(url_of(api), key, last_event_id=stream.told[-1].id) as again:
        await again.until(missed)


async def test_a_reader_that_hangs_up_is_forgotten(api: Api) -> None:
    """At once, though nothing is sent to it."""
    open_now = api.rooms.metrics.streams_open._value
    async with reading(url_of(api), api.key) as stream:
        await stream.event("hello")
        assert open_now.get() == 1
    await until(lambda: open_now.get() == 0)
    assert not api.rooms.change_streams._open


async def test_500_readers_hear_the_same_change_soon(api: Api) -> None:
    """Each gets it once, and the last of them within half a second."""
    session = aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=None), connector=aiohttp.TCPConnector(limit=0)
    )
    ready = asyncio.Semaphore(0)

    async def follow() -> float:
        async with reading(url_of(api), api.key, session=session) as stream:
            await stream.event("hello", 30)
            ready.release()
            told = await stream.event("change", 30)
            return told.at

    async with session:
        followers = [asyncio.create_task(follow()) for _ in range(500)]
        for _ in followers:
            await ready.acquire()
        assert api.rooms.metrics.streams_open._value.get() == 500
        began = time.monotonic()
        await happened(api)
        last = max(await asyncio.gather(*followers))
    print(f"500 readers: the last after {(last - began) * 1000:.0f} ms")
    # Half of it is the 500 readers of this very process.
    assert last - began < 1
    assert api.rooms.metrics.stream_changes._value.get() == 500


async def test_a_reader_that_takes_nothing_costs_a_bounded_amount(api: Api, settings: Settings) -> None:
    """Its queue makes way for a reset; others are not held up, and it can go on."""
    api.rooms.change_streams._queue = 50
    host, port = "127.0.0.1", settings.port
    reader, writer = await asyncio.open_connection(host, port, limit=1024)
    writer.write(
        f"GET /v1/stream HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {api.key}\r\n\r\n".encode()
    )
    await asyncio.wait_for(reader.readuntil(b"hello"), 5)
    [[slow]] = [each.values() for each in api.rooms.change_streams._open.values()]
    [subscription] = slow
    # What fills the buffers on the way to it, and then its queue.
    filling = "x" * 150
    sent = 0
    async with asyncio.timeout(60):
        while count(api, "overflow") == 0:
            async with api.rooms.database.environment(api.environment_id) as transaction:
                for _ in range(200):
                    await record(
                        transaction, EventType.CONNECTION_UPDATED, environment_id=api.environment_id,
                        tenant_id="org_acme", object_kind="connection", object_id=filling * 20, origin=ORIGIN,
                        at=api.clock.now(), data={"provider": "discord"},
                    )  # fmt: skip
            sent += 200
            await asyncio.sleep(0.01)
            assert len(subscription._frames) <= 50
    async with reading(url_of(api), api.key) as quick:
        await quick.event("hello")
        fresh = await happened(api)
        await quick.until(fresh)
    text = b""
    async with asyncio.timeout(30):
        while fresh.encode() not in text:
            text = text[-20_000:] + await reader.read(65536)
            if b"event: reset" in text:
                break
    assert b"event: reset" in text
    writer.close()
