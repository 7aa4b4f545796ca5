"""Sign-ins under way: runs of the redirect, and how often a place has tried.  System-wide work, all of it."""

from __future__ import annotations

from datetime import datetime

from authpipe.domain.access import SignInAttempt
from authpipe.store.records import read
from authpipe.store.repository import Repository


class SignInAttempts(Repository):
    """Rows found by the SHA-256 of their state, taken by one ``DELETE … RETURNING``."""

    aggregate = "sign_in_attempts"

    async def add(self, attempt: SignInAttempt, *, state_hash: bytes, browser_hash: bytes) -> None:
        """Store an attempt the browser is about to leave for."""
        await self._run(
            "insert",
            attempt.attempt_id,
            state_hash,
            browser_hash,
            attempt.nonce_hash,
            attempt.verifier_ciphertext,
            attempt.created_at,
            attempt.expires_at,
        )

    async def take(self, state_hash: bytes, *, browser_hash: bytes, now: datetime) -> SignInAttempt | None:
        """Remove and return the attempt if browser and time match; otherwise touch nothing."""
        row = await self._one("take", state_hash, browser_hash, now)
        return None if row is None else read(SignInAttempt, row)

    async def purge(self, *, now: datetime) -> int:
        """Remove attempts past their time."""
        return await self._run("purge", now)


class SignInSources(Repository):
    """Counts of tries in a window of time, for each place they came from."""

    aggregate = "sign_in_sources"

    async def count(self, source: str, *, now: datetime, ends_at: datetime) -> int:
        """Count one try and return how many there are in the window; a new window ends at ``ends_at``."""
        tries: int = await self._value("count", source, now, ends_at)
        return tries

    async def give_back(self, source: str) -> None:
        """Take one try off again, as after a success."""
        await self._run("give_back", source)

    async def purge(self, *, now: datetime) -> int:
        """Remove windows that are over."""
        return await self._run("purge", now)
