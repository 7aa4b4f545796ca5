"""The calls of both clients: what goes over the wire, what is tried again, which error comes out."""

from __future__ import annotations

import traceback

import pytest

import authpipe
from authpipe import AuthpipeUnavailable, Connection, ConnectSession, InvalidRequest, RateLimited

CONNECTION = {
    "object": "connection",
    "id": "c1",
    "provider": "discord",
    "provider_config_id": "p1",
    "tenant_id": "org_acme",
    "user_id": "user_123",
    "installation_id": None,
    "status": "active",
    "status_reason": None,
    "label": None,
    "is_primary": True,
    "account_id": "42",
    "account_name": "ada",
    "scopes": ["identify"],
    "metadata": {"guild_id": "7"},
    "created_at": "2026-11-24T16:00:00.123456Z",
    "updated_at": "2026-11-24T16:00:00.123456Z",
    "of_the_future": [1],
}
INSTALLATION = {
    "object": "installation",
    "id": "i1",
    "provider": "discord",
    "tenant_id": "org_acme",
    "external_id": "310",
    "external_name": "Club",
    "status": "active",
    "scopes": ["bot"],
    "metadata": {},
}
SESSION = {
    "object": "connect_session",
    "id": "s1",
    "status": "pending",
    "url": "https://authpipe.example/connect/canary-connect-token",
    "provider": "discord",
    "tenant_id": "org_acme",
    "user_id": "user_123",
    "kind": "connection",
    "expires_at": "2026-11-24T16:10:00Z",
}


@pytest.fixture
def reply(server):
    """A reply with this body."""
    return lambda body, status=200, **headers: type(server.credential())(
        status=status, body=body, headers=headers
    )


CREATE = {
    "provider": "discord",
    "tenant_id": "t",
    "kind": "connection",
    "return_url": "https://app.example/r",
}
WIRE = [
    (
        lambda c: c.connect_sessions.create(**CREATE, user_id="u", scopes=("a", "b"), label="work"),
        ("POST", "/v1/connect-sessions", {}),
        {**CREATE, "user_id": "u", "scopes": ["a", "b"], "label": "work", "return_mode": "redirect"},
        SESSION,
        ConnectSession,
    ),
    (lambda c: c.connect_sessions.get("s1"), ("GET", "/v1/connect-sessions/s1", {}), None, SESSION, None),
    (
        lambda c: c.connect_sessions.complete("s1", completion_code="cc", tenant_id="t", user_id="u"),
        ("POST", "/v1/connect-sessions/s1/complete", {}),
        {"completion_code": "cc", "tenant_id": "t", "user_id": "u"},
        {**SESSION, "status": "completed", "connection": CONNECTION, "installation": None},
        ConnectSession,
    ),
    (
        lambda c: c.connections.get("a/b c"),
        ("GET", "/v1/connections/a%2Fb%20c", {}),
        None,
        CONNECTION,
        Connection,
    ),
    (
        lambda c: c.connections.refresh("c1"),
        ("POST", "/v1/connections/c1/refresh", {}),
        {},
        CONNECTION,
        Connection,
    ),
    (
        lambda c: c.connections.reconnect("c1", return_url="https://app.example/r", return_mode="popup"),
        ("POST", "/v1/connections/c1/reconnect", {}),
        {"return_url": "https://app.example/r", "return_mode": "popup"},
        SESSION,
        ConnectSession,
    ),
    (
        lambda c: c.connections.disconnect("c1"),
        ("POST", "/v1/connections/c1/disconnect", {}),
        {},
        CONNECTION,
        None,
    ),
    (lambda c: c.installations.get("i1"), ("GET", "/v1/installations/i1", {}), None, INSTALLATION, None),
    (
        lambda c: c.installations.refresh("i1"),
        ("POST", "/v1/installations/i1/refresh", {}),
        {},
        INSTALLATION,
        None,
    ),
    (
        lambda c: c.installations.reconnect("i1", return_url="https://app.example/r"),
        ("POST", "/v1/installations/i1/reconnect", {}),
        {"return_url": "https://app.example/r", "return_mode": "redirect"},
        SESSION,
        None,
    ),
    (
        lambda c: c.installations.disconnect("i1"),
        ("POST", "/v1/installations/i1/disconnect", {}),
        {},
        INSTALLATION,
        None,
    ),
    (
        lambda c: c.connections.list(tenant_id="t", status="active", limit=5, cursor="n"),
        ("GET", "/v1/connections", {"tenant_id": "t", "status": "active", "limit": "5", "cursor": "n"}),
        None,
        {"object": "list", "data": [CONNECTION], "next_cursor": "n2"},
        None,
    ),
    (
        lambda c: c.installations.list(provider="discord"),
        ("GET", "/v1/installations", {"provider": "discord"}),
        None,
        {"object": "list", "data": [], "next_cursor": None},
        None,
    ),
    (
        lambda c: c.credentials.store(provider="clicksend", tenant_id="t", fields={"api_key": "k"}),
        ("POST", "/v1/credentials", {}),
        {"provider": "clicksend", "tenant_id": "t", "fields": {"api_key": "k"}},
        CONNECTION,
        authpipe.StoredCredential,
    ),
]


