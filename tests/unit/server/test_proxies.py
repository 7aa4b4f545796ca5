"""Whose address counts when proxies stand in between."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from authpipe.server.proxies import ProxyAddresses

TRUSTED = [ip_network("10.0.0.0/8"), ip_network("::1")]


async def seen(peer: str, *forwarded: str, trusted: list[Any] = TRUSTED) -> str:
    clients = []

    async def application(scope: Scope, _receive: Receive, _send: Send) -> None:
        clients.append(scope["client"])

    headers = [(b"x-forwarded-for", line.encode("latin-1")) for line in forwarded]
    scope: dict[str, Any] = {"type": "http", "client": (peer, 1234), "headers": headers}
    await ProxyAddresses(application, trusted)(scope, None, None)  # type: ignore[arg-type]
    return str(clients[0][0])


@pytest.mark.parametrize(
    ("peer", "forwarded", "caller"),
    [
        ("10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["198.51.100.1, 203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        ("10.0.0.1", ["203.0.113.9", "10.0.0.2"], "203.0.113.9"),
        ("10.0.0.1", ["10.0.0.3"], "10.0.0.3"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9, evil\r\n"], "10.0.0.1"),
        ("::1", ["2001:db8::1"], "2001:db8::1"),
        ("::ffff:10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
    ],
)
async def test_trusted_proxies_vouch_for_the_address_before_them(
    peer: str, forwarded: list[str], caller: str
) -> None:
    """From the end of the header, up to the first address that is not a trusted proxy."""
    assert await seen(peer, *forwarded) == caller


async def test_a_proxy_that_is_not_trusted_is_told_of_once() -> None:
    """Behind one, limits by address count everybody as one caller; nothing of the header is logged."""

    async def application(_scope: Scope, _receive: Receive, _send: Send) -> None:
        return

    def told(lines: list[Any]) -> list[Any]:
        return [line["peer"] for line in lines if "AUTHPIPE_TRUSTED_PROXIES" in line["event"]]

    for trusted, expected in ((TRUSTED, []), ([], ["10.0.0.1"])):
        proxies = ProxyAddresses(application, trusted)
        with capture_logs() as lines:
            for headers in (
                [],
                [(b"x-forwarded-for", b"203.0.113.9")],
                [(b"x-forwarded-for", b"203.0.113.9")],
            ):
                scope = {"type": "http", "client": ("10.0.0.1", 1), "headers": headers}
                await proxies(scope, None, None)  # type: ignore[arg-type]
        assert told(lines) == expected
        assert "203.0.113.9" not in str(lines)


async def test_without_trusted_proxies_the_header_is_anyones() -> None:
    """The address that connected counts."""
    assert await seen("10.0.0.1", "203.0.113.9", trusted=[]) == "10.0.0.1"
