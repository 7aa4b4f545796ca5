"""``Idempotency-Key``: a POST that is sent again does its work once and gets the first answer.

The answer is kept encrypted, as some hold a secret that is shown once (an API key, a connect link).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from authpipe.api.caller import Caller
from authpipe.api.problem import ProblemAnswer, plain_answer
from authpipe.domain.clock import Clock
from authpipe.domain.errors import Conflict
from authpipe.domain.identifiers import new_id
from authpipe.domain.secret import Secret
from authpipe.store.database import Database
from authpipe.store.idempotency import RememberedAnswer
from authpipe.telemetry.logs import get_logger
from authpipe.vault.context import EncryptionContext
from authpipe.vault.vault import Vault

_log = get_logger(__name__)

HEADER = "Idempotency-Key"
#: A request that did not answer in this time died with its process; every wait inside one is shorter.
ABANDONED_AFTER = timedelta(seconds=60)

_KEY = re.compile(rb"[!-~]{1,255}")
#: The headers of an answer that belong to what it says.
_KEPT = frozenset({b"content-type", b"location", b"retry-after"})
_UNAUTHENTICATED, _FORBIDDEN, _RATE_LIMITED = 401, 403, 429
#: They hand out credentials and are repeated freely: an answer of a while ago would be a stale one.
_READS = re.compile(r"/v1/credentials/(?:batch|[^/]+/rejected)")


def is_read(path: str) -> bool:
    """Whether a POST to this address changes nothing that a repetition would change again."""
    return _READS.fullmatch(path) is not None


class Idempotency:
    """Remembers answers per API key for a day; not 429 and 5xx, so that a retry can succeed, and not that the
    key was refused, which did no work."""

    def __init__(self, app: ASGIApp, *, database: Database, vault: Vault, clock: Clock) -> None:
        self._app = app
        self._database = database
        self._vault = vault
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = _key(scope)
        if key is None:
            await self._app(scope, receive, send)
            return
        request_id: str = scope["state"]["request_id"]
        if _KEY.fullmatch(key) is None:
            await _send(
                send,
                plain_answer(
                    "invalid_input",
                    f"{HEADER} must be one value of 1 to 255 printable ASCII characters without spaces",
                    request_id,
                    fields={"field": HEADER},
                ),
            )
            return
        body = await _read(receive)
        if body is None:
            return
        caller: Caller = scope["state"]["caller"]
        run = _Run(caller.environment_id, caller.api_key.api_key_id, key.decode(), _digest(scope, body))
        earlier = await self._begin(run)
        if earlier is None:
            await self._perform(run, scope, body, receive, send)
        else:
            await self._repeat(run, earlier, request_id, send)

    async def _begin(self, run: _Run) -> RememberedAnswer | None:
        """None when the key is ours now, else what is known of the request that has it."""
        now = self._clock.now()
        async with self._database.environment(run.environment_id) as transaction:
            keys = transaction.idempotency_keys
            while True:
                if await keys.begin(
                    *run.place,
                    request_hash=run.request_hash,
                    row_id=run.row_id,
                    at=now,
                    abandoned_before=now - ABANDONED_AFTER,
                ):
                    return None
                earlier = await keys.get(*run.place)
                # It may have been given back between the two statements.
                if earlier is not None:
                    return earlier

    async def _perform(self, run: _Run, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        answer = _Answer()
        try:
            await self._app(scope, _replayed(body, receive), answer)
            if answer.is_to_be_forgotten():
                await self._forget(run)
            else:
                await self._remember(run, answer)
        except BaseException:
            await self._forget(run)
            raise
        for message in answer.messages:
            await send(message)

    async def _remember(self, run: _Run, answer: _Answer) -> None:
        try:
            sealed = await self._vault.encrypt(answer.sealed(), _context(run.environment_id, run.row_id))
            async with self._database.environment(run.environment_id) as transaction:
                # Whoever took this for dead may have begun again; its answer is the one that counts.
                await transaction.idempotency_keys.finish(
                    *run.place,
                    row_id=run.row_id,
                    status=answer.status or 0,
                    ciphertext=sealed,
                    tenant_id=answer.tenant_id(),
                )
        except Conflict:
            # The tenant is being erased: nothing of it is kept.
            await self._forget(run)
        except Exception as error:  # noqa: BLE001  # the work is done: the caller must hear of it all the same
            _log.error("an answer was not remembered", exc_info=error)

    async def _forget(self, run: _Run) -> None:
        async with self._database.environment(run.environment_id) as transaction:
            await transaction.idempotency_keys.forget(*run.place, row_id=run.row_id)

    async def _repeat(self, run: _Run, earlier: RememberedAnswer, request_id: str, send: Send) -> None:
        if earlier.request_hash != run.request_hash:
            refusal = plain_answer(
                "idempotency_key_reused",
                f"this {HEADER} came with another method, address or body before: use a new one",
                request_id,
            )
            await _send(send, refusal)
        elif earlier.response_status is None or earlier.response_ciphertext is None:
            refusal = plain_answer(
                "idempotency_in_progress",
                f"the first request with this {HEADER} has no answer yet: try again",
                request_id,
                fields={"retry_after_s": 1},
            )
            await _send(send, refusal)
        else:
            sealed = await self._vault.decrypt(
                earlier.response_ciphertext, _context(run.environment_id, earlier.row_id)
            )
            headers, body = _unsealed(sealed)
            headers.append((b"idempotent-replayed", b"true"))
            await _send(send, ProblemAnswer(earlier.response_status, headers, body))


@dataclass(frozen=True, slots=True)
class _Run:
    environment_id: UUID
    api_key_id: UUID
    key: str
    request_hash: bytes
    row_id: UUID = field(default_factory=new_id)

    @property
    def place(self) -> tuple[UUID, UUID, str]:
        return self.environment_id, self.api_key_id, self.key


class _Answer:
    """Holds an answer back until it is remembered: a caller who has it may already ask again."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.status: int | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        self.messages.append(message)

    def is_to_be_forgotten(self) -> bool:
        """Whether no work was done, so that a repetition may try."""
        if self.status is None or self.status >= 500 or self.status in (_UNAUTHENTICATED, _RATE_LIMITED):
            return True
        # Other answers of 403 end something, as that to a wrong completion code does.
        return self.status == _FORBIDDEN and json.loads(self.body() or b"{}").get("code") == "forbidden"

    def sealed(self) -> Secret:
        headers = [
            [name.decode("latin-1"), value.decode("latin-1")]
            for name, value in self.messages[0]["headers"]
            if name.lower() in _KEPT
        ]
        return Secret(json.dumps({"headers": headers, "body": base64.b64encode(self.body()).decode()}))

    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages[1:])

    def tenant_id(self) -> str | None:
        """The tenant whose object it shows; an API key is the environment's, whomever it is restricted to."""
        if self.status is None or not 200 <= self.status < 300:
            return None
        told = json.loads(self.body() or b"null")
        if not isinstance(told, dict) or told.get("object") == "api_key":
            return None
        # Its own, or that of the object inside, as in an answer that holds a connection.
        objects = [told, *(value for value in told.values() if isinstance(value, dict))]
        return next((found for each in objects if isinstance(found := each.get("tenant_id"), str)), None)


