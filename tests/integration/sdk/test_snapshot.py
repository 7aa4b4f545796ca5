"""The cache on disk: a restart during an outage, and every file that must not be believed."""

from __future__ import annotations

import json
import logging
import os
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from authpipe import Authpipe, AuthpipeUnavailable, ConfigurationError, NotConnected, ProviderUnavailable
from authpipe.sdk import async_upkeep, sync_upkeep

DAY = 86_400.0
OTHER_KEY = "apk_other234_" + "Q" * 43


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "authpipe.snapshot"


@pytest.fixture
def start(make, path, clock):
    """Make a client with the snapshot, as a process that was just started would."""

    def build(**arguments):
        # A new process, perhaps after a new boot: the elapsed clock is another one.
        clock.elapsed_s = 100.0
        return make(**({"snapshot": path, "stream": False, "timeout_s": 1.0} | arguments))

    return build


@pytest.fixture
def saved(start):
    """Fill a client and close it."""

    def fill(*replies, users=("user_123",), **arguments):
        client = start(**arguments)
        for user in users:
            client.get(user_id=user)
        client.close()

    return fill


def test_a_restart_during_an_outage_serves_what_is_unexpired(saved, start, server, clock, secret):
    """The first call finds out that the server is away, later ones do not wait; expiry still holds."""
    server.script(server.credential(3, life_s=3600))
    saved()
    clock.advance(1800)
    server.go_away()
    client = start()
    got = client.get()
    assert (got.credential, got.version) == (f"{secret}3", 3)
    assert dict(got.headers) == {"Authorization": f"Bearer {secret}3"}
    assert got.metadata["nested"]["list"][1]["a"] == 2
    assert got.scopes == ("identify", "guilds")
    asked = server.asked
    assert client.get() is got
    assert server.asked == asked
    # 3600 less a second that Date cannot resolve
    clock.advance(1798)
    assert client.get() is got
    client.settle()
    clock.advance(2)
    with pytest.raises(AuthpipeUnavailable):
        client.get()


def test_what_was_read_from_disk_is_asked_for_before_it_is_used(saved, start, server):
    """While the server answers, the file is as good as none."""
    saved()
    server.version = 2
    assert start().get().version == 2


def test_a_credential_revoked_while_nothing_ran_is_never_served(saved, start, server):
    """The server is there and says no."""
    saved()
    server.script(server.problem(404, "not_connected"))
    client = start()
    with pytest.raises(NotConnected):
        client.get()
    server.go_away()
    with pytest.raises((NotConnected, AuthpipeUnavailable)):
        client.get()


def test_what_the_outage_served_is_asked_for_once_the_server_is_back(saved, start, server, clock):
    """One answer to anything ends it, for every entry of unknown freshness."""
    saved(users=("user_123", "user_b"))
    server.go_away()
    client = start()
    client.get()
    client.get(user_id="user_b")
    clock.advance(6)
    client.get(user_id="user_b")
    client.settle()
    clock.advance(2)
    # Found due a moment ago, so by itself it would not be looked at again for five seconds.
    client.get()
    server.version = 2
    server.come_back()
    clock.advance(3.5)
    client.get(user_id="user_b")
    client.settle()
    asked = server.asked
    assert client.get().version == 2
    assert server.asked == asked + 1


def test_an_outage_of_the_provider_is_none_of_the_server(saved, start, server):
    """The server was reached and did not confirm: what comes from disk is not served."""
    saved()
    server.script(server.problem(503, "provider_unavailable"))
    client = start()
    for _ in range(2):
        with pytest.raises(ProviderUnavailable):
            client.get()


def test_the_file_is_only_the_owners_and_holds_nothing_readable(saved, path, secret, api_key):
    """Mode 0600 whatever the umask, no secret and no id in it, and no other file beside it."""
    before = os.umask(0)
    try:
        saved()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    raw = path.read_bytes()
    for word in (secret, "org_acme", "user_123", api_key, api_key[-20:]):
        assert word.encode() not in raw
    assert list(path.parent.iterdir()) == [path]


