"""API keys in memory."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from authpipe.access.known_keys import KnownKeys
from authpipe.access.refusals import Refusal
from authpipe.domain.access import ApiKeyRole
from authpipe.domain.environment import ApiKey, Environment, EnvironmentKind

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(seconds=60)
ENVIRONMENT = Environment(
    environment_id=UUID(int=1),
    name="e",
    kind=EnvironmentKind.DEVELOPMENT,
    return_urls=(),
    origins=(),
    created_at=NOW,
)


def key(number: int) -> ApiKey:
    return ApiKey(
        api_key_id=UUID(int=number),
        environment_id=UUID(int=1),
        name="k",
        prefix="apk_aaaaaaaa",
        role=ApiKeyRole.ADMIN,
        tenant_id=None,
        replaced_by=None,
        created_at=NOW,
        expires_at=None,
        revoked_at=None,
        last_used_at=None,
    )


def keep(known: KnownKeys, number: int, generation: int = 0) -> None:
    known.keep(bytes([number]), key(number), ENVIRONMENT, now=NOW, generation=generation)


def test_a_key_is_known_for_as_long_as_it_is_believed() -> None:
    """And not a moment longer."""
    known = KnownKeys(size=10, ttl=MINUTE)
    keep(known, 1)
    assert known.find(b"\x01", now=NOW + MINUTE - timedelta(microseconds=1)) is not None
    assert known.find(b"\x01", now=NOW + MINUTE) is None


def test_the_least_used_key_makes_room() -> None:
    """The number of keys is bounded."""
    known = KnownKeys(size=2, ttl=MINUTE)
    keep(known, 1)
    keep(known, 2)
    assert known.find(b"\x01", now=NOW)
    keep(known, 3)
    assert [known.find(bytes([each]), now=NOW) is not None for each in (1, 2, 3)] == [True, False, True]


def test_refused_keys_are_bounded_and_soon_asked_for_again() -> None:
    """Invented keys cannot fill the memory."""
    known = KnownKeys(size=2, ttl=MINUTE)
    for each in b"\x01\x02\x03":
        known.refuse(bytes([each]), Refusal.UNKNOWN, now=NOW)
    assert [known.refusal(bytes([each]), now=NOW) for each in (1, 2, 3)] == [
        None,
        Refusal.UNKNOWN,
        Refusal.UNKNOWN,
    ]
    assert known.refusal(b"\x03", now=NOW + timedelta(seconds=10)) is None


def test_a_lookup_that_a_change_overtook_is_not_kept() -> None:
    """The row was read before the key was revoked and arrives afterwards."""
    known = KnownKeys(size=2, ttl=MINUTE)
    before = known.generation
    known.forget(UUID(int=1))
    keep(known, 1, before)
    assert known.find(b"\x01", now=NOW) is None
    keep(known, 1, known.generation)
    known.forget(UUID(int=1))
    assert known.find(b"\x01", now=NOW) is None


def test_after_a_gap_nothing_is_known() -> None:
    """Neither good keys nor refused ones."""
    known = KnownKeys(size=2, ttl=MINUTE)
    keep(known, 1)
    known.refuse(b"\x02", Refusal.UNKNOWN, now=NOW)
    known.forget_all()
    assert known.find(b"\x01", now=NOW) is None
    assert known.refusal(b"\x02", now=NOW) is None


def test_that_a_key_was_good_is_known_until_it_is_refused() -> None:
    """Longer than it is believed: it may be looked up again when others may not."""
    known = KnownKeys(size=2, ttl=MINUTE)
    assert not known.was_good(b"\x01")
    keep(known, 1)
    known.forget_all()
    assert known.find(b"\x01", now=NOW) is None
    assert known.was_good(b"\x01")
    known.refuse(b"\x01", Refusal.REVOKED, now=NOW)
    assert not known.was_good(b"\x01")


def test_a_note_on_its_way_is_not_made_twice() -> None:
    """The database may not have it yet when the key is looked up again."""
    known = KnownKeys(size=2, ttl=MINUTE)
    keep(known, 1)
    found = known.find(b"\x01", now=NOW)
    assert found is not None
    found.noted_at = NOW
    keep(known, 1)
    again = known.find(b"\x01", now=NOW)
    assert again is not None
    assert again.noted_at == NOW
