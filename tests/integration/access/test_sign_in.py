"""Signing in with a password: who gets in, who is held off, and that nobody can hold an operator off."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from argon2 import PasswordHasher

from authpipe.access.operator_tokens import new_token
from authpipe.access.passwords import Passwords, Verdict
from authpipe.access.sign_in import PasswordSignIn
from authpipe.access.sign_in_limits import TRIES, WINDOW
from authpipe.access.sign_in_refused import SignInReason, SignInRefused
from authpipe.domain.access import OperatorRole
from authpipe.domain.clock import ManualClock
from authpipe.domain.errors import InvalidInput
from authpipe.domain.secret import Secret
from authpipe.server.signing_in import SigningIn
from authpipe.store.database import Database
from support.operators import ANOTHER, COMMAND_LINE, PASSWORD, add, browser, sign_in, told, workspace_events

WRONG = "wrong wrong wrong"


async def _refused(signing_in: SigningIn, *arguments: str, **more: object) -> SignInReason:
    with pytest.raises(SignInRefused) as caught:
        await sign_in(signing_in, *arguments, **more)  # type: ignore[arg-type]
    return caught.value.reason


async def test_the_right_password_opens_a_session(signing_in: SigningIn, database: Database) -> None:
    """And is recorded, with the operator as the actor."""
    ada = await add(signing_in)
    made = await sign_in(signing_in, " Ada@Example.com ")
    assert made.signed_in.operator.operator_id == ada.operator_id
    event = (await workspace_events(database))[-1]
    session = made.signed_in.session
    assert told([event]) == [
        ("operator.signed_in", {"session_id": str(session.session_id), "method": "password"})
    ]
    assert (event.origin.actor_kind.value, event.origin.actor_id) == ("operator", str(ada.operator_id))
    assert event.origin.source_address == "203.0.113.7"
    assert (await signing_in.operators.get(ada.operator_id)).last_sign_in_at is not None


async def test_every_refusal_looks_alike(signing_in: SigningIn) -> None:
    """Unknown, wrong, without a password, disabled, locked, no email at all: one reason and one text."""
    await add(signing_in)
    await add(signing_in, "none@example.com", password=None)
    off = await add(signing_in, "off@example.com", role=OperatorRole.VIEWER)
    await signing_in.operators.disable(off.operator_id, origin=COMMAND_LINE)
    locked = await add(signing_in, "locked@example.com")
    async with signing_in.operators.database.system() as transaction:
        await transaction.operators.failing(
            locked.operator_id,
            failures=5,
            at=signing_in.operators.clock.now(),
            locked_until=signing_in.operators.clock.now() + timedelta(minutes=1),
        )
    texts = set()
    for email, password in (
        ("nobody@example.com", PASSWORD),
        ("ada@example.com", WRONG),
        ("none@example.com", PASSWORD),
        ("off@example.com", PASSWORD),
        ("locked@example.com", PASSWORD),
        ("not an email", PASSWORD),
        ("ada@example.com", "x" * 2000),
        ("ada@example.com", ""),
    ):
        with pytest.raises(SignInRefused) as caught:
            await sign_in(signing_in, email, password)
        texts.add((caught.value.reason, caught.value.message))
    assert len(texts) == 1
    assert texts.pop()[0] is SignInReason.WRONG


async def test_nobody_learns_from_the_time_who_is_an_operator(signing_in: SigningIn) -> None:
    """An unknown email costs what a known one does."""
    await add(signing_in)

    async def took(email: str) -> float:
        times = []
        for number in range(4):
            begun = time.process_time()
            await _refused(signing_in, email, WRONG, address=f"198.51.100.{number}")
            times.append(time.process_time() - begun)
        return min(times)

    await took("warm@example.com")
    known, unknown = await took("ada@example.com"), await took("nobody@example.com")
    assert 0.6 < unknown / known < 1.7


async def test_failures_in_a_row_lock_an_operator_for_longer_each_time(
    signing_in: SigningIn, clock: ManualClock, database: Database
) -> None:
    """A minute after five, two after the sixth; the right password is refused meanwhile, and helps after."""
    await add(signing_in)
    for number in range(5):
        await _refused(signing_in, "ada@example.com", WRONG, address=f"198.51.100.{number}")
    assert await _refused(signing_in) is SignInReason.WRONG
    clock.advance(timedelta(seconds=61))
    await _refused(signing_in, "ada@example.com", WRONG, address="198.51.100.9")
    clock.advance(timedelta(seconds=61))
    await _refused(signing_in)
    clock.advance(timedelta(seconds=60))
    await sign_in(signing_in)
    locks = [event for event in await workspace_events(database) if event.type == "operator.locked"]
    assert [event.data["failures"] for event in locks] == [5, 6]
    await _refused(signing_in, "ada@example.com", WRONG)
    assert (await signing_in.operators.by_email("ada@example.com")).failed_sign_ins == 1


async def test_a_flood_cannot_lock_an_owner_out(signing_in: SigningIn, clock: ManualClock) -> None:
    """A browser they used before gets in while everybody else is held off."""
    await add(signing_in)
    mark = (await sign_in(signing_in)).mark
    for number in range(30):
        await _refused(signing_in, "ada@example.com", WRONG, address=f"198.51.100.{number}")
        clock.advance(timedelta(minutes=2))
    await _refused(signing_in, address="192.0.2.1")
    await _refused(signing_in, address="192.0.2.2", mark=new_token())
    assert await sign_in(signing_in, address="192.0.2.3", mark=mark)


async def test_a_mark_is_no_way_to_guess_without_end(signing_in: SigningIn, clock: ManualClock) -> None:
    """Known browsers of one operator are counted together; and a mark is for one operator."""
    await add(signing_in)
    await add(signing_in, "eve@example.com")
    mark = (await sign_in(signing_in)).mark
    for number in range(TRIES):
        await _refused(signing_in, "ada@example.com", WRONG, address=f"198.51.100.{number}", mark=mark)
    assert await _refused(signing_in, address="198.51.100.99", mark=mark) is SignInReason.LIMITED
    assert await sign_in(signing_in, "eve@example.com", mark=mark)
    assert await sign_in(signing_in)
    clock.advance(WINDOW)
    assert await sign_in(signing_in, mark=mark)


async def test_one_place_can_try_a_number_of_times(signing_in: SigningIn, clock: ManualClock) -> None:
    """Whatever the emails; successes do not count, other places are not held off, and it passes."""
    await add(signing_in)
    for _ in range(TRIES + 5):
        await sign_in(signing_in)
    for number in range(TRIES):
        assert await _refused(signing_in, f"u{number}@example.com", WRONG) is SignInReason.WRONG
    assert await _refused(signing_in) is SignInReason.LIMITED
    assert await sign_in(signing_in, address="192.0.2.1")
    clock.advance(WINDOW)
    assert await sign_in(signing_in)


async def test_an_ipv6_site_can_try_a_number_of_times(signing_in: SigningIn, database: Database) -> None:
    """From however many of its networks; what did not fail does not count for it either."""
    await add(signing_in)
    site = "2001:db8:1::/48"
    async with database.system() as transaction:
        now = signing_in.operators.clock.now()
        for _ in range(5 * TRIES - 1):
            await transaction.sign_in_sources.count(site, now=now, ends_at=now + WINDOW)
    await sign_in(signing_in, address="2001:db8:1:1::1")
    assert (
        await _refused(signing_in, "ada@example.com", WRONG, address="2001:db8:1:2::1") is SignInReason.WRONG
    )
    assert await _refused(signing_in, address="2001:db8:1:3::1") is SignInReason.LIMITED
    assert await sign_in(signing_in, address="2001:db8:2:1::1")


class _Busy(Passwords):
    """Too many wait, after a while."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.answers = asyncio.Event(), asyncio.Event()

    async def verify(self, stored: str | None, password: Secret) -> Verdict:
        """Say so when told to."""
        self.asked.set()
        await self.answers.wait()
        raise SignInRefused(SignInReason.BUSY, "busy")


