"""Spans as a collector gets them: what is told of a connection's life, and what never is."""

from __future__ import annotations

import asyncio
import random
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from authpipe.domain.clock import ManualClock
from authpipe.domain.errors import ProviderUnavailable
from authpipe.domain.secret import Secret
from authpipe.net.client import HttpClient
from authpipe.net.egress import EgressPolicy
from authpipe.net.message import Request
from authpipe.sandbox import seeds
from authpipe.sandbox.server import SandboxServer
from authpipe.telemetry import otlp, traces
from support.collector import Collector, Seen
from support.hosted import Hosted, host

if TYPE_CHECKING:
    from conftest import Dsns

CANARY = "CANARYtoken0CANARY"


async def connect(hosted: Hosted) -> str:
    """The whole way through the sandbox's consent; returns what travelled on it that is secret."""
    session, link = await hosted.mint()
    async with hosted.person() as person:
        page = await person.submit(await person.open(link))
        page = await person.submit(page, decision="authorize")
        code = page.query["completion_code"]
    await hosted.complete(session.session_id, code)
    return f"{link.rpartition('/')[2]} {code}"


@pytest.mark.timeout(60)
async def test_connecting_and_refreshing_are_told_without_a_secret(
    tmp_path: Path, dsns: Dsns, clock: ManualClock, sandbox: SandboxServer
) -> None:
    """Every step is a span, each in the trace of the request that caused it; the bytes hold no token."""
    async with Collector() as collector:
        async with host(dsns.owner, tmp_path, clock, sandbox, otlp_endpoint=collector.url) as hosted:
            await hosted.configure()
            sandbox.state.applications["discord"][seeds.client_id("discord")].token_marker = CANARY
            travelled = await connect(hosted)
            clock.advance(timedelta(days=8))
            # Two callers who wait for one refresh, then a worker who finds another due.
            await asyncio.gather(
                *(hosted.credential(tenant_id="org_acme", user_id="user_123") for _ in range(2))
            )
            clock.advance(timedelta(days=8))
            assert await hosted.rooms.refresh_worker.round() == 1
            assert await hosted.rooms.refresh_worker.round() == 0
        spans = collector.spans()
        sent = b"\n".join(collector.bodies)
    names = {span.name for span in spans}
    assert names >= {
        "connect.mint", "connect.open", "connect.start", "connect.callback", "connect.exchange",
        "connect.identify", "connect.complete", "credential.read", "refresh.claim", "refresh.attempt",
        "refresh.commit", "provider.call", "vault.unwrap", "worker.round", "GET /connect/{token}",
        "GET /oauth/callback/{provider_config_id}", "POST /connect/session/{session_id}/start",
    }  # fmt: skip
    by_id = {span.span_id: span for span in spans}

    def above(span: Seen) -> list[str]:
        found = []
        while span.parent_id:
            span = by_id[span.parent_id]
            found.append(span.name)
        return found

    calls = {(span["authpipe.purpose"], *above(span)) for span in spans if span.name == "provider.call"}
    callback = ("connect.callback", "GET /oauth/callback/{provider_config_id}")
    assert calls >= {
        ("code", "connect.exchange", *callback),
        ("probe", "connect.identify", *callback),
        ("refresh", "refresh.attempt", "credential.read"),
        ("refresh", "refresh.attempt", "worker.round"),
    }
    sent_out = [span for span in spans if span.name == "provider.call"]
    assert {(span.kind, span["authpipe.status"]) for span in sent_out} == {(3, 200)}
    rounds = [span.attributes for span in spans if span.name == "worker.round"]
    assert rounds == [{"authpipe.worker": "refresh", "authpipe.claimed": 1}], "idle rounds are left out"
    assert {span["authpipe.outcome"] for span in spans if span.name == "refresh.commit"} == {"refreshed"}

    secrets = [CANARY, seeds.client_secret("discord"), seeds.DISCORD_BOT_TOKEN, *travelled.split()]
    assert [secret for secret in secrets if secret.encode() in sent] == []
    assert b"127.0.0.1:" not in sent, "no address, neither a provider's nor a caller's"
    assert {span.scope for span in spans} == {"authpipe"}


