"""What every repository is: an executor and the named statements of one aggregate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from authpipe.store.queries import load

if TYPE_CHECKING:
    #: A pooled or a plain connection.
    Executor: TypeAlias = asyncpg.Connection[Any] | PoolConnectionProxy[Any]


class Repository:
    """Runs the statements of ``sql/<aggregate>.sql``."""

    aggregate: ClassVar[str]

    def __init__(self, connection: Executor) -> None:
        self._connection = connection

    async def _run(self, name: str, *arguments: Any) -> int:
        """Execute and return how many rows were touched."""
        status = await self._connection.execute(load(self.aggregate)[name], *arguments)
        return int(status.rsplit(" ", 1)[-1]) if status[-1].isdigit() else 0

    async def _one(self, name: str, *arguments: Any) -> asyncpg.Record | None:
        return await self._connection.fetchrow(load(self.aggregate)[name], *arguments)

    async def _all(self, name: str, *arguments: Any) -> list[asyncpg.Record]:
        return await self._connection.fetch(load(self.aggregate)[name], *arguments)

    async def _value(self, name: str, *arguments: Any) -> Any:
        return await self._connection.fetchval(load(self.aggregate)[name], *arguments)

    async def _by_index(self) -> None:
        """Let the statements that follow in this transaction walk indexes: for the low end of a queue."""
        await self._connection.execute(load("planning")["by_index"])
