"""The spool: what it acknowledged is on the disk, whole, and found by whoever comes after a crash."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authpipe.credentials import spool as spool_module
from authpipe.credentials.spool import Spool, SpoolRecord
from authpipe.domain.identifiers import new_id
from authpipe.store.credentials import RefreshedSecrets

NOW = datetime(2026, 5, 17, 12, 30, 15, 123456, tzinfo=UTC)

# Appends the given number of records and says so; then stays, or dies in the middle of a line.
WRITER = """
import asyncio, os, signal, sys
from pathlib import Path
from authpipe.credentials.spool import Spool, _encode
from tests.unit.credentials.test_spool import record

async def main(directory, count, end):
    spool = Spool(Path(directory))
    await asyncio.gather(*(spool.append(record(version)) for version in range(int(count))))
    print("written", flush=True)
    if end == "torn":
        os.write(spool._current.file.fileno(), _encode(record(99))[:-20])
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.read()

asyncio.run(main(*sys.argv[1:]))
"""
ROOT = Path(__file__).parents[3]


def record(version: int = 1, *, size: int = 100) -> SpoolRecord:
    return SpoolRecord(
        environment_id=new_id(),
        tenant_id="org_acme",
        credential_id=new_id(),
        version=version,
        secrets=RefreshedSecrets(
            secret_ciphertext=os.urandom(size),
            refresh_ciphertext=os.urandom(size),
            scopes=("identify", "e mail"),
            expires_at=NOW + timedelta(hours=1),
            refresh_due_at=NOW + timedelta(minutes=50),
            refresh_expires_at=None,
            issued_at=NOW,
            previous_until=NOW + timedelta(hours=1),
        ),
    )


def begin_writer(directory: Path, count: int, end: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(directory), str(count), end],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def found_by_another(directory: Path) -> list[SpoolRecord]:
    """What a process that comes later reads; the files are left as they were."""
    records = []
    other = Spool(directory)
    for orphan in other.orphans():
        records += orphan.records()
        orphan.release()
    other.close()
    return records


def files(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.spool"))


@given(st.binary(min_size=1, max_size=64), st.text(max_size=20), st.booleans())
@settings(max_examples=50)
def test_a_record_reads_back_as_it_was(secret: bytes, tenant_id: str, minimal: bool) -> None:
    """Every field, with any bytes and any text."""
    given_record = replace(record(), tenant_id=tenant_id)
    changed = replace(given_record.secrets, secret_ciphertext=secret)
    if minimal:
        changed = replace(changed, refresh_ciphertext=None, scopes=(), expires_at=None, refresh_due_at=None)
    given_record = replace(given_record, secrets=changed)
    body = spool_module._body(spool_module._encode(given_record))
    assert body is not None
    assert spool_module._decode(body) == given_record


async def test_records_of_a_killed_process_are_found(directory: Path) -> None:
    """Every acknowledged one, in the order written."""
    process = begin_writer(directory, 5, "stay")
    end(process)
    spool = Spool(directory)
    (orphan,) = spool.orphans()
    assert [found.version for found in orphan.records()] == [0, 1, 2, 3, 4]
    assert orphan.finish()
    spool.close()
    assert files(directory) == []


async def test_a_torn_last_line_costs_only_itself(directory: Path) -> None:
    """It was never acknowledged; the records before it are whole."""
    process = begin_writer(directory, 3, "torn")
    process.communicate()
    assert [found.version for found in found_by_another(directory)] == [0, 1, 2]


async def test_a_living_process_keeps_its_records(directory: Path) -> None:
    """Nobody adopts them while it lives; the moment it is gone they are up for adoption."""
    process = begin_writer(directory, 2, "stay")
    assert found_by_another(directory) == []
    end(process)
    assert len(found_by_another(directory)) == 2


async def test_two_adopters_do_not_share_an_orphan(directory: Path) -> None:
    """The second passes over what the first holds, and finds it again once it is released."""
    end(begin_writer(directory, 1, "stay"))
    first, second = Spool(directory), Spool(directory)
    (held,) = first.orphans()
    assert list(second.orphans()) == []
    held.release()
    (again,) = second.orphans()
    again.release()
    first.close()
    second.close()


async def test_a_flipped_bit_is_noticed(directory: Path) -> None:
    """A record that the disk damaged is left out; its neighbours are not."""
    end(begin_writer(directory, 3, "stay"))
    (file,) = files(directory)
    lines = file.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b"org_acme", b"org_acmf")
    file.write_bytes(b"".join(lines))
    assert [found.version for found in found_by_another(directory)] == [0, 2]


async def test_concurrent_appends_share_an_fsync(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred appends at once take a handful of writes, and each is acknowledged after its own fsync."""
    synced: list[int] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (fsync(descriptor), synced.append(descriptor)))
    spool = Spool(directory)
    synced.clear()

    async def append(version: int) -> None:
        await spool.append(record(version))
        assert synced, "acknowledged before it was on the disk"

    await asyncio.gather(*(append(version) for version in range(100)))
    assert 1 <= len(synced) <= 5
    assert spool.outstanding == 100
    spool.close()
    assert sorted(found.version for found in found_by_another(directory)) == list(range(100))


