"""What an asyncio client does while nobody waits: follow changes, fetch what is due, save the snapshot."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import weakref
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from authpipe.sdk.async_driver import AsyncDriver, LoopState
from authpipe.sdk.changes import Key
from authpipe.sdk.core import Core
from authpipe.sdk.snapshot import SAVE_EVERY_S, Snapshot
from authpipe.sdk.stream_task import follow

logger = logging.getLogger("authpipe.sdk")


class AsyncUpkeep:
    """Tasks of the running event loop, each started when there is something for it to do.

    Holds the client only weakly (``prefetch`` is a method of it), so that its tasks do not keep it alive.
    """

    def __init__(
        self,
        core: Core,
        driver: AsyncDriver,
        snapshot: Snapshot | None,
        prefetch: Callable[[Key], Coroutine[Any, Any, None]],
    ) -> None:
        self._core = core
        self._driver = driver
        self._snapshot = snapshot
        self._method = weakref.WeakMethod(prefetch)

    def tend(self) -> None:
        """See that the stream is followed once something is cached, and that the snapshot is saved soon."""
        if self._driver.closed:
            return
        state = self._driver.state()
        if self._core.settings.stream and state.stream is None and self._core.cache.entries:
            state.stream = _started(follow(self._core, state.http, self._prefetch))
            state.stream.add_done_callback(lambda ended: _stream_ended(state, ended))
        if self._snapshot is not None and self._snapshot.behind and state.saving is None:
            state.saving = _started(_save(self._snapshot))
            state.saving.add_done_callback(lambda ended: _saving_ended(state, ended))

    def in_background(self, work: Coroutine[Any, Any, Any]) -> None:
        """Have ``work`` done in a task of the running loop."""
        state = self._driver.state()
        task = asyncio.create_task(work)
        # The event loop keeps only weak references to tasks.
        state.tasks.add(task)
        task.add_done_callback(lambda ended: _task_ended(state, ended))

    async def last_save(self) -> None:
        """Save the snapshot, and not again."""
        if self._snapshot is not None:
            await asyncio.to_thread(self._snapshot.close)

    def after_fork(self) -> None:
        """In a forked child: the tasks were the parent's."""
        if self._snapshot is not None:
            self._snapshot.after_fork()

    def _prefetch(self, keys: Sequence[Key]) -> None:
        prefetch = self._method()
        if prefetch is not None:
            for key in keys:
                self.in_background(prefetch(key))


async def _save(snapshot: Snapshot) -> None:
    try:
        await asyncio.sleep(SAVE_EVERY_S)
    except asyncio.CancelledError:
        # The loop ends, as that of a short program does.
        snapshot.save()
        raise
    await asyncio.to_thread(snapshot.save)


def _started(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    # Outlives the call it began in, and must not carry that call's context variables along.
    return asyncio.get_running_loop().create_task(work, context=contextvars.Context())


def _stream_ended(state: LoopState, task: asyncio.Task[None]) -> None:
    if state.stream is task:
        state.stream = None
    _told(task, "following the change stream")


def _saving_ended(state: LoopState, task: asyncio.Task[None]) -> None:
    if state.saving is task:
        state.saving = None
    _told(task, "saving the snapshot")


def _task_ended(state: LoopState, task: asyncio.Task[Any]) -> None:
    state.tasks.discard(task)
    _told(task, "a background refetch")


def _told(task: asyncio.Task[Any], what: str) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("%s failed unexpectedly", what, exc_info=error)
