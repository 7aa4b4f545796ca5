"""An app-wide failure is one incident on the provider config, and condemns none of its connections."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from authpipe.domain.event import ActorKind, Origin, Outcome
from authpipe.domain.provider_config import ProviderConfig
from authpipe.events.record import record
from authpipe.events.types import EventType
from authpipe.store.database import Database
from authpipe.store.transaction import Transaction

_origin = Origin(actor_kind=ActorKind.WORKER)


async def open_incident(
    database: Database, environment_id: UUID, provider_config_id: UUID, *, problem: str, at: datetime
) -> None:
    """The provider refuses the app itself: mark the config, with one event.  ``problem`` is a word for it."""
    async with database.environment(environment_id) as transaction:
        config = await transaction.provider_configs.get(environment_id, provider_config_id)
        if config is None or not await transaction.provider_configs.set_problem(
            environment_id, provider_config_id, problem=problem, at=at
        ):
            return
        await _tell(transaction, config, EventType.PROVIDER_CONFIG_PROBLEM, problem, at)


async def close_incident(database: Database, config: ProviderConfig, *, at: datetime) -> None:
    """The provider accepts the app again."""
    async with database.environment(config.environment_id) as transaction:
        if await transaction.provider_configs.set_problem(
            config.environment_id, config.provider_config_id, problem=None, at=at
        ):
            await _tell(transaction, config, EventType.PROVIDER_CONFIG_RECOVERED, None, at)


async def _tell(
    transaction: Transaction,
    config: ProviderConfig,
    type: EventType,  # noqa: A002  # the field's own name
    problem: str | None,
    at: datetime,
) -> None:
    await record(
        transaction,
        type,
        environment_id=config.environment_id,
        tenant_id=None,
        object_kind="provider_config",
        object_id=config.provider_config_id,
        origin=_origin,
        at=at,
        outcome=Outcome.FAILURE if problem else Outcome.SUCCESS,
        data={"provider": config.provider, "problem": problem or config.problem},
    )
