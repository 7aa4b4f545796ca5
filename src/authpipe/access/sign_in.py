"""Signing in with email and password."""

from __future__ import annotations

import contextlib
import hmac
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from authpipe.access.operator_sessions import BrowserFacts, OperatorSessions, SignedIn
from authpipe.access.operator_tokens import browser_mark
from authpipe.access.operators import Operators, normal_email
from authpipe.access.passwords import Passwords, Verdict
from authpipe.access.sign_in_limits import (
    count_try,
    failures_before,
    give_try_back,
    known_browser,
    lock_after,
    places,
)
from authpipe.access.sign_in_refused import SignInReason, SignInRefused
from authpipe.domain.access import SignInMethod
from authpipe.domain.clock import Clock
from authpipe.domain.environment import WORKSPACE_ID
from authpipe.domain.errors import InvalidInput
from authpipe.domain.event import Origin, Outcome
from authpipe.domain.secret import Secret
from authpipe.events.record import record
from authpipe.events.types import EventType
from authpipe.store.database import Database
from authpipe.store.operators import OperatorProof
from authpipe.store.transaction import Transaction

#: Failures a minute and process that are written down though no operator's count bounds them.
_MOST_STRAYS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    """A session just opened, and what its browser is to keep: the cookie, and the mark of a known browser."""

    signed_in: SignedIn
    cookie: Secret
    mark: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class _Try:
    """One try that was counted, before anything is compared.

    ``stored`` is the hash to compare with; None when the answer is no, whatever was typed.
    """

    sources: tuple[str, ...]
    proof: OperatorProof | None
    stored: str | None
    failures: int
    locked_until: datetime | None


