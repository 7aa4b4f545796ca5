"""Schemathesis, with every check it has, against what the OpenAPI document promises.

No answer of 5xx, none with a status, a content type, a body or headers that the document does not tell, no
operation that is served without a good key, nothing malformed that is taken, nothing well-formed that is
refused for its form.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest

from authpipe.server.settings import load_settings
from authpipe.vault.keks.local import LocalKek
from support.fuzzing import Outcome, fuzz
from support.fuzzing_arena import Arena, arena
from support.operations import operations
from support.running import free_port

if TYPE_CHECKING:
    from conftest import Dsns

SECONDS = int(os.environ.get("AUTHPIPE_TEST_FUZZ_SECONDS", "0"))
#: Of a shared machine; the slowest takes 0.1 s where nothing else runs.
SLOWEST_S = 10


@pytest.fixture
async def served(tmp_path: Path, dsns: Dsns, kek: LocalKek) -> AsyncIterator[Arena]:
    settings = load_settings(
        data_dir=tmp_path / "state",
        database_url=dsns.owner,
        port=free_port(),
        keks=(f"local:{tmp_path / 'kek'}",),
        allow_loopback_egress=True,
    )
    async with arena(settings) as found:
        yield found


async def _stands(served: Arena, outcome: Outcome) -> None:
    """Nothing was found, and everything was tried: each operation was served at least once."""
    assert outcome.code == 0, outcome.printed
    assert served.asked_outside == []
    async with httpx2.AsyncClient(base_url=served.url) as client:
        document = (await client.get("/openapi.json")).json()
        key = {"Authorization": f"Bearer {served.key}"}
        assert (await client.get("/v1/api-keys", headers=key)).status_code == 200
    every = {operation["operationId"] for _, _, operation in operations(document)}
    assert every - outcome.tally.served() == set(), str(outcome.tally)


@pytest.mark.skipif(SECONDS > 0, reason="make fuzz does more of it")
@pytest.mark.timeout(300)
async def test_no_request_gets_an_undocumented_answer(served: Arena, tmp_path: Path) -> None:
    """The same few thousand requests every time."""
    outcome = await fuzz(
        served,
        tmp_path / "fuzz",
        "--seed=20260517",
        "--generation-deterministic",
        "--max-examples=10",
        f"--max-response-time={SLOWEST_S}",
    )
    await _stands(served, outcome)
    assert outcome.tally.requests > 2000


@pytest.mark.skipif(SECONDS == 0, reason="make fuzz runs it")
@pytest.mark.timeout(SECONDS + 300)
async def test_nor_does_any_in_a_long_time(served: Arena, tmp_path: Path) -> None:
    """Others every time; what is printed names the seed that repeats them."""
    outcome = await fuzz(
        served,
        tmp_path / "fuzz",
        f"--max-time={SECONDS}",
        "--max-examples=100",
        f"--max-response-time={SLOWEST_S}",
    )
    print(outcome.printed, outcome.tally, sep="\n")
    await _stands(served, outcome)
