"""Asking the server for one credential, and reading how long the answer may be used."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from authpipe.sdk.changes import Key
from authpipe.sdk.clock import Clock
from authpipe.sdk.credential import Credential, SecretHeaders
from authpipe.sdk.document import Document
from authpipe.sdk.entry import Fetched
from authpipe.sdk.exchange import Answer, Persistence, Request, Steps, exchange
from authpipe.sdk.problem import read_answer

KEY_NAMES = ("provider", "tenant_id", "user_id", "credential_for", "installation_id", "label", "kind")

# The Date header is cut to whole seconds, so the server may be up to this much further than it says.
DATE_RESOLUTION_S = 1.0


@dataclass(frozen=True, slots=True)
class Read:
    """A credential object as the server wrote it."""

    credential: Credential
    refetch_at: datetime | None


def fetch(key: Key, clock: Clock, persistence: Persistence) -> Steps[Fetched]:
    """Ask for the credential of ``key``.  Raises what the server answered."""
    request = Request(
        method="GET",
        path="/v1/credentials",
        query=tuple((name, value) for name, value in zip(KEY_NAMES, key, strict=True) if value is not None),
    )
    answer = yield from exchange(request, clock, persistence)
    return fetched_from(answer, clock)


def fetched_from(answer: Answer, clock: Clock) -> Fetched:
    """The credential that ``answer`` is.  Raises what the server answered instead."""
    return timed(read_answer(answer, read_credential), answer, clock)


def timed(read: Read, answer: Answer, clock: Clock) -> Fetched:
    """``read`` with its remaining life.

    That is ``expires_at`` minus the answer's own ``Date``, counted from before the request was sent: the
    local wall clock may be wrong by hours without an expired credential being served.  Only an answer without
    ``Date`` is measured against the local clock.
    """
    told = answer.server_time()
    server_now = clock.wall() if told is None else told + DATE_RESOLUTION_S
    return Fetched(
        credential=read.credential,
        asked_at=answer.asked_at,
        life_s=_seconds_until(read.credential.expires_at, server_now),
        refetch_in_s=_seconds_until(read.refetch_at, server_now),
    )


def _seconds_until(moment: datetime | None, now: float) -> float | None:
    return None if moment is None else moment.timestamp() - now


def read_credential(document: Document) -> Read:
    """From the server's JSON.  Raises Malformed."""
    return Read(
        credential=Credential(
            credential=document.text("credential"),
            headers=SecretHeaders(document.text_mapping("headers")),
            kind=document.text("kind"),
            provider=document.text("provider"),
            tenant_id=document.text("tenant_id"),
            user_id=document.optional_text("user_id"),
            connection_id=document.optional_text("connection_id"),
            installation_id=document.optional_text("installation_id"),
            credential_id=document.text("credential_id"),
            label=document.optional_text("label"),
            expires_at=document.optional_time("expires_at"),
            scopes=document.texts("scopes"),
            metadata=document.frozen_mapping("metadata"),
            version=document.whole("version"),
        ),
        refetch_at=document.optional_time("refetch_at"),
    )