async def test_settled_records_leave_nothing_behind(directory: Path) -> None:
    """The file is emptied when the last record is settled, and removed at the end."""
    spool = Spool(directory)
    receipts = await asyncio.gather(*(spool.append(record(version)) for version in range(10)))
    for receipt in receipts[:-1]:
        spool.settle(receipt)
    assert files(directory)[0].stat().st_size > 0
    spool.settle(receipts[-1])
    assert spool.outstanding == 0
    assert files(directory)[0].stat().st_size == 0
    spool.close()
    assert files(directory) == []


async def test_a_spool_closed_with_records_leaves_them_to_the_next(directory: Path) -> None:
    """What the database does not have yet stays on the disk."""
    spool = Spool(directory)
    settled, _ = await spool.append(record(1)), await spool.append(record(2))
    spool.settle(settled)
    spool.close()
    assert 2 in [found.version for found in found_by_another(directory)]


async def test_a_full_segment_is_followed_by_another(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records in both are found; a segment goes when the last of its records is settled."""
    monkeypatch.setattr(spool_module, "_SEGMENT_BYTES", 1000)
    spool = Spool(directory)
    receipts = [await spool.append(record(version)) for version in range(12)]
    assert len(files(directory)) > 2
    assert spool.outstanding == 12
    for receipt in receipts[:-1]:
        spool.settle(receipt)
    assert len(files(directory)) == 1
    spool.close()
    assert 11 in [found.version for found in found_by_another(directory)]


async def test_an_append_whose_caller_went_away_stays_on_the_disk(directory: Path) -> None:
    """A process that is being stopped cancels its tasks; the answer they held must not go with them."""
    spool = Spool(directory)
    task = asyncio.create_task(spool.append(record(7)))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    other = await spool.append(record(8))
    spool.settle(other)
    spool.close()
    assert 7 in [found.version for found in found_by_another(directory)]


@contextlib.contextmanager
def disk_ends_at(size: int) -> Iterator[None]:
    """Writes beyond so many bytes of a file fail, the one that crosses it after it wrote a part."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_disk_that_refuses_is_an_error_and_harms_no_other_record(directory: Path) -> None:
    """The half-written line of the refused record must not swallow the next one."""
    spool = Spool(directory)
    await spool.append(record(1))
    size = files(directory)[0].stat().st_size
    with disk_ends_at(size + 50), pytest.raises(OSError, match="too large"):
        await spool.append(record(2))
    assert spool.outstanding == 1
    await spool.append(record(3))
    assert spool.outstanding == 2
    spool.close()
    assert sorted(found.version for found in found_by_another(directory)) == [1, 3]


async def test_a_disk_that_has_no_room_for_a_new_segment_is_an_error_too(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every caller that waits hears of it, and later appends work again."""
    monkeypatch.setattr(spool_module, "_SEGMENT_BYTES", 100)
    spool = Spool(directory)
    await spool.append(record(1))
    away = directory.with_name("away")
    directory.rename(away)
    results = await asyncio.wait_for(
        asyncio.gather(*(spool.append(record(2)) for _ in range(3)), return_exceptions=True), 5
    )
    assert [type(result) for result in results] == [FileNotFoundError] * 3
    away.rename(directory)
    await spool.append(record(3))
    spool.close()
    assert sorted(found.version for found in found_by_another(directory)) == [1, 3]


async def test_a_record_of_another_release_is_kept_for_it(directory: Path) -> None:
    """A line that is whole and means nothing here hides none of its neighbours, and is not deleted."""
    end(begin_writer(directory, 2, "stay"))
    (file,) = files(directory)
    body = b'{"written by":"a later release"}'
    file.write_bytes(b"%08x %s\n" % (zlib.crc32(body), body) + file.read_bytes())
    spool = Spool(directory)
    (orphan,) = spool.orphans()
    assert [found.version for found in orphan.records()] == [0, 1]
    assert not orphan.finish()
    spool.close()
    assert files(directory) == [file]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user")
def test_a_file_of_another_user_is_passed_over() -> None:
    """Somebody once ran the worker as root; that must not stop this user's."""
    code = (
        "import os, sys; from pathlib import Path; from authpipe.credentials.spool import Spool\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "print(len(list(Spool(Path(sys.argv[1])).orphans())))"
    )
    with tempfile.TemporaryDirectory() as directory:
        end(begin_writer(Path(directory), 1, "stay"))
        Path(directory).chmod(0o777)
        command = [sys.executable, "-c", code, directory]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "0\n", done.stderr


def test_the_files_are_for_their_user_alone(directory: Path) -> None:
    """They hold ciphertext, and are nobody else's business."""
    spool = Spool(directory)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert files(directory)[0].stat().st_mode & 0o777 == 0o600
    spool.close()
