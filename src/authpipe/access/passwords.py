"""Hashing and comparing passwords: argon2id, off the event loop, a few at a time."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from authpipe.access.password_rules import as_hashed, check_password
from authpipe.access.sign_in_refused import SignInReason, SignInRefused
from authpipe.domain.secret import Secret

#: RFC 9106 section 4, second recommended option: three passes over 64 MiB in four lanes.  It is above the
#: least that OWASP's Password Storage Cheat Sheet asks for (19 MiB, two passes, one lane).
PASSES = 3
MEMORY_KIB = 65_536
LANES = 4
HASH_BYTES = 32
SALT_BYTES = 16

#: Hashes at a time in one process, which bounds their memory to 128 MiB.
_AT_A_TIME = 2
#: Who would wait longer than about two seconds is told to come back instead.
_MOST_WAITING = 32

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a password is the one of a hash, and whether that hash was made with other parameters."""

    matches: bool
    outdated: bool = False


class Passwords:
    """Makes and checks hashes.  Every check costs the same, whether there is a hash to check or not."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(
            time_cost=PASSES,
            memory_cost=MEMORY_KIB,
            parallelism=LANES,
            hash_len=HASH_BYTES,
            salt_len=SALT_BYTES,
            type=Type.ID,
        )
        self._threads = ThreadPoolExecutor(_AT_A_TIME, thread_name_prefix="passwords")
        self._under_way = 0
        self._nobodys: str | None = None

    async def hash(self, password: Secret) -> str:
        """A hash to store, with its own salt and its parameters in it.

        Raises ``SignInRefused`` (``sign_in_busy``) when too many wait already.
        """
        return await self._work(lambda: self._hash(password))

    async def hash_chosen(self, password: Secret, *, account_words: Iterable[str]) -> str:
        """The same of a password that somebody chose, after :func:`check_password`.

        Raises ``InvalidInput`` as that does, too.
        """

        def work() -> str:
            check_password(password, account_words=account_words)
            return self._hash(password)

        return await self._work(work)

    async def verify(self, stored: str | None, password: Secret) -> Verdict:
        """Compare; without a stored hash the same work is done and nothing matches.

        Raises ``SignInRefused`` (``sign_in_busy``) when too many wait already.
        """
        return await self._work(lambda: self._verify(stored, password))

    def close(self) -> None:
        """Finish what is under way.  Nothing can be hashed afterwards."""
        self._threads.shutdown()

    def _hash(self, password: Secret) -> str:
        typed = as_hashed(password)
        if typed is None:
            raise ValueError("a password that is hashed was checked before")
        return self._hasher.hash(typed)

    def _verify(self, stored: str | None, password: Secret) -> Verdict:
        if self._nobodys is None:
            self._nobodys = self._hasher.hash(secrets.token_bytes(SALT_BYTES))
        typed = as_hashed(password)
        if typed is None:
            stored, typed = None, b""
        try:
            self._hasher.verify(stored or self._nobodys, typed)
        except (VerifyMismatchError, VerificationError, InvalidHashError):
            return Verdict(matches=False)
        if stored is None:
            return Verdict(matches=False)
        return Verdict(matches=True, outdated=self._hasher.check_needs_rehash(stored))

    async def _work(self, work: Callable[[], T]) -> T:
        if self._under_way >= _AT_A_TIME + _MOST_WAITING:
            raise SignInRefused(
                SignInReason.BUSY, "Too many people sign in at this moment. Try again in a few seconds."
            )
        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._under_way -= 1
