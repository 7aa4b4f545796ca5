"""The asyncio client's reader of the change stream: one task per event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from authpipe.sdk.changes import Key
from authpipe.sdk.core import Core
from authpipe.sdk.exchange import Answer
from authpipe.sdk.stream import LONGEST_HEARTBEAT_S, LONGEST_REFUSAL, MISSED, Broken, Follower
from authpipe.sdk.wire import CONNECT_TIMEOUT_S, answer_from, listening_arguments

if TYPE_CHECKING:
    import httpx2

logger = logging.getLogger("authpipe.sdk")


async def follow(core: Core, http: httpx2.AsyncClient, prefetch: Callable[[Sequence[Key]], None]) -> None:
    """Follow the stream until cancelled, or until the API key is refused."""
    follower = Follower(core, prefetch)
    pause: float | None = 0.0
    while pause is not None:
        await asyncio.sleep(pause)
        try:
            pause = await _follow(core, http, follower)
        except Exception:
            logger.exception("following the change stream failed unexpectedly")
            pause = follower.lost("a bug")
        except BaseException:
            follower.lost("the client closes")
            raise


async def _follow(core: Core, http: httpx2.AsyncClient, follower: Follower) -> float | None:
    import httpx2

    why: object = "the server closed it"
    # The library's own limit is fixed before the heartbeat is known: here it only has to be out of the way.
    arguments = listening_arguments(core.settings, follower.headers(), 2 * MISSED * LONGEST_HEARTBEAT_S)
    try:
        async with (
            asyncio.timeout(CONNECT_TIMEOUT_S + follower.silence_s) as patience,
            http.stream(**arguments) as response,
        ):
            if not follower.opens(response.status_code, response.headers.get("content-type", "")):
                return follower.refused(await _refusal(response))
            loop = asyncio.get_running_loop()
            async for chunk in response.aiter_bytes():
                follower.feed(chunk)
                patience.reschedule(loop.time() + follower.silence_s)
    except TimeoutError:
        why = "nothing was received for too long"
    except (httpx2.HTTPError, httpx2.StreamError, Broken) as error:
        why = str(error) or type(error).__name__
    return follower.lost(why)


async def _refusal(response: httpx2.Response) -> Answer:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > LONGEST_REFUSAL:
            break
    return answer_from(response, bytes(body))