@pytest.fixture
def elsewhere(signing_in: SigningIn) -> Iterator[SigningIn]:
    """Another replica, which compares nothing."""
    passwords = _Busy()
    password = PasswordSignIn(
        database=signing_in.operators.database,
        passwords=passwords,
        operators=signing_in.operators,
        sessions=signing_in.sessions,
        clock=signing_in.operators.clock,
    )
    yield replace(signing_in, password=password)
    passwords.close()


async def test_a_try_that_was_not_compared_takes_back_its_own_failure_alone(
    signing_in: SigningIn, elsewhere: SigningIn, clock: ManualClock
) -> None:
    """What others failed meanwhile stays counted, and so does the lock that followed."""
    await add(signing_in)
    passwords = elsewhere.password._passwords
    assert isinstance(passwords, _Busy)
    busy = asyncio.create_task(_refused(elsewhere, "ada@example.com", WRONG, address="192.0.2.1"))
    await passwords.asked.wait()
    for number in range(4):
        await _refused(signing_in, "ada@example.com", WRONG, address=f"198.51.100.{number}")
    passwords.answers.set()
    assert await busy is SignInReason.BUSY
    ada = await signing_in.operators.by_email("ada@example.com")
    assert (ada.failed_sign_ins, ada.locked_until) == (4, clock.now() + timedelta(minutes=1))