@pytest.mark.parametrize(("call", "line", "sent", "answer", "kind"), WIRE, ids=lambda value: None)
def test_each_call_is_what_the_server_expects(client, server, reply, call, line, sent, answer, kind):
    """Method, path (ids quoted), query and body; arguments left out are not sent."""
    server.script(reply(answer))
    result = client.do(call)
    seen = server.seen[-1]
    assert (seen.method, seen.path, seen.query) == line
    assert seen.body == sent
    assert ("idempotency-key" in seen.headers) == (seen.method == "POST")
    if kind is not None:
        assert isinstance(result, kind)


def test_results_are_typed(client, server, reply):
    """Times are aware, scopes a tuple, a page iterable, a completed session carries what it made."""
    server.script(reply({"object": "list", "data": [CONNECTION], "next_cursor": "n2"}))
    page = client.do(lambda c: c.connections.list())
    assert (len(page), page.next_cursor) == (1, "n2")
    (connection,) = page
    assert connection.created_at.utcoffset().total_seconds() == 0
    assert connection.scopes == ("identify",)
    assert connection.metadata["guild_id"] == "7"
    server.script(reply({**SESSION, "status": "completed", "installation": INSTALLATION}))
    session = client.do(lambda c: c.connect_sessions.get("s1"))
    assert session.installation.external_name == "Club"
    assert session.connection is None


def test_a_connect_sessions_url_is_not_in_its_repr(client, server, reply):
    """The URL is a permission; logs must not hand it on."""
    server.script(reply(SESSION))
    session = client.do(lambda c: c.connect_sessions.get("s1"))
    assert session.url == SESSION["url"]
    assert "canary-connect-token" not in repr(session)


def test_a_dropped_connection_is_tried_again_with_the_same_idempotency_key(client, server, reply):
    """The server sees one intention, however often it arrives."""
    server.script(reply(None), reply(None), reply(CONNECTION))
    drop = server.answer

    def answer(seen):
        given = drop(seen)
        given.drop = given.body is None
        return given

    server.answer = answer
    assert client.do(lambda c: c.connections.refresh("c1")).id == "c1"
    keys = [seen.headers["idempotency-key"] for seen in server.seen]
    assert len(keys) == 3
    assert len(set(keys)) == 1
    client.do(lambda c: c.connections.refresh("c1"))
    assert server.seen[-1].headers["idempotency-key"] != keys[0]


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_passing_status_is_tried_again(client, server, status):
    """Retry-After: 0 allows it at once."""
    server.script(server.problem(status, "busy", headers={"Retry-After": "0"}), server.credential(1))
    assert client.get().version == 1
    assert server.asked == 2


@pytest.mark.parametrize("status", [400, 404, 409, 422, 500])
def test_a_definite_answer_is_not_tried_again(client, server, status):
    """Asking again would not change it; a 500 may have had an effect."""
    server.script(server.problem(status, "internal"))
    with pytest.raises(authpipe.AuthpipeError):
        client.get()
    assert server.asked == 1


def test_a_retry_after_beyond_the_deadline_raises_at_once(client, server):
    """Nobody is kept waiting for what cannot come in time."""
    server.script(server.problem(429, "rate_limited", headers={"Retry-After": "3600"}))
    with pytest.raises(RateLimited) as caught:
        client.get()
    assert caught.value.retry_after_s == 3600
    assert server.asked == 1


ERRORS = [
    (401, "unauthenticated", authpipe.AuthenticationFailed),
    (403, "forbidden", authpipe.PermissionDenied),
    (404, "not_found", authpipe.NotFound),
    (404, "not_connected", authpipe.NotConnected),
    (409, "conflict", authpipe.Conflict),
    (409, "name_taken", authpipe.Conflict),
    (409, "ambiguous_connection", authpipe.AmbiguousConnection),
    (409, "reauthorization_required", authpipe.ReauthorizationRequired),
    (422, "invalid_input", authpipe.InvalidRequest),
    (500, "internal", authpipe.AuthpipeUnavailable),
    (418, "of_the_future", authpipe.AuthpipeError),
]


