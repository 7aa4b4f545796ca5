"""Making, reading and changing environments."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from authpipe.access.return_urls import (
    canonical_origin,
    origin_allowed,
    origin_of,
    origin_problem,
    return_url_allowed,
    return_url_problem,
)
from authpipe.domain.clock import Clock
from authpipe.domain.connect_session import ReturnMode
from authpipe.domain.environment import Environment, EnvironmentKind
from authpipe.domain.errors import Conflict, InvalidInput, NotFound
from authpipe.domain.event import Origin
from authpipe.domain.identifiers import new_id
from authpipe.events.chain_beginning import ChainBeginnings
from authpipe.events.record import record
from authpipe.events.types import EventType
from authpipe.store.database import Database

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_LONGEST_LIST = 100


@dataclass(frozen=True, slots=True)
class Environments:
    """The partitions of the workspace."""

    database: Database
    clock: Clock
    chains: ChainBeginnings

    async def create(
        self,
        name: str,
        *,
        kind: EnvironmentKind,
        return_urls: Sequence[str] = (),
        origins: Sequence[str] = (),
        origin: Origin,
    ) -> Environment:
        """A new environment, and the sealed beginning of its audit chain.

        Raises ``InvalidInput`` naming the field, ``Conflict`` (``environment_exists``) when the name is
        taken, and ``VaultError`` where the vault has no KEK to seal with.
        """
        if _NAME.fullmatch(name) is None:
            raise InvalidInput(
                "name must be 1 to 63 lower-case letters, digits and inner hyphens", field="name"
            )
        now = self.clock.now()
        environment = Environment(
            environment_id=new_id(),
            name=name,
            kind=kind,
            return_urls=_checked(return_urls, kind, return_url_problem, field="return_urls"),
            origins=_canonical_origins(origins, kind),
            created_at=now,
        )
        # A name that is taken must not leave a keyset behind.
        async with self.database.system() as transaction:
            if await transaction.environments.by_name(name) is not None:
                raise _taken(name)
        chain = await self.chains.prepare(environment.environment_id, complete_at=now)
        async with self.database.system() as transaction:
            if not await transaction.environments.add(environment):
                raise _taken(name)
            await chain.write(transaction)
            await record(
                transaction,
                EventType.ENVIRONMENT_CREATED,
                environment_id=environment.environment_id,
                tenant_id=None,
                object_kind="environment",
                object_id=environment.environment_id,
                origin=origin,
                at=now,
                data={
                    "name": name,
                    "kind": kind.value,
                    "return_urls": list(environment.return_urls),
                    "origins": list(environment.origins),
                },
            )
        return environment

    async def list(self) -> list[Environment]:
        """Every environment, oldest first.  For operators: an API key sees its own only."""
        async with self.database.system() as transaction:
            return await transaction.environments.all()

    async def get(self, environment_id: UUID) -> Environment:
        """The environment as it is now.  Raises ``NotFound``."""
        async with self.database.environment(environment_id) as transaction:
            environment = await transaction.environments.get(environment_id)
        if environment is None:
            raise NotFound("no such environment")
        return environment

    async def by_name(self, name: str) -> Environment:
        """The environment of that name.  For operators.  Raises ``NotFound`` listing the names there are."""
        async with self.database.system() as transaction:
            environment = await transaction.environments.by_name(name)
            if environment is None:
                known = ", ".join(each.name for each in await transaction.environments.all())
                raise NotFound(f"there is no environment named {name!r}; there are: {known or 'none yet'}")
        return environment

    async def update(
        self,
        environment_id: UUID,
        *,
        return_urls: Sequence[str] | None = None,
        origins: Sequence[str] | None = None,
        origin: Origin,
    ) -> Environment:
        """Replace an allow-list, or both; None leaves one as it is.

        Connect sessions under way keep the return URL they were made with.  Raises ``InvalidInput`` naming
        the field, and ``NotFound``.
        """
        now = self.clock.now()
        async with self.database.environment(environment_id) as transaction:
            before = await transaction.environments.get(environment_id)
            if before is None:
                raise NotFound("no such environment")
            updated = await transaction.environments.update(
                environment_id,
                return_urls=before.return_urls
                if return_urls is None
                else _checked(return_urls, before.kind, return_url_problem, field="return_urls"),
                origins=before.origins if origins is None else _canonical_origins(origins, before.kind),
            )
            if updated is None:
                raise NotFound("no such environment")
            if updated != before:
                await record(
                    transaction,
                    EventType.ENVIRONMENT_UPDATED,
                    environment_id=environment_id,
                    tenant_id=None,
                    object_kind="environment",
                    object_id=environment_id,
                    origin=origin,
                    at=now,
                    data={"return_urls": list(updated.return_urls), "origins": list(updated.origins)},
                )
        return updated

    async def check_return(self, environment_id: UUID, return_url: str, mode: ReturnMode) -> None:
        """Pass when a connect session may send its browser back to ``return_url``, by the lists as they are
        now.  Raises ``InvalidInput`` naming the remedy, and ``NotFound``."""
        environment = await self.get(environment_id)
        if not return_url_allowed(environment, return_url):
            raise InvalidInput(
                "return_url is not among the return URLs of this environment: add it, or a prefix ending in "
                "'/*', to the environment's return_urls",
                field="return_url",
            )
        if mode is ReturnMode.POPUP and not origin_allowed(environment, return_url):
            raise InvalidInput(
                f"the origin of return_url, {origin_of(return_url)}, is not among the origins of this "
                "environment: add it to the environment's origins",
                field="return_url",
            )


def _taken(name: str) -> Conflict:
    return Conflict(f"there is an environment named {name} already", code="environment_exists")


def _checked(
    values: Sequence[str],
    kind: EnvironmentKind,
    problem_of: Callable[[str, EnvironmentKind], str | None],
    *,
    field: str,
) -> tuple[str, ...]:
    if len(values) > _LONGEST_LIST:
        raise InvalidInput(f"{field} may hold at most {_LONGEST_LIST} entries", field=field)
    for index, value in enumerate(values):
        problem = problem_of(value, kind)
        if problem is not None:
            raise InvalidInput(f"{field}[{index}] {problem}", field=f"{field}[{index}]")
    return tuple(dict.fromkeys(values))


def _canonical_origins(origins: Sequence[str], kind: EnvironmentKind) -> tuple[str, ...]:
    checked = _checked(origins, kind, origin_problem, field="origins")
    return tuple(dict.fromkeys(canonical_origin(origin) for origin in checked))
