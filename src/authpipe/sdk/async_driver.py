"""Performs steps on the running asyncio event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections.abc import AsyncGenerator, Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from authpipe.sdk.credential import Credential
from authpipe.sdk.exchange import LARGEST_ANSWER, Answer, NoAnswer, Outcome, Request, Sleep, Steps
from authpipe.sdk.settings import Settings
from authpipe.sdk.wire import (
    TOO_LARGE,
    TOO_LATE,
    answer_from,
    client_arguments,
    no_answer_from,
    stream_arguments,
)

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")


@dataclass(slots=True)
class LoopState:
    """What belongs to one event loop: its connections, its fetches under way, its background tasks.

    ``stream`` follows the change stream, ``saving`` waits to write the snapshot.
    """

    http: httpx2.AsyncClient
    closing: AsyncGenerator[None, None]
    flights: dict[Hashable, asyncio.Task[Credential]] = field(default_factory=dict)
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    stream: asyncio.Task[None] | None = None
    saving: asyncio.Task[None] | None = None


class AsyncDriver:
    """Sends requests over connections pooled per event loop: a client may serve several."""

    def __init__(self, settings: Settings, transport: httpx2.AsyncBaseTransport | None) -> None:
        self._settings = settings
        self._transport = transport
        self._closed = False
        self.after_fork()

    def after_fork(self) -> None:
        """In a forked child: leave the parent's sockets and tasks alone."""
        self._lock = threading.Lock()
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopState] = (
            weakref.WeakKeyDictionary()
        )

    @property
    def closed(self) -> bool:
        """Whether there is anything left to be done."""
        return self._closed

    def state(self) -> LoopState:
        """The running loop's own state.  Raises RuntimeError when closed."""
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._closed:
                raise RuntimeError("this AsyncAuthpipe client is closed; make a new one")
            state = self._loops.get(loop)
            if state is None:
                import httpx2

                for ended in [known for known in self._loops if known.is_closed()]:
                    del self._loops[ended]
                http = httpx2.AsyncClient(transport=self._transport, **client_arguments(self._settings))
                state = self._loops[loop] = LoopState(http, _closed_with_the_loop(http))
            return state

    async def pump(self, steps: Steps[T]) -> T:
        """Perform ``steps`` to their result.  Raises RuntimeError when closed."""
        outcome: Outcome = None
        try:
            while True:
                step = steps.send(outcome)
                if isinstance(step, Sleep):
                    await asyncio.sleep(step.seconds)
                    outcome = None
                else:
                    outcome = await self._send(step)
        except StopIteration as stop:
            result: T = stop.value
            return result
        finally:
            steps.close()

    async def close(self) -> None:
        """Cancel this loop's tasks, and the streams of others, and close its connections.

        Later requests raise.
        """
        with self._lock:
            self._closed = True
            state = self._loops.pop(asyncio.get_running_loop(), None)
            self.let_go()
            self._loops.clear()
        if state is None:
            return
        lasting = {task for task in (state.stream, state.saving) if task is not None}
        tasks = {*state.tasks, *state.flights.values(), *lasting}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await state.closing.aclose()

    def let_go(self) -> None:
        """Have the streams of all loops end soon.  Takes no lock, so that a finalizer may call it."""
        for loop, state in list(self._loops.items()):
            for task in (state.stream, state.saving):
                # A loop that has been closed has ended its tasks.
                with contextlib.suppress(RuntimeError):
                    if task is not None:
                        loop.call_soon_threadsafe(task.cancel)

    async def _send(self, request: Request) -> Answer | NoAnswer:
        http = self.state().http
        import httpx2

        try:
            async with (
                asyncio.timeout(request.timeout_s),
                http.stream(**stream_arguments(self._settings, request)) as response,
            ):
                body = bytearray()
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > LARGEST_ANSWER:
                        return TOO_LARGE
                return answer_from(response, bytes(body))
        except TimeoutError:
            return TOO_LATE
        except httpx2.HTTPError as error:
            return no_answer_from(error)


def _closed_with_the_loop(http: httpx2.AsyncClient) -> AsyncGenerator[None, None]:
    """Close ``http`` when its loop shuts down, for clients that nobody closes.

    ``asyncio.run`` ends every suspended asynchronous generator before it closes the loop; connections left
    open until then could not be closed any more.
    """

    async def suspended() -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await http.aclose()

    closing = suspended()
    # The first step registers it with the running loop; it reaches the yield without awaiting anything.
    with contextlib.suppress(StopIteration):
        closing.__anext__().send(None)
    return closing
