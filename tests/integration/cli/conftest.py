"""The command line on data directories of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from authpipe.store.embedded import EmbeddedPostgres
from support.cli import Cli


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """After ``authpipe init``, with PostgreSQL held running so that no command has to start it."""
    data_dir = tmp_path_factory.mktemp("cli") / "data"
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    postgres = EmbeddedPostgres(data_dir)
    asyncio.run_coroutine_threadsafe(postgres.start(), loop).result(60)
    try:
        cli = Cli(data_dir)
        cli.ok("init")
        yield cli
    finally:
        asyncio.run_coroutine_threadsafe(postgres.stop(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def fresh(tmp_path: Path) -> Cli:
    """On a directory in which nothing is."""
    return Cli(tmp_path / "data")
