"""What a blocking client does while nobody waits: follow changes, fetch what is due, save the snapshot."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence

from authpipe.sdk.changes import Key
from authpipe.sdk.core import Core
from authpipe.sdk.snapshot import SAVE_EVERY_S, Snapshot
from authpipe.sdk.stream_thread import StreamThread
from authpipe.sdk.sync_driver import SyncDriver
from authpipe.sdk.threads import Background


class SyncUpkeep:
    """Two daemon threads, each started when there is something for it to do.

    Holds the client only weakly (``prefetch`` is a method of it), so that its threads do not keep it alive.
    """

    def __init__(
        self, core: Core, driver: SyncDriver, snapshot: Snapshot | None, prefetch: Callable[[Key], None]
    ) -> None:
        self.background = Background()
        self.stream = StreamThread(core, driver, self._prefetch) if core.settings.stream else None
        self._cache = core.cache
        self._snapshot = snapshot
        self._method = weakref.WeakMethod(prefetch)

    def tend(self) -> None:
        """See that the stream is followed once something is cached, and that the snapshot is saved soon."""
        if self.stream is not None and self._cache.entries:
            self.stream.ensure()
        if self._snapshot is not None and self._snapshot.behind:
            self.background.put_off(self._snapshot.save, SAVE_EVERY_S)

    def last_save(self) -> None:
        """Save the snapshot, and not again."""
        if self._snapshot is not None:
            self._snapshot.close()

    def close(self) -> None:
        """End both threads."""
        if self.stream is not None:
            self.stream.close()
        self.background.close()

    def let_go(self) -> None:
        """End both threads soon.  For the finalizer of a client that nobody closed."""
        if self.stream is not None:
            self.stream.let_go()
        self.background.let_go()

    def after_fork(self) -> None:
        """In a forked child: no thread runs."""
        if self.stream is not None:
            self.stream.after_fork()
        self.background.after_fork()
        if self._snapshot is not None:
            self._snapshot.after_fork()

    def _prefetch(self, keys: Sequence[Key]) -> None:
        for key in keys:
            self.background.submit(lambda key=key: self._fetch(key))  # type: ignore[misc]

    def _fetch(self, key: Key) -> None:
        prefetch = self._method()
        if prefetch is not None:
            prefetch(key)
