"""What no well-behaved client can send, byte by byte: every answer is a refusal in the usual form, and quick.

Odd encodings, values out of every range, things given twice, bodies that are not what they say they are.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from authpipe.api.problem import PROBLEMS
from authpipe.server.settings import load_settings
from authpipe.vault.keks.local import LocalKek
from support.fuzzing_arena import Arena, arena
from support.running import free_port

if TYPE_CHECKING:
    from conftest import Dsns

#: Seconds, on a shared machine.
SLOWEST_S = 5.0
#: The HTTP server itself refuses what is no HTTP, without a body.
NOT_HTTP = {400, 431}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str | None:
        """The problem's code, where it is one."""
        if self.headers.get("content-type") != "application/problem+json":
            return None
        return str(json.loads(self.body)["code"])


class Attacker:
    """Writes requests as bytes, with a good key, on a connection for each."""

    def __init__(self, arena: Arena, act: dict[str, Any]) -> None:
        self.port = int(arena.url.rsplit(":", 1)[1])
        self.key = arena.key.encode()
        self.environment_id = str(arena.environment_id).encode()
        self.ids = {name: ids[0].encode() for name, ids in act["path"].items()}
        #: Nothing stands on it, so its address may change.
        self.unused_config_id = act["path"]["provider_config_id"][-1].encode()

    async def send(
        self,
        method: str,
        path: bytes,
        body: bytes = b"",
        *,
        headers: Iterable[bytes] = (),
        kind: bytes = b"application/json",
    ) -> Answer:
        lines = [b"host: x", b"connection: close", b"authorization: Bearer " + self.key]
        if body:
            lines += [b"content-type: " + kind, b"content-length: %d" % len(body)]
        head = b"\r\n".join([method.encode() + b" " + path + b" HTTP/1.1", *lines, *headers])
        began = time.monotonic()
        answer = await self._exchanged(head + b"\r\n\r\n" + body)
        assert time.monotonic() - began < SLOWEST_S, (method, path[:100], body[:100])
        assert answer.status < 500, (method, path[:100], body[:100], answer)
        return answer

    async def refused(self, method: str, path: bytes, body: bytes = b"", **arguments: Any) -> Answer:
        """An answer that must be a problem document, or the HTTP server's own empty refusal."""
        answer = await self.send(method, path, body, **arguments)
        told = (method, path[:200], body[:100], arguments, answer)
        assert answer.status >= 400, told
        if answer.body or answer.status not in NOT_HTTP:
            assert answer.code in PROBLEMS, told
            assert answer.headers["x-request-id"], told
        return answer

    async def _exchanged(self, request: bytes) -> Answer:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            await writer.drain()
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        finally:
            writer.close()
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
        return Answer(int(first.split(" ")[1]), headers, body)


@pytest.fixture
async def attacker(tmp_path: Path, dsns: Dsns, kek: LocalKek) -> AsyncIterator[Attacker]:
    settings = load_settings(
        data_dir=tmp_path / "state",
        database_url=dsns.owner,
        port=free_port(),
        keks=(f"local:{tmp_path / 'kek'}",),
        allow_loopback_egress=True,
    )
    async with arena(settings) as found:
        yield Attacker(found, await found.act())
        assert found.asked_outside == []


async def test_an_id_can_be_anything(attacker: Attacker) -> None:
    """In every path that takes one: NUL, half a character, a surrogate, a number without end."""
    known = attacker.ids["connection_id"]
    hostile = (
        b"%00", b"%ff", b"%ed%a0%80", b"9" * 500, b"..%2f..", known + b"%0d%0a", known + b"%00", b"%", b"%zz",
        b"\xff\xfe", b"*", b"%2a", b"%c3%a9", b"a" * 8000, b"-1", b"1e999", b"NaN",
    )  # fmt: skip
    for value in hostile:
        for method, path in (
            ("GET", b"/v1/connections/%s"),
            ("GET", b"/v1/installations/%s"),
            ("GET", b"/v1/events/%s"),
            ("GET", b"/v1/tenants/%s"),
            ("GET", b"/v1/providers/%s"),
            ("POST", b"/v1/api-keys/%s/revoke"),
            ("DELETE", b"/v1/tenants/%s"),
        ):
            await attacker.refused(method, path.replace(b"%s", value))


def _cursor(place: bytes) -> bytes:
    return b"cursor=" + base64.urlsafe_b64encode(b"after:" + place).rstrip(b"=")


