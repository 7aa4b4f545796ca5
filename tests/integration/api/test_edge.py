"""What every answer has, whatever was asked: an id, headers, a problem document for what went wrong."""

from __future__ import annotations

import asyncio
import json
import socket
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from support.problems import is_problem

if TYPE_CHECKING:
    from conftest import Api


def _concrete(path: str) -> str:
    for name in ("provider", "tenant_id"):
        path = path.replace("{" + name + "}", "something")
    while "{" in path:
        path = path[: path.index("{")] + str(uuid.uuid4()) + path[path.index("}") + 1 :]
    return path


async def _operations(api: Api) -> list[tuple[str, str]]:
    document = (await api.get("/openapi.json")).json()
    return [
        (method.upper(), _concrete(path))
        for path, operations in document["paths"].items()
        for method in operations
        if path.startswith("/v1/")
    ]


async def test_every_route_needs_a_good_key(api: Api) -> None:
    """Without a key, with one that is malformed, unknown, revoked or expired: 401 and one text for all."""
    revoked, expired = [await api.new_key(api.environment_id) for _ in range(2)]
    expired = await api.new_key(api.environment_id, expires_in=timedelta(seconds=5))
    listed = (await api.get("/v1/api-keys", key=revoked)).json()["data"]
    key_id = next(key["id"] for key in listed if revoked.startswith(key["prefix"]))
    assert (await api.post(f"/v1/api-keys/{key_id}/revoke")).status_code == 200
    api.clock.advance(timedelta(seconds=6))
    unknown = f"apk_aaaaaaaa_{'A' * 43}"
    operations = await _operations(api)
    assert len(operations) > 35
    texts = set()
    for method, path in [*operations, ("GET", "/v1/nothing"), ("GET", "/v1")]:
        for key in (None, "nonsense", unknown, revoked, expired):
            answer = await api.call(method, path, key=key)
            document = is_problem(answer, 401, "unauthenticated")
            assert answer.headers["www-authenticate"] == "Bearer"
            texts.add(document["detail"])
    assert len(texts) == 1


async def test_the_key_may_come_in_no_other_way(api: Api) -> None:
    """Neither in the query, nor as another scheme, nor twice."""
    for headers in ({"Authorization": f"Basic {api.key}"}, {"Authorization": api.key}):
        is_problem(await api.call("GET", "/v1/tenants", key=None, headers=headers), 401, "unauthenticated")
    answer = await api.call("GET", f"/v1/tenants?api_key={api.key}", key=None)
    is_problem(answer, 401, "unauthenticated")
    assert (
        await api.call("GET", "/v1/tenants", key=None, headers={"authorization": f"bearer {api.key}"})
    ).status_code == 200


async def test_every_answer_has_its_headers(api: Api) -> None:
    """Good ones, errors and pages alike carry an id of their own and may not be cached or sniffed."""
    ids = set()
    for path in ("/v1/tenants", "/v1/nothing", "/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"):
        answer = await api.get(path)
        ids.add(answer.headers["x-request-id"])
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert len(answer.headers.get_list("content-security-policy")) == 1
    assert len(ids) == 7


async def test_a_well_formed_request_id_is_kept(api: Api) -> None:
    """It comes back and stands in the event the request caused; another form is replaced."""
    answer = await api.call(
        "PUT", "/v1/tenants/org_new", json={"name": "New"}, headers={"X-Request-Id": "trace-1.a:b_c"}
    )
    assert answer.headers["x-request-id"] == "trace-1.a:b_c"
    event = (await api.events("tenant.created"))[0]
    assert event["request_id"] == "trace-1.a:b_c"
    assert event["source_address"] == "127.0.0.1"
    assert event["actor"]["kind"] == "api_key"
    for odd in ("a b", "x" * 101, "-x", '"'):
        answer = await api.get("/v1/tenants", headers={"X-Request-Id": odd})
        assert answer.headers["x-request-id"] != odd


async def test_an_unknown_address_is_told(api: Api) -> None:
    """404 as a problem document, under /v1 and elsewhere."""
    for path in ("/v1/nothing", "/v1/connections/", "/nothing"):
        is_problem(await api.get(path), 404, "not_found")


async def test_a_wrong_method_is_told_with_the_right_ones(api: Api) -> None:
    """405 names every method of the address, though each is a route of its own."""
    answer = await api.call("DELETE", "/v1/credentials")
    is_problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, POST"
    answer = await api.call("POST", f"/v1/provider-configs/{uuid.uuid4()}")
    assert answer.headers["allow"] == "DELETE, GET, PATCH"
    assert "head" not in (await api.call("PUT", "/healthz")).headers["allow"].lower()