async def test_a_try_that_was_not_compared_locks_nobody(signing_in: SigningIn, elsewhere: SigningIn) -> None:
    """The fifth failure makes a lock, and takes it back when it was none."""
    await add(signing_in)
    for number in range(4):
        await _refused(signing_in, "ada@example.com", WRONG, address=f"198.51.100.{number}")
    passwords = elsewhere.password._passwords
    assert isinstance(passwords, _Busy)
    passwords.answers.set()
    assert await _refused(elsewhere, address="192.0.2.1") is SignInReason.BUSY
    ada = await signing_in.operators.by_email("ada@example.com")
    assert (ada.failed_sign_ins, ada.locked_until) == (4, None)
    assert await sign_in(signing_in)


async def test_tries_at_once_are_counted_before_they_are_compared(signing_in: SigningIn) -> None:
    """Thirty at the same moment get no more guesses than five one after the other."""
    await add(signing_in)
    tries = [
        sign_in(
            signing_in, "ada@example.com", PASSWORD if number == 29 else WRONG, address=f"198.51.100.{number}"
        )
        for number in range(30)
    ]
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert all(isinstance(each, SignInRefused) for each in results[:29])
    ada = await signing_in.operators.by_email("ada@example.com")
    assert ada.failed_sign_ins in (0, 5)
    assert (ada.failed_sign_ins == 0) == (not isinstance(results[29], SignInRefused))


async def test_a_flood_of_unknown_emails_writes_few_events(signing_in: SigningIn, database: Database) -> None:
    """Ten a minute, and none of what was typed."""
    for number in range(15):
        await _refused(signing_in, "my-secret-password", WRONG, address=f"198.51.100.{number}")
    events = await workspace_events(database)
    assert [event.type for event in events] == ["operator.sign_in_failed"] * 10
    assert {(event.object_id, event.outcome.value) for event in events} == {("unknown", "failure")}
    assert "my-secret-password" not in str(events)


async def test_an_old_hash_is_replaced_at_sign_in(signing_in: SigningIn, database: Database) -> None:
    """By one with the parameters of today, of the same password."""
    ada = await add(signing_in)
    old = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(PASSWORD)
    async with database.system() as transaction:
        await transaction.operators.set_password(
            ada.operator_id, password_hash=old, known_browser_key=bytes(32), at=ada.created_at
        )
    await sign_in(signing_in)
    async with database.system() as transaction:
        proof = await transaction.operators.proof(ada.operator_id)
    assert proof is not None
    assert (proof.password_hash or "").startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    await sign_in(signing_in)


async def test_changing_the_password_ends_every_other_session(
    signing_in: SigningIn, database: Database
) -> None:
    """The one it was changed in goes on; marks of before are worth nothing, and the old password too."""
    await add(signing_in)
    other, mine = await sign_in(signing_in), await sign_in(signing_in)

    async def change(current: str, chosen: str) -> Secret:
        return await signing_in.password.change_password(
            mine.signed_in, Secret(current), Secret(chosen), origin=browser()
        )

    with pytest.raises(InvalidInput) as caught:
        await change(WRONG, ANOTHER)
    assert caught.value.field == "current"
    assert (await workspace_events(database))[-1].type == "operator.sign_in_failed"
    with pytest.raises(InvalidInput) as caught:
        await change(PASSWORD, "short")
    assert caught.value.field == "password"
    mark = await change(PASSWORD, ANOTHER)
    assert mark != mine.mark
    assert await signing_in.sessions.current(mine.cookie, source_address=None) is not None
    assert await signing_in.sessions.current(other.cookie, source_address=None) is None
    await _refused(signing_in)
    assert await sign_in(signing_in, password=ANOTHER)


async def test_a_stolen_session_cannot_guess_the_password_without_end(signing_in: SigningIn) -> None:
    """The form to change it counts like a sign-in."""
    await add(signing_in)
    made = await sign_in(signing_in)
    for _ in range(TRIES):
        with pytest.raises(InvalidInput):
            await signing_in.password.change_password(
                made.signed_in, Secret(WRONG), Secret(ANOTHER), origin=browser()
            )
    with pytest.raises(SignInRefused) as caught:
        await signing_in.password.change_password(
            made.signed_in, Secret(PASSWORD), Secret(ANOTHER), origin=browser()
        )
    assert caught.value.reason is SignInReason.LIMITED


async def test_unlocking_and_a_new_password_end_a_lock(signing_in: SigningIn) -> None:
    """Either by an owner's hand."""
    ada = await add(signing_in)
    for _ in range(2):
        for number in range(5):
            await _refused(signing_in, "ada@example.com", WRONG, address=f"198.51.100.{number}")
        await _refused(signing_in, address="192.0.2.1")
        await signing_in.operators.unlock(ada.operator_id, origin=COMMAND_LINE)
        await sign_in(signing_in, address="192.0.2.2")
    for number in range(5):
        await _refused(signing_in, "ada@example.com", WRONG, address=f"198.51.100.{number}")
    await signing_in.operators.set_password(ada.operator_id, Secret(ANOTHER), origin=COMMAND_LINE)
    assert await sign_in(signing_in, password=ANOTHER, address="192.0.2.3")