@pytest.mark.parametrize(("status", "code", "expected"), ERRORS)
def test_each_code_has_its_exception(client, server, status, code, expected):
    """Type, code, status, request id and the server's words."""
    server.script(server.problem(status, code))
    with pytest.raises(authpipe.AuthpipeError) as caught:
        client.get()
    error = caught.value
    assert type(error) is expected
    assert (error.code, error.status, error.request_id) == (code, status, "req_1")
    assert str(error) == f"detail of {code} [request req_1]"


def test_errors_carry_what_a_caller_needs(make, server):
    """Reason and ids, candidates, field, seconds."""
    client = make(negative_s=0)
    server.script(
        server.problem(409, "reauthorization_required", reason="revoked", connection_id="c1"),
        server.problem(
            409,
            "ambiguous_connection",
            candidates=[{"installation_id": "i1", "label": "eu", "account_name": "A", "is_primary": False}],
        ),
        server.problem(422, "invalid_input", field="tenant_id"),
        server.problem(503, "provider_unavailable", retry_after_s=12.5, headers={"Retry-After": "99"}),
    )
    with pytest.raises(authpipe.ReauthorizationRequired) as reauthorization:
        client.get()
    assert (reauthorization.value.reason, reauthorization.value.connection_id) == ("revoked", "c1")
    with pytest.raises(authpipe.AmbiguousConnection) as ambiguous:
        client.get()
    (candidate,) = ambiguous.value.candidates
    assert (candidate.installation_id, candidate.label, candidate.connection_id) == ("i1", "eu", None)
    with pytest.raises(InvalidRequest) as invalid:
        client.get()
    assert invalid.value.field == "tenant_id"
    with pytest.raises(authpipe.ProviderUnavailable) as provider:
        client.get()
    assert provider.value.retry_after_s == 12.5


@pytest.mark.parametrize("code", ["session_expired", "completion_mismatch", "completion_code_invalid"])
def test_a_refused_completion_is_a_connect_error(client, server, code):
    """The code says which rule refused it."""
    server.script(server.problem(409, code))
    with pytest.raises(authpipe.ConnectError) as caught:
        client.do(lambda c: c.connect_sessions.complete("s1", completion_code="x", tenant_id="t"))
    assert caught.value.code == code


def test_a_redirect_is_not_followed(client, server, reply):
    """The API key goes to the configured server only."""
    server.script(reply(b"", 307, Location=f"{server.url}/elsewhere"))
    with pytest.raises(AuthpipeUnavailable):
        client.get()
    assert [seen.path for seen in server.seen] == ["/v1/credentials"]


def test_no_secret_is_in_any_error_or_repr(client, server, secret, api_key):
    """The credential, its header, the API key and stored fields stay out of messages and tracebacks."""
    malformed = [
        server.credential(expires_at="not a time"),
        server.credential(headers=f"Bearer {secret}"),
        server.credential(version=f"{secret}"),
        server.credential(scopes=secret),
        type(server.credential())(body=f'{{"credential": "{secret}1", '.encode()),
        type(server.credential())(status=500, body=f"oops {secret}".encode()),
        server.problem(422, "invalid_input"),
        server.problem(401, "unauthenticated"),
    ]
    told = [repr(client.client), str(client.client), repr(client.client._core.settings)]
    for broken in malformed:
        server.script(broken)
        with pytest.raises(authpipe.AuthpipeError) as caught:
            client.do(lambda c: c.get_credential(provider="p", tenant_id="t"))
        told += [repr(caught.value), "".join(traceback.format_exception(caught.value))]
    for refused in malformed[-4:]:
        server.script(refused)
        with pytest.raises(authpipe.AuthpipeError) as caught:
            client.do(
                lambda c: c.credentials.store(provider="p", tenant_id="t", fields={"api_key": f"{secret}9"})
            )
        told += [repr(caught.value), "".join(traceback.format_exception(caught.value))]
    server.script(server.credential(1))
    got = client.get()
    told += [repr(got), str(got), f"{got}", f"{got!r}", repr(got.headers), f"{got.headers}", repr([got])]
    everything = "\n".join(told)
    assert secret not in everything
    assert api_key.removeprefix("apk_test2345_") not in everything
    assert "apk_test2345_***" in repr(client.client)


def test_an_endless_answer_is_cut_off(client, server, reply):
    """Eight megabytes are more than any answer has."""
    server.script(reply(b" " * (9 * 1024 * 1024)))
    with pytest.raises(AuthpipeUnavailable, match="too large"):
        client.get()