async def test_a_query_can_be_anything(attacker: Attacker) -> None:
    """Numbers out of range, cursors nobody gave out, parameters that are unknown or given twice."""
    hostile = (
        b"limit=1e999", b"limit=" + b"9" * 5000, b"limit=NaN", b"limit=Infinity", b"limit=%00", b"limit=-1",
        b"limit=1.5", b"limit=%EF%BC%91", b"limit=", b"limit=1&limit=1", b"cursor=%00", b"cursor=\xff",
        b"cursor=%ff", _cursor(b"\x00"), _cursor(b"9" * 300), _cursor(b"\xff"), _cursor(b""), _cursor(b"*"),
        b"%zz=1", b"a[b]=c", b"%00=%00", b"%ed%a0%80=1", b"&".join(b"x%d=1" % i for i in range(3000)),
        b"&".join([b"limit=1"] * 3000),
    )  # fmt: skip
    for query in hostile:
        for path in (
            b"/v1/connections",
            b"/v1/tenants",
            b"/v1/events",
            b"/v1/installations",
            b"/v1/credentials",
        ):
            await attacker.refused("GET", path + b"?" + query)
    for name in (b"tenant_id", b"provider", b"status", b"type", b"object_id", b"user_id", b"installation_id"):
        for value in (b"=%00", b"=%ed%a0%80", b"=%f0%9f%98%80", b"=", b"=a&" + name + b"=a"):
            await attacker.refused("GET", b"/v1/events?" + name + value)
            await attacker.refused("GET", b"/v1/connections?" + name + value)
            await attacker.refused("GET", b"/v1/credentials?provider=discord&tenant_id=a&" + name + value)


async def test_an_empty_or_doubled_value_finds_nobody_elses(attacker: Attacker) -> None:
    """An application that lost its user's id must not get the installation's credential for it."""
    about = b"/v1/credentials?provider=discord&tenant_id=org_1"
    assert (await attacker.send("GET", about + b"&user_id=user_1")).status == 200
    for further in (b"&user_id=", b"&installation_id=", b"&label=", b"&kind=", b"&credential_for="):
        answer = await attacker.refused("GET", about + further)
        assert (answer.status, answer.code) == (422, "invalid_input")
    answer = await attacker.refused("GET", b"/v1/connections?tenant_id=org_1&tenant_id=org_2")
    assert json.loads(answer.body)["field"] == "tenant_id"


async def test_headers_can_be_anything(attacker: Attacker) -> None:
    """What is ambiguous is refused, and what is merely odd changes nothing."""
    refresh = b"/v1/connections/" + attacker.ids["connection_id"] + b"/refresh"
    for headers in (
        [b"authorization: Bearer x"],
        [b"idempotency-key: \xff"],
        [b"idempotency-key: "],
        [b"idempotency-key: " + b"a" * 256],
        [b"idempotency-key: a", b"idempotency-key: a"],
        [b"x\x00: a"],
        [b"x: a\x00b"],
        [b"content-length: -1"],
        [b"content-length: 5", b"content-length: 6"],
        [b"content-length: 9999999999999999999999"],
        [b"content-length: 1048577"],
        [b"transfer-encoding: gzip"],
        [b"content-type: application/json", b"content-type: text/plain"],
        [b"x%d: 1" % i for i in range(300)],
    ):
        await attacker.refused("POST", refresh, headers=headers)
    for headers in (
        [b"x-request-id: \xff"],
        [b"x-request-id: " + b"a" * 5000],
        [b"x: " + b"a" * 60_000],
        [b"x-forwarded-for: \xff, 1.2.3.4"],
        [b"cookie: " + b"a=b; " * 2000],
        [b"traceparent: zz\xff"],
    ):
        answer = await attacker.send("POST", refresh, headers=headers)
        assert answer.status == 200
        assert len(answer.headers["x-request-id"]) <= 100