def _unsealed(sealed: Secret) -> tuple[list[tuple[bytes, bytes]], bytes]:
    told = json.loads(sealed.reveal())
    body = base64.b64decode(told["body"])
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in told["headers"]]
    return [*headers, (b"content-length", str(len(body)).encode())], body


def _context(environment_id: UUID, row_id: UUID) -> EncryptionContext:
    return EncryptionContext(
        environment_id=environment_id, tenant_id=None, row_id=row_id, field="idempotent_response"
    )


def _key(scope: Scope) -> bytes | None:
    if scope["type"] != "http" or scope["method"] != "POST" or "caller" not in scope["state"]:
        return None
    if is_read(scope["path"]):
        return None
    sent = [value for name, value in scope["headers"] if name == b"idempotency-key"]
    if not sent:
        return None
    # Of two nobody can say which is meant: no key at all is refused as they are.
    return sent[0] if len(sent) == 1 else b""


def _digest(scope: Scope, body: bytes) -> bytes:
    told = hashlib.sha256()
    for part in (scope["method"].encode(), scope["path"].encode(), scope["query_string"], body):
        told.update(len(part).to_bytes(8, "big") + part)
    return told.digest()


async def _read(receive: Receive) -> bytes | None:
    """The whole body, or None when the caller hung up before it was there."""
    body: bytes = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += bytes(message.get("body", b""))
        if not message.get("more_body", False):
            return body


def _replayed(body: bytes, receive: Receive) -> Receive:
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _send(send: Send, made: ProblemAnswer) -> None:
    await send({"type": "http.response.start", "status": made.status, "headers": made.headers})
    await send({"type": "http.response.body", "body": made.body})
