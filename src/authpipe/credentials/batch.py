"""Many credentials for one caller, each as if it were asked for alone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID

from authpipe.credentials.refresh_now import WAIT_S
from authpipe.credentials.serve import CredentialReader, CredentialRequest
from authpipe.domain.credential import UsableCredential
from authpipe.domain.errors import ProviderUnavailable

#: Reads of one batch at a time: another caller's single read must find a free connection.
_CONCURRENCY = 8


async def read_batch(
    reader: CredentialReader, environment_id: UUID, requests: Sequence[CredentialRequest]
) -> list[UsableCredential | Exception]:
    """What each read gave or raised, in the order of the requests.

    The whole takes no longer than one read may (25 s): what is not there by then is ``ProviderUnavailable``,
    while the refreshes that were begun go on.
    """
    slots = asyncio.Semaphore(_CONCURRENCY)
    deadline = asyncio.get_running_loop().time() + WAIT_S

    async def read(request: CredentialRequest) -> UsableCredential | Exception:
        limit = asyncio.timeout_at(deadline)
        try:
            async with limit, slots:
                return await reader.get(environment_id, request)
        except Exception as error:  # noqa: BLE001  # one that fails says nothing of the others
            if limit.expired():
                return ProviderUnavailable("the batch took too long; try again", retry_after_s=5)
            return error

    return await asyncio.gather(*(read(request) for request in requests))