async def test_a_request_joins_the_trace_of_its_caller(
    tmp_path: Path, dsns: Dsns, clock: ManualClock, sandbox: SandboxServer
) -> None:
    """By W3C ``traceparent``; the path, the query and the other headers stay behind."""
    trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    async with Collector() as collector:
        async with host(dsns.owner, tmp_path, clock, sandbox, otlp_endpoint=collector.url) as hosted:
            headers = {
                "traceparent": f"00-{trace}-{parent}-01",
                "tracestate": f"vendor={CANARY}",
                "baggage": f"secret={CANARY}",
                "Cookie": CANARY,
            }
            async with aiohttp.ClientSession(headers=headers) as caller:
                for path in (f"/connect/{CANARY}?code={CANARY}", f"/nowhere/{CANARY}", "/healthz"):
                    await (await caller.get(hosted.url + path)).read()
            async with aiohttp.ClientSession(headers={"traceparent": f"00-{trace}-x{CANARY}"}) as caller:
                await (await caller.get(hosted.url + "/connect/x")).read()
                await (await caller.request(f"X{CANARY}", hosted.url + "/connect/x")).read()
        requests = [span for span in collector.spans() if span.kind == 2]
        sent = b"\n".join(collector.bodies)
    joined = [span for span in requests if span.trace_id == trace]
    assert [(span.name, span.parent_id, span["http.response.status_code"]) for span in joined] == [
        ("GET /connect/{token}", parent, 404),
        ("GET unmatched", parent, 404),
    ]
    apart = [span for span in requests if span.trace_id != trace]
    assert [(span.name, span.parent_id) for span in apart] == [
        ("GET /connect/{token}", ""),
        ("_OTHER /connect/{token}", ""),
    ]
    assert CANARY.encode() not in sent


async def test_a_provider_hears_nothing_of_the_trace() -> None:
    """A trace id would let providers tell which of their users belong together."""
    heard: list[set[str]] = []

    async def provider(request: web.Request) -> web.Response:
        heard.append({name.lower() for name in request.headers})
        return web.Response()

    application = web.Application()
    application.router.add_get("/", provider)
    async with TestServer(application) as server, Collector() as collector, traces.exporting(collector.url):
        client = HttpClient(EgressPolicy(allow_loopback=True))
        with traces.request("GET", f"00-{1:032x}-00f067aa0ba902b7-01"), traces.span("provider.call"):
            await client.send(Request(method="GET", url=f"http://127.0.0.1:{server.port}/"))
        await client.close()
    assert heard == [{"host", "user-agent", "accept", "accept-encoding"}]
    assert len(collector.spans("provider.call")) == 1


async def test_an_attribute_is_redacted_as_a_log_line_is() -> None:
    """By type, by the name and by the shape of the value."""
    async with Collector() as collector:
        async with traces.exporting(collector.url):
            with traces.span("a.b", token="plain", secret=Secret(CANARY), given=f"Bearer {CANARY}") as span:
                span.set(nested={"refresh_token": CANARY}, url=f"https://a.example/b?code={CANARY}", count=3)
                span.set(nothing=None, yes=True)
        [seen] = collector.spans()
        sent = b"".join(collector.bodies)
    assert seen.attributes == {
        "authpipe.token": "***",
        "authpipe.secret": "***",
        "authpipe.given": "Bearer ***",
        "authpipe.nested": "{'refresh_token': '***'}",
        "authpipe.url": "https://a.example/b?***",
        "authpipe.count": 3,
        "authpipe.yes": True,
    }
    assert CANARY.encode() not in sent


