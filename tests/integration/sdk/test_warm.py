"""``warm``: many credentials in few requests."""

from __future__ import annotations

import threading

import pytest

from authpipe import (
    AuthenticationFailed,
    AuthpipeUnavailable,
    InvalidRequest,
    NotConnected,
    ReauthorizationRequired,
)


def users(count: int, begin: int = 0) -> list[dict[str, str]]:
    return [
        {"provider": "discord", "tenant_id": "org_acme", "user_id": f"user_{number}"}
        for number in range(begin, begin + count)
    ]


def warm(client, requests):
    return client.do(lambda c: c.warm(requests))


@pytest.fixture
def batches(server):
    """The server answers batches, with one answer per user where that is told."""
    refused: dict[str, tuple[int, str]] = {}

    def answer(seen):
        if seen.method != "POST":
            return server.credential(1)
        assert seen.path == "/v1/credentials/batch"
        items = []
        for item in seen.body["credentials"]:
            if item["user_id"] in refused:
                status, code = refused[item["user_id"]]
                items.append(server.problem(status, code, reason="revoked").body | {"object": "error"})
            else:
                items.append(server.credential(1, user_id=item["user_id"], life_s=3600).body)
        return type(server.credential())(body={"object": "list", "data": items})

    server.answer = answer
    return refused


def test_a_hundred_in_each_request_and_every_one_is_a_hit_afterwards(client, server, batches):
    """250 credentials: three requests, and no further one for any of them."""
    done = warm(client, users(250))
    assert (done.cached, dict(done.errors)) == (250, {})
    assert [len(seen.body["credentials"]) for seen in server.seen] == [100, 100, 50]
    assert "idempotency-key" not in server.seen[0].headers
    for number in (0, 99, 100, 249):
        assert client.get(user_id=f"user_{number}").user_id == f"user_{number}"
    assert server.asked == 3


def test_only_the_given_arguments_are_sent(client, server, batches):
    """As with a single read; the default of ``credential_for`` is ``any``."""
    warm(client, [{"provider": "discord", "tenant_id": "t", "user_id": "u", "label": "work"}])
    assert server.seen[0].body["credentials"] == [
        {"provider": "discord", "tenant_id": "t", "user_id": "u", "credential_for": "any", "label": "work"}
    ]


def test_what_one_cannot_have_is_told_by_its_place(client, batches):
    """The others are cached; a definite no is kept as after a single read."""
    batches |= {"user_1": (404, "not_connected"), "user_120": (409, "reauthorization_required")}
    done = warm(client, users(130))
    assert done.cached == 128
    assert {index: type(error) for index, error in done.errors.items()} == {
        1: NotConnected,
        120: ReauthorizationRequired,
    }
    assert done.errors[120].reason == "revoked"
    with pytest.raises(NotConnected):
        client.get(user_id="user_1")


def test_what_is_fresh_is_not_fetched_again(client, server, batches):
    """And counts as cached."""
    warm(client, users(5))
    assert warm(client, users(7)).cached == 7
    assert [len(seen.body["credentials"]) for seen in server.seen] == [5, 2]


def test_warming_nothing_asks_nothing(client, server):
    """An empty list is fine."""
    assert warm(client, []).cached == 0
    assert server.asked == 0


def test_a_wrong_argument_is_a_type_error_before_anything_is_sent(client, server):
    """As calling ``get_credential`` with it would be."""
    with pytest.raises(TypeError, match="tenant"):
        warm(client, [{"provider": "discord", "tenant": "t"}])
    assert server.asked == 0


def test_life_is_measured_as_for_a_single_read(client, server, batches, clock):
    """Against the answer's own Date."""
    warm(client, users(1))
    (entry,) = client.cache.entries.values()
    assert entry.expires == clock.elapsed_s + 3599


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [(401, "unauthenticated", AuthenticationFailed), (500, "internal", AuthpipeUnavailable)],
)
def test_a_request_that_fails_as_a_whole_raises(client, server, status, code, expected):
    """Not one error for each of a hundred."""
    server.script(server.problem(status, code))
    with pytest.raises(expected):
        warm(client, users(3))


@pytest.mark.parametrize(
    ("field", "expected"),
    [("credentials[3].label", "credentials[105].label"), ("credentials[99]", "credentials[99]"),
     ("credentials", "credentials"), (None, None)],
)  # fmt: skip
def test_a_wrong_item_is_named_by_its_place_in_the_whole_list(client, server, batches, field, expected):
    """Not by that in the request, which left out what was cached and held a hundred at most."""
    warm(client, users(2))
    answer = server.answer
    server.answer = lambda seen: (
        answer(seen) if len(server.seen) == 2 else server.problem(422, "invalid_input", field=field)
    )
    with pytest.raises(InvalidRequest) as caught:
        warm(client, users(110))
    assert caught.value.field == expected


@pytest.mark.parametrize("data", [[], None, [1], [{"object": "credential"}]], ids=str)
def test_an_answer_that_does_not_fit_is_no_answer(client, server, data):
    """Nothing is cached under the wrong key."""
    server.script(type(server.credential())(body={"object": "list", "data": data}))
    with pytest.raises(AuthpipeUnavailable, match="not understood"):
        warm(client, users(1))
    assert not client.cache.entries


def test_a_change_during_a_batch_keeps_what_it_concerns_out(live, server, until):
    """The rest of the batch is kept."""
    client, stream = live()
    begun, told = threading.Event(), threading.Event()

    def answer(seen):
        begun.set()
        assert told.wait(10)
        data = [
            server.credential(1, user_id=item["user_id"], connection_id=f"c-{item['user_id']}").body
            for item in seen.body["credentials"]
        ]
        return type(server.credential())(body={"object": "list", "data": data})

    server.answer = answer

    def revoke():
        assert begun.wait(10)
        generation = client.cache.generation
        told_of = {"user_id": "user_1", "connection_id": "c-user_1", "credential_id": None}
        stream.change("connection.disconnected", **told_of)
        until(lambda: client.cache.generation > generation)
        told.set()

    revoking = threading.Thread(target=revoke)
    revoking.start()
    warm(client, users(3))
    revoking.join(10)
    kept = {key[2] for key in client.cache.entries}
    assert kept >= {"user_0", "user_2"}
    assert "user_1" not in kept