def test_every_writing_has_its_own_key_and_nonce(saved, path):
    """The same content twice has nothing in common but the format."""
    saved()
    first = path.read_bytes()
    path.unlink()
    saved()
    second = path.read_bytes()
    assert first[8:36] != second[8:36]
    assert first[:8] == second[:8]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\0" * 100),
        lambda path: path.write_bytes(path.read_bytes()[:30]),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1])),
        lambda path: path.write_bytes(path.read_bytes()[:10] + b"\xff" + path.read_bytes()[11:]),
        lambda path: path.chmod(0o644),
        lambda path: path.chmod(0o660),
        lambda path: (path.rename(path.with_suffix(".real")), path.symlink_to(path.with_suffix(".real"))),
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: (path.unlink(), os.mkfifo(path)),
        lambda path: os.truncate(path, 64 * 1024 * 1024),
    ],
    ids=["empty", "nonsense", "head only", "cut", "changed", "other salt", "world-readable", "group", "link",
         "folder", "pipe", "huge"],
)  # fmt: skip
def test_a_file_that_cannot_be_trusted_is_ignored_with_a_warning(saved, start, path, server, caplog, spoil):
    """The client works as without one."""
    saved()
    spoil(path)
    server.go_away()
    with caplog.at_level(logging.WARNING):
        client = start()
    assert "is ignored" in caplog.text
    with pytest.raises(AuthpipeUnavailable):
        client.get()
    server.come_back()
    assert client.get().version == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_ignored(saved, start, path, caplog):
    """Whoever wrote it may have chosen what is in it."""
    saved()
    os.chown(path, 12345, 12345)
    assert not start().cache.entries
    assert "belongs to another user" in caplog.text


@pytest.mark.parametrize(
    "other", [{"api_key": OTHER_KEY}, {"url": "http://127.0.0.1:9"}], ids=["key", "server"]
)
def test_a_file_of_another_key_or_server_is_ignored(saved, start, caplog, other):
    """The key of the file is derived from both."""
    saved()
    assert not start(**other).cache.entries
    assert "of another API key or server" in caplog.text


@pytest.mark.parametrize(
    "content",
    [
        b"[]", b"{}", b"not json", b"[" * 100_000,
        b'{"saved_at": "now", "entries": []}',
        b'{"saved_at": NaN, "entries": []}',
        b'{"saved_at": 1, "entries": [{"asked_at": 1799999999, "expires": 1e999}]}',
        b'{"saved_at": 1, "entries": [{"asked_at": 1799999999, "expires": null, "credential": {}}]}',
        b'{"saved_at": 1, "entries": 7}',
    ],
    ids=range(9),
)  # fmt: skip
def test_a_file_of_a_form_of_its_own_is_ignored(make, path, server, api_key, caplog, content):
    """Written by a version of the future: no crash, and no word of the content in the log."""
    from authpipe.sdk.sealed_file import SealedFile

    SealedFile(path, api_key, f"authpipe sdk snapshot 1 {server.url}").write(content)
    assert not make(snapshot=path).cache.entries
    assert "unknown form" in caplog.text


@pytest.mark.parametrize(("back", "life_left"), [(-3600, None), (-30, 3599), (0, 3599), (600, 2999)], ids=str)
def test_a_clock_that_was_set_back_makes_no_credential_live_longer(
    saved, start, server, clock, caplog, back, life_left
):
    """A little is taken for no time at all, more is not believed."""
    server.script(server.credential(1, life_s=3600))
    saved()
    clock.wall_s += back
    entries = start().cache.entries
    if life_left is None:
        assert not entries
        assert "the clock was set back" in caplog.text
    else:
        (entry,) = entries.values()
        assert entry.expires - clock.elapsed_s == pytest.approx(life_left)


@pytest.mark.parametrize(("life_s", "after"), [(3600, 3600), (None, 8 * DAY)], ids=["expired", "too old"])
def test_what_has_expired_or_is_a_week_old_is_not_read(saved, start, server, clock, life_s, after):
    """A credential that does not expire is not kept for ever either."""
    server.script(server.credential(1, life_s=life_s))
    saved()
    clock.wall_s += after
    assert not start().cache.entries