async def test_an_exception_is_told_by_its_type_and_code() -> None:
    """Neither its message nor its stack: both may quote what the provider said."""
    async with Collector() as collector:
        async with traces.exporting(collector.url):
            with pytest.raises(ProviderUnavailable), traces.span("a.outer"), traces.span("a.inner"):
                raise ProviderUnavailable(f"quotes {CANARY}", detail=CANARY) from ValueError(CANARY)
            with pytest.raises(asyncio.CancelledError), traces.span("a.cancelled"):
                raise asyncio.CancelledError
        sent = b"".join(collector.bodies)
        spans = {span.name: span for span in collector.spans()}
    assert spans["a.inner"].attributes == {
        "error.type": "ProviderUnavailable",
        "authpipe.error_code": "provider_unavailable",
    }
    assert (spans["a.inner"].failed, spans["a.outer"].failed, spans["a.cancelled"].failed) == (
        True, True, False,
    )  # fmt: skip
    assert all(span.events == 0 for span in spans.values())
    assert CANARY.encode() not in sent


async def test_a_share_of_the_traces_is_recorded_whole_or_not_at_all() -> None:
    """A caller's own flag adds nothing to the share."""
    chance = random.Random(1)
    async with Collector() as collector:
        async with traces.exporting(collector.url, ratio=0.5):
            for number in range(400):
                parent = f"00-{chance.getrandbits(128):032x}-00f067aa0ba902b7-01"
                with traces.request("GET", parent if number % 2 else None), traces.span("a.b"):
                    pass
            flags_off = f"00-{1:032x}-00f067aa0ba902b7-00"
            with traces.request("GET", flags_off):
                pass
        spans = collector.spans()
    outer, inner = ({span.trace_id for span in spans if span.kind == kind} for kind in (2, 1))
    assert outer == inner
    assert 100 < len(outer) < 300
    assert f"{1:032x}" not in outer


@pytest.mark.parametrize("away", [False, True], ids=["silent", "away"])
async def test_a_collector_that_takes_nothing_delays_the_end_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, away: bool
) -> None:
    """By five seconds at most, shortened here; the loop goes on meanwhile."""
    assert otlp.FLUSH_S <= 5
    monkeypatch.setattr(otlp, "FLUSH_S", 0.5)
    async with Collector(silent=True) as collector:
        begun = time.monotonic()
        longest = 0.0

        async def ticking() -> None:
            nonlocal longest
            while True:
                before = time.monotonic()
                await asyncio.sleep(0.01)
                longest = max(longest, time.monotonic() - before)

        ticks = asyncio.create_task(ticking())
        async with traces.exporting("http://127.0.0.1:9/v1/traces" if away else collector.url):
            with traces.span("a.b"):
                pass
        ticks.cancel()
        assert time.monotonic() - begun < 2
        assert longest < 0.4


async def test_proxies_and_netrc_of_the_environment_are_not_heeded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The collector's address is the one that was given, and no other program's password goes there."""
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login a password {CANARY}\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=one")
    async with Collector() as collector:
        async with traces.exporting(collector.url):
            with traces.span("a.b"):
                pass
        assert len(collector.spans()) == 1
        assert "Authorization" not in collector.headers[0]
        assert collector.headers[0]["x-tenant"] == "one"
        assert collector.resource().keys() == {
            "telemetry.sdk.language", "telemetry.sdk.name", "telemetry.sdk.version",
            "service.name", "service.version", "service.instance.id",
        }  # fmt: skip


async def test_two_processes_worth_of_rooms_turn_off_each_their_own() -> None:
    """Whichever ends first."""
    async with Collector() as one, Collector() as other:
        first, second = traces.exporting(one.url), traces.exporting(other.url)
        await first.__aenter__()
        await second.__aenter__()
        await first.__aexit__(None, None, None)
        with traces.span("a.b"):
            pass
        await second.__aexit__(None, None, None)
        assert not traces.are_on()
        assert (len(one.bodies), len(other.spans())) == (0, 1)