async def test_a_body_can_be_anything(attacker: Attacker) -> None:
    """Depth, length, numbers without end, NaN, halves of characters, and nothing at all."""
    ids = attacker.ids
    targets = (
        ("POST", b"/v1/api-keys"),
        ("POST", b"/v1/api-keys/" + ids["api_key_id"] + b"/rotate"),
        ("POST", b"/v1/credentials"),
        ("POST", b"/v1/connect-sessions"),
        ("POST", b"/v1/connect-sessions/" + ids["session_id"] + b"/complete"),
        ("POST", b"/v1/connections/" + ids["connection_id"] + b"/reconnect"),
        ("POST", b"/v1/provider-configs"),
        ("PATCH", b"/v1/provider-configs/" + ids["provider_config_id"]),
        ("PATCH", b"/v1/environments/" + attacker.environment_id),
        ("PATCH", b"/v1/connections/" + ids["connection_id"]),
        ("PUT", b"/v1/tenants/org_1"),
    )
    hostile = (
        b"[]", b'"x"', b"1e400", b"NaN", b"Infinity", b"-0", b"{", b"[" * 100_000, b"[" * 400 + b"]" * 400,
        b'{"a":' * 50_000, b"\xff", b"\x00", b"{}\x00", b"9" * 6000, b'{"\\ud800":1}', b'{"\\u0000":1}',
        b" " * 1_048_577, b"a" * 1_048_576, b"{" + b",".join(b'"k%d":1' % i for i in range(20_000)) + b"}",
    )  # fmt: skip
    for method, path in targets:
        for body in hostile:
            await attacker.refused(method, path, body)
        for kind in (
            b"text/plain",
            b"application/x-www-form-urlencoded",
            b"application/jsonx",
            b"multipart/form-data",
        ):
            answer = await attacker.refused(method, path, b'{"name":"a"}', kind=kind)
            assert answer.code == "unsupported_media_type"


async def test_a_field_can_be_anything(attacker: Attacker) -> None:
    """Each in a body that would be good otherwise, and named in the refusal."""
    config = b"/v1/provider-configs/" + attacker.unused_config_id
    odd = (
        b'"\\u0000"',
        b'"\\ud800"',
        b'"\\u202e"',
        b'""',
        b"NaN",
        b"1e400",
        b"9" * 400,
        b"[]",
        b"{}",
        b'"' + b"a" * 9000 + b'"',
    )
    for method, path, before, name in (
        ("PUT", b"/v1/tenants/org_1", b"", b"name"),
        ("POST", b"/v1/api-keys", b"", b"name"),
        ("POST", b"/v1/api-keys", b'"name":"a",', b"tenant_id"),
        ("POST", b"/v1/api-keys", b'"name":"a",', b"expires_in_s"),
        ("POST", b"/v1/api-keys", b'"name":"a",', b"role"),
        ("PATCH", config, b"", b"version"),
        ("PATCH", config, b"", b"base_url"),
        ("PATCH", config, b"", b"attachment"),
        ("PATCH", b"/v1/connections/" + attacker.ids["connection_id"], b"", b"label"),
    ):
        for value in odd:
            if name == b"version" and value == b"9" * 400:
                continue  # Some version; only not the present one.
            answer = await attacker.refused(method, path, b"{" + before + b'"' + name + b'":' + value + b"}")
            if answer.code != "malformed_body":
                assert json.loads(answer.body)["field"] == name.decode(), answer


async def test_an_address_can_be_anything(attacker: Attacker) -> None:
    """What parsers read in different ways, and whatever leads inside, is refused before anything is sent."""
    config = b"/v1/provider-configs/" + attacker.unused_config_id
    environment = b"/v1/environments/" + attacker.environment_id
    for address in (
        "http://[::1", "https://a\x00", "http://127.0.0.1:99999/", f"https://{'a' * 300}.com/", "https://",
        "//x", "javascript:alert(1)", "https://user@x.example/", "https://x.example\\@y.example/",
        "http://169.254.169.254/", "https://2130706433/", "https://0x7f.1/",
    ):  # fmt: skip
        body = json.dumps({"base_url": address}).encode()
        assert json.loads((await attacker.refused("PATCH", config, body)).body)["field"] == "base_url"
    for address in ("http://[::1", "https://a\x00", "https://x:99999999/", "\\\\x", "javascript:alert(1)"):
        for name in ("return_urls", "origins"):
            await attacker.refused("PATCH", environment, json.dumps({name: [address]}).encode())


async def test_a_secret_can_be_anything(attacker: Attacker) -> None:
    """And is not repeated."""
    for body in (
        b'{"provider":"clicksend","tenant_id":"a","fields":{"\\u0000":"CANARY\\ud800"}}',
        b'{"provider":"clicksend","tenant_id":"a","fields":{"api_key":"CANARY\\u0000","username":"a"}}',
        b'{"installation_id":"x","kind":"webhook_secret","secret":["CANARY"]}',
        b'{"kind":["CANARY"],"secret":{"CANARY":1}}',
        b'{"provider":"clicksend","tenant_id":"a","fields":"CANARY"}',
    ):
        answer = await attacker.refused("POST", b"/v1/credentials", body)
        assert answer.code == "invalid_input"
        assert b"CANARY" not in answer.body
