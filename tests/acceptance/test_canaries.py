"""Marked secrets go down every path, good and bad; afterwards no trace of them is where it should not be."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from urllib.parse import quote

import pytest

from authpipe.sandbox import seeds
from authpipe.store.embedded import EmbeddedPostgres
from support import canaries
from support.application import Application
from support.collector import Collector
from support.running import Running


@pytest.mark.timeout(300)
async def test_no_marked_secret_is_found_anywhere(tmp_path: Path) -> None:
    """Not in a log, a database file, the spool, an HTTP answer, an event, a metric, a span, an exception."""
    data_dir = tmp_path / "data"
    async with (
        Collector() as collector,
        EmbeddedPostgres(data_dir) as postgres,
        Running(data_dir, given={"otlp_endpoint": collector.url}) as running,
    ):
        application = Application(running)
        await canaries.set_up(application)
        await canaries.good_paths(application)
        await canaries.provider_faults(application)
        await canaries.connect_failures(application)
        await canaries.misplaced(application)
        await canaries.sign_offs(application)
        await canaries.every_page_address(application)
        await canaries.database_outage(application, postgres)
        await canaries.revoked(application)
        _, events = await application.call("GET", "/v1/events?limit=200")
        assert len(events["data"]) > 30
        metrics = len(application.answers)
        await application.call("GET", "/metrics")
        assert b"authpipe_http_requests_total" in application.answers[metrics]
        await application.close()
        logs = running.logs()
    logs |= running.logs()  # what they said while they ended
    assert any(b"refresh step" in text for text in logs.values()), "debug logs were on"

    for text in application.answers:
        assert not canaries.found(text)
    spans = collector.spans()
    assert {"connect.exchange", "refresh.attempt", "provider.call", "credential.read"} <= {
        span.name for span in spans
    }
    assert any(span.failed for span in spans), "failures were traced, too"
    own = (*canaries.CANARIES, running.api_key)
    for body in collector.bodies:
        assert not canaries.found(body, secrets=own)
    for name, text in logs.items():
        assert not canaries.found(text, secrets=own), name
    searched = 0
    for path in data_dir.rglob("*"):
        if path.is_file():
            searched += 1
            assert not canaries.found(path.read_bytes(), secrets=own), path
    assert searched > 900, "the cluster's own files were searched"


def test_the_search_itself_finds_a_secret_in_each_form() -> None:
    """Plain, inside JSON, percent-encoded, in a Basic header, in hex, in UTF-16, and backwards."""
    key, bot = canaries.WRONG_KEY, canaries.BOT_TOKEN
    header = base64.b64encode(f"ada@example.com:{key}".encode())
    for text, secret in (
        (b"Authorization: Basic " + header, key),
        (json.dumps({"token": f"x{canaries.TOKEN}y"}).encode(), canaries.TOKEN),
        (b"client_secret=" + quote(bot).encode(), bot),
        (b"\\x" + f"a{key}b".encode().hex().encode(), key),
        (f"a{key}b".encode().hex().upper().encode(), key),
        (f"a{key}b".encode("utf-16"), key),
        (base64.urlsafe_b64encode(f"ab{key}c".encode("utf-16-le")), key),
        (f"a{key}b"[::-1].encode(), key),
        (f"a{key}b"[::-1].encode("utf-16-be"), key),
        ("".join(f"%{byte:02X}" for byte in key.encode()).encode(), key),
    ):
        assert canaries.found(text) == [secret], text
    assert seeds.DISCORD_BOT_TOKEN not in canaries.CANARIES