class PasswordSignIn:
    """Tells operators from those who guess.

    Tries are counted before they are compared, so no number of them at once gets around the limits.  An
    unknown email, a wrong password, a lock and a disabled operator look alike and take the same time.
    """

    def __init__(
        self,
        *,
        database: Database,
        passwords: Passwords,
        operators: Operators,
        sessions: OperatorSessions,
        clock: Clock,
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._operators = operators
        self._sessions = sessions
        self._clock = clock
        self._strays = (0, 0)

    async def sign_in(
        self,
        email: str,
        password: Secret,
        browser: BrowserFacts,
        *,
        mark: Secret | None,
        shown: Secret | None,
        origin: Origin,
    ) -> NewSession:
        """Open a session.  ``mark`` and ``shown`` are the browser's cookies, as far as it has them.

        Raises ``SignInRefused``: ``sign_in_wrong``, ``sign_in_limited`` or ``sign_in_busy``.
        """
        async with self._database.system() as transaction:
            tried = await self._begin(transaction, email, mark, origin)
        verdict = await self._compare(tried, password)
        async with self._database.system() as transaction:
            proof = await self._proven(transaction, tried, verdict)
            if proof is not None:
                session, cookie = await self._sessions.open(
                    transaction, proof.operator, SignInMethod.PASSWORD, browser, shown=shown, origin=origin
                )
                await give_try_back(transaction, tried.sources)
            else:
                await self._failed(transaction, tried, origin)
        if proof is None:
            raise _wrong()
        operator_id = proof.operator.operator_id
        if verdict.outdated and tried.stored is not None:
            await self._rehash(operator_id, tried.stored, password)
        return NewSession(
            signed_in=SignedIn(operator=proof.operator, session=session),
            cookie=cookie,
            mark=browser_mark(proof.known_browser_key, operator_id),
        )

    async def change_password(
        self, signed_in: SignedIn, current: Secret, chosen: Secret, *, origin: Origin
    ) -> Secret:
        """Replace the operator's password and end their other sessions; returns the browser's new mark.

        Raises ``SignInRefused`` as :meth:`sign_in` does for the current password, and ``InvalidInput`` when
        the new one may not be chosen.
        """
        operator_id = signed_in.operator.operator_id
        sources, now = known_browser(operator_id), self._clock.now()
        async with self._database.system() as transaction:
            await count_try(transaction, sources, now=now)
            proof = await transaction.operators.proof(operator_id)
        stored = None if proof is None else proof.password_hash
        if not (await self._passwords.verify(stored, current)).matches:
            async with self._database.system() as transaction:
                await self._record(
                    transaction,
                    EventType.OPERATOR_SIGN_IN_FAILED,
                    operator_id,
                    origin,
                    {"session_id": str(signed_in.session.session_id)},
                )
            raise InvalidInput("The current password is not right.", field="current")
        await self._operators.set_password(
            operator_id, chosen, keep=signed_in.session.session_id, origin=origin
        )
        async with self._database.system() as transaction:
            await give_try_back(transaction, sources)
            proof = await transaction.operators.proof(operator_id)
        if proof is None:
            raise _wrong()
        return browser_mark(proof.known_browser_key, operator_id)

    async def _begin(self, transaction: Transaction, email: str, mark: Secret | None, origin: Origin) -> _Try:
        now = self._clock.now()
        proof = None
        with contextlib.suppress(InvalidInput):
            # Operators before sources, here and below, so that no two transactions wait for one another.
            proof = await transaction.operators.proof_by_email(normal_email(email))
        is_known = proof is not None and _has_mark(proof, mark)
        sources = places(origin.source_address)
        if proof is not None and is_known:
            sources = known_browser(proof.operator.operator_id)
        await count_try(transaction, sources, now=now)
        if proof is None or proof.password_hash is None or proof.operator.disabled_at is not None:
            return _Try(sources=sources, proof=proof, stored=None, failures=0, locked_until=None)
        operator = proof.operator
        failures = failures_before(operator.failed_sign_ins, proof.last_failed_at, now=now)
        if is_known:
            return _Try(
                sources=sources, proof=proof, stored=proof.password_hash, failures=0, locked_until=None
            )
        if operator.locked_until is not None and operator.locked_until > now:
            return _Try(sources=sources, proof=proof, stored=None, failures=0, locked_until=None)
        failures += 1
        locked_until = lock_after(failures, now=now)
        await transaction.operators.failing(
            operator.operator_id, failures=failures, at=now, locked_until=locked_until
        )
        return _Try(
            sources=sources,
            proof=proof,
            stored=proof.password_hash,
            failures=failures,
            locked_until=locked_until,
        )

    async def _compare(self, tried: _Try, password: Secret) -> Verdict:
        try:
            return await self._passwords.verify(tried.stored, password)
        except SignInRefused:
            # Nothing was compared, so nothing failed.
            async with self._database.system() as transaction:
                if tried.proof is not None and tried.failures:
                    # What other tries counted meanwhile stays.
                    await transaction.operators.not_failed(
                        tried.proof.operator.operator_id, locked_until=tried.locked_until
                    )
                await give_try_back(transaction, tried.sources)
            raise

    async def _proven(self, transaction: Transaction, tried: _Try, verdict: Verdict) -> OperatorProof | None:
        """The operator as they are now: between the two transactions they may have been disabled."""
        if not verdict.matches or tried.proof is None:
            return None
        proof = await transaction.operators.proof(tried.proof.operator.operator_id)
        if proof is None or proof.operator.disabled_at is not None or proof.password_hash != tried.stored:
            return None
        return proof

    async def _failed(self, transaction: Transaction, tried: _Try, origin: Origin) -> None:
        now = self._clock.now()
        if tried.stored is None and not self._may_note(now):
            return
        operator_id = None if tried.proof is None else tried.proof.operator.operator_id
        await self._record(transaction, EventType.OPERATOR_SIGN_IN_FAILED, operator_id, origin, {})
        if tried.locked_until is not None:
            await self._record(
                transaction,
                EventType.OPERATOR_LOCKED,
                operator_id,
                origin,
                {"failures": tried.failures, "until": tried.locked_until.isoformat()},
            )

    def _may_note(self, now: datetime) -> bool:
        """Anybody can send emails that nobody has, so no more than a number a minute is written down."""
        minute = int(now.timestamp() // 60)
        count = self._strays[1] + 1 if self._strays[0] == minute else 1
        self._strays = (minute, count)
        return count <= _MOST_STRAYS

    async def _rehash(self, operator_id: UUID, before: str, password: Secret) -> None:
        try:
            after = await self._passwords.hash(password)
        except SignInRefused:
            return  # the next sign-in will do it
        async with self._database.system() as transaction:
            await transaction.operators.rehash(operator_id, before=before, after=after)

    async def _record(
        self,
        transaction: Transaction,
        event: EventType,
        operator_id: UUID | None,
        origin: Origin,
        data: dict[str, object],
    ) -> None:
        await record(
            transaction,
            event,
            environment_id=WORKSPACE_ID,
            tenant_id=None,
            object_kind="operator",
            # What was typed is not kept: people put their password into the wrong field.
            object_id="unknown" if operator_id is None else operator_id,
            origin=origin,
            at=self._clock.now(),
            outcome=Outcome.FAILURE,
            data={"method": "password", **data},
        )


def _has_mark(proof: OperatorProof, mark: Secret | None) -> bool:
    if mark is None:
        return False
    expected = browser_mark(proof.known_browser_key, proof.operator.operator_id)
    return hmac.compare_digest(expected.reveal_bytes(), mark.reveal_bytes())


def _wrong() -> SignInRefused:
    """One text for every reason, so that nobody learns who is an operator."""
    return SignInRefused(
        SignInReason.WRONG,
        "Email and password do not fit together, or there were too many tries. "
        "Try again, or wait a few minutes.",
    )