async def test_a_body_that_is_no_json_is_refused_without_a_word_of_it(api: Api) -> None:
    """Malformed, too deep, not UTF-8: 400, and nothing of the body comes back."""
    headers = {"Content-Type": "application/json"}
    for content in (
        b'{"name": "CANARY"',
        b"CANARY",
        b'{"name": "\xff"}',
        b"[" * 200_000,
        b'{"expires_in_s": ' + b"9" * 5000 + b"}",
    ):
        answer = await api.call("POST", "/v1/api-keys", content=content, headers=headers)
        is_problem(answer, 400, "malformed_body")
        assert "CANARY" not in answer.text


async def test_another_media_type_is_refused(api: Api) -> None:
    """415 for forms and for a body that does not say what it is; JSON with a charset is fine."""
    for headers in ({"Content-Type": "application/x-www-form-urlencoded"}, {}):
        answer = await api.call("POST", "/v1/api-keys", content=b"name=x", headers=headers)
        is_problem(answer, 415, "unsupported_media_type")
    headers = {"Content-Type": "application/json; charset=utf-8"}
    answer = await api.call("POST", "/v1/api-keys", content=b'{"name": "x"}', headers=headers)
    assert answer.status_code == 201


async def test_a_body_over_a_mebibyte_is_refused(api: Api, settings: Any) -> None:
    """413 by the announced length, and by what really arrives when no length was announced."""
    headers = {"Content-Type": "application/json"}
    body = json.dumps({"name": "x" * (1024 * 1024)}).encode()
    is_problem(
        await api.call("POST", "/v1/api-keys", content=body, headers=headers), 413, "payload_too_large"
    )

    async def pieces() -> Any:
        for start in range(0, len(body), 65536):
            yield body[start : start + 65536]

    answer = await api.call("POST", "/v1/api-keys", content=pieces(), headers=headers)
    is_problem(answer, 413, "payload_too_large")
    answer = await api.call(
        "POST", "/v1/api-keys", content=pieces(), headers=headers | {"Idempotency-Key": "large"}
    )
    is_problem(answer, 413, "payload_too_large")


async def test_an_unexpected_failure_tells_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """500 with the request id and without a word of the exception."""

    async def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("CANARY detail")

    monkeypatch.setattr(type(api.rooms.environments), "get", fail)
    answer = await api.get("/v1/environments")
    is_problem(answer, 500, "internal")
    assert "CANARY" not in answer.text


async def test_an_outage_of_the_database_is_told_as_such(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 with Retry-After, so that a caller tries again."""

    async def away(*_: Any, **__: Any) -> None:
        raise ConnectionRefusedError("CANARY")

    monkeypatch.setattr(type(api.rooms.environments), "get", away)
    answer = await api.get("/v1/environments")
    is_problem(answer, 503, "unavailable")
    assert answer.headers["retry-after"] == "1"
    monkeypatch.setattr(type(api.rooms.database), "ping", away)
    ready = await api.call("GET", "/readyz", key=None)
    assert (ready.status_code, ready.json()["database"]) == (503, "away")
    assert (await api.call("GET", "/healthz", key=None)).status_code == 200


async def test_liveness_and_metrics_need_no_key(api: Api) -> None:
    """A load balancer and Prometheus have none; metrics name routes by their templates."""
    await api.get("/v1/connections")
    await api.get(f"/v1/connections/{uuid.uuid4()}")
    await api.get("/v1/credentials")
    assert (await api.call("GET", "/healthz", key=None)).json() == {"status": "ok"}
    assert (await api.call("GET", "/readyz", key=None)).json() == {"status": "ok", "database": "ok"}
    metrics = await api.call("GET", "/metrics", key=None)
    assert metrics.headers["content-type"].startswith("text/plain")
    for route, status in (
        ("/v1/connections", 200),
        ("/v1/connections/{connection_id}", 404),
        ("/v1/credentials", 422),
    ):
        assert f'authpipe_http_requests_total{{route="{route}",status="{status}"}} 1.0' in metrics.text


async def test_a_caller_that_hangs_up_does_no_harm(api: Api, settings: Any) -> None:
    """Half a request is dropped; the next one is served."""
    with socket.create_connection(("127.0.0.1", settings.port)) as raw:
        raw.sendall(
            b"POST /v1/api-keys HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Idempotency-Key: half\r\nContent-Length: 100\r\nAuthorization: Bearer "
            + api.key.encode()
            + b"\r\n\r\n{"
        )
        await asyncio.sleep(0)
    assert (await api.get("/v1/tenants")).status_code == 200
