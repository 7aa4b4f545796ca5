"""Many callers in several processes need one expired credential: the provider is asked once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from authpipe.store.embedded import EmbeddedPostgres
from support.application import CLIENT_IDS, Application
from support.running import Running


async def test_fifty_callers_in_two_server_processes_cause_one_refresh(tmp_path: Path) -> None:
    """And all of them get the same new token, the provider's newest."""
    data_dir = tmp_path / "data"
    async with EmbeddedPostgres(data_dir), Running(data_dir, servers=2, workers=0) as running:
        first, second = Application(running, server=0), Application(running, server=1)
        await first.configure("discord")
        await first.control("PATCH", f"/discord/apps/{CLIENT_IDS['discord']}", json={"token_lifetime_s": 2})
        async with first.browser() as person:
            await first.connect(person, "discord")
        path = "/v1/credentials?provider=discord&tenant_id=org_acme&user_id=user_123&credential_for=user"
        _, old = await first.call("GET", path)
        # Separate processes have the machine's clock: this waits for the token's end, not for a race.
        ends = datetime.fromisoformat(old["expires_at"])
        await asyncio.sleep((ends - datetime.now(UTC)).total_seconds() + 0.01)
        await first.control("DELETE", "/requests")
        # The refreshed token lives long enough for every answer to be compared.
        await first.control("PATCH", f"/discord/apps/{CLIENT_IDS['discord']}", json={"token_lifetime_s": 600})
        answers = await asyncio.gather(
            *[application.call("GET", path) for application in (first, second) for _ in range(25)]
        )
        assert {status for status, _ in answers} == {200}
        assert len({body["credential"] for _, body in answers}) == 1
        assert answers[0][1]["credential"] != old["credential"]
        refreshes = await first.control("GET", "/requests?provider=discord&grant_type=refresh_token")
        assert refreshes["count"] == 1
        await first.close()
        await second.close()