def test_age_counts_from_the_servers_own_answer_over_several_restarts(saved, start, server, clock):
    """An outage of many restarts does not make anything younger."""
    saved()
    server.go_away()
    for _ in range(3):
        clock.wall_s += 2 * DAY
        client = start()
        client.get()
        # As if something else had come or gone: what is still there is written again.
        client.client._upkeep._snapshot._saved = -1
        client.close()
    clock.wall_s += 2 * DAY
    assert not start().cache.entries


def test_nothing_cached_leaves_no_file(start, path, server):
    """What was dropped does not stay on disk."""
    client = start()
    client.get()
    client.cache.forget([client.get().connection_id])
    client.close()
    assert not path.exists()
    start().close()
    assert not path.exists()


def test_a_running_client_saves_after_a_few_seconds_and_not_for_every_entry(
    start, path, monkeypatch, until, clock
):
    """In the background, once for many entries; a crash loses no more than that."""
    monkeypatch.setattr(sync_upkeep, "SAVE_EVERY_S", 0.2)
    monkeypatch.setattr(async_upkeep, "SAVE_EVERY_S", 0.2)
    client = start()
    for number in range(20):
        client.get(user_id=f"user_{number}")
    assert not path.exists()
    until(path.exists)
    first = path.stat().st_ino
    time.sleep(0.5)
    assert path.stat().st_ino == first, "nothing changed, nothing written"
    client.get(user_id="one_more")
    until(lambda: path.stat().st_ino != first)
    raw = path.read_bytes()
    client.close()
    assert path.read_bytes() == raw
    assert len(start().cache.entries) == 21


def test_the_size_is_bounded_and_what_was_used_last_is_kept(start, path, monkeypatch, until):
    """The rest is left out."""
    from authpipe.sdk import snapshot

    monkeypatch.setattr(snapshot, "LARGEST_CONTENT", 3_000)
    client = start()
    for number in range(20):
        client.get(user_id=f"user_{number}")
    client.close()
    assert path.stat().st_size < 3_200
    kept = [key[2] for key in start().cache.entries]
    assert kept
    assert kept == [f"user_{number}" for number in range(20 - len(kept), 20)]


def test_a_disk_that_cannot_be_written_is_a_warning(start, tmp_path, caplog):
    """Once, not with every try."""
    client = start(snapshot=tmp_path / "missing" / "file")
    for number in range(3):
        client.get(user_id=f"user_{number}")
        client.client._upkeep._snapshot.save()
    client.close()
    assert caplog.text.count("cannot be saved") == 1


def test_the_environment_names_the_file(make, path, monkeypatch):
    """AUTHPIPE_SNAPSHOT."""
    monkeypatch.setenv("AUTHPIPE_SNAPSHOT", str(path))
    client = make()
    client.get()
    client.close()
    assert path.exists()


def test_without_the_extra_it_says_what_to_install(make, path, monkeypatch):
    """At once, not with the first save."""
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'authpipe\[snapshot\]'"):
        Authpipe("http://127.0.0.1:9", "apk_a_b", snapshot=path)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_real_restart_during_a_real_outage(server, api_key, path, kind):
    """Two processes: one that is never closed, and one that finds no server."""
    program = """
        import asyncio, json, os, sys
        from authpipe import AsyncAuthpipe, Authpipe

        told = dict(timeout_s=1.0, snapshot=os.environ["FILE"])
        wanted = dict(provider="discord", tenant_id="org_acme")

        async def run():
            client = AsyncAuthpipe(os.environ["URL"], os.environ["KEY"], **told)
            return await client.get_credential(**wanted)

        if sys.argv[1] == "async":
            got = asyncio.run(run())
        else:
            client = Authpipe(os.environ["URL"], os.environ["KEY"], **told)
            got = client.get_credential(**wanted)
            if sys.argv[2] == "first":
                client.close()
        print(json.dumps([got.version, got.credential]))
    """
    environ = os.environ | {"URL": server.url, "KEY": api_key, "FILE": str(path)}

    def process(which: str) -> list:
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program), kind, which],
            env=environ, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    server.clock.wall_s = time.time()
    server.script(server.credential(5, life_s=3600))
    first = process("first")
    assert first[0] == 5
    server.go_away()
    assert process("second") == first
