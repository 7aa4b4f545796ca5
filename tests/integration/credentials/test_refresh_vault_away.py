"""A key-encryption key that cannot be reached is our own outage: no credential pays for it."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from authpipe.catalog.catalog import Catalog
from authpipe.credentials.serve import CredentialRequest
from authpipe.domain.clock import ManualClock
from authpipe.domain.errors import VaultUnavailable
from authpipe.domain.provider_config import ProviderConfig
from authpipe.vault.aes_key import AesKey
from authpipe.vault.failure import unavailable
from authpipe.vault.keks.local import LocalKek
from support.postgres import Dsns
from support.replica import open_replica
from support.scene import Scene


class KekThatCanBeAway:
    """A local KEK at the end of a wire."""

    def __init__(self, kek: LocalKek) -> None:
        self._kek = kek
        self.is_away = False
        self.uri, self.kek_id = kek.uri, kek.kek_id

    async def wrap(self, key: AesKey, associated_data: bytes) -> bytes:
        self._check()
        return await self._kek.wrap(key, associated_data)

    async def unwrap(self, wrapped: bytes, associated_data: bytes) -> AesKey:
        self._check()
        return await self._kek.unwrap(wrapped, associated_data)

    def close(self) -> None:
        return

    def _check(self) -> None:
        if self.is_away:
            raise unavailable("the wire is cut")


async def test_a_refresh_waits_for_the_key_and_nothing_else(
    scene: Scene,
    config: ProviderConfig,
    clock: ManualClock,
    dsns: Dsns,
    kek: LocalKek,
    catalog: Catalog,
    tmp_path: Path,
) -> None:
    """The provider is not asked, no failure is counted or told, and it is done soon after the key is back."""
    stored = await scene.connected(config, due_at=clock.now())
    wire = KekThatCanBeAway(kek)
    wire.is_away = True
    async with AsyncExitStack() as stack:
        replica = await open_replica(
            stack, dsn=dsns.owner, kek=wire, catalog=catalog, clock=clock, spool_dir=tmp_path / "spool"
        )
        for _ in range(3):
            await replica.worker.round()
            clock.advance(timedelta(seconds=7))
        waiting = await scene.now(stored.credential)
        assert (waiting.version, waiting.refresh_failures, waiting.lease) == (1, 0, None)
        assert waiting.refresh_due_at is not None
        assert waiting.refresh_due_at - clock.now() < timedelta(seconds=7)
        assert not scene.refreshes()
        assert "credential.refresh_failed" not in [event.type for event in await scene.events()]
        with pytest.raises(VaultUnavailable):
            await replica.reader.get(
                scene.environment_id,
                CredentialRequest(provider="discord", tenant_id="org_acme", user_id="user_123"),
            )
        wire.is_away = False
        await replica.worker.round()
        assert (await scene.now(stored.credential)).version == 2
        assert len(scene.refreshes()) == 1
