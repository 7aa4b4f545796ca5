"""What every KEK does, wherever it is kept."""

from __future__ import annotations

import asyncio
import base64
import copy
import io
import logging
import pickle
import threading
import traceback
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from tests.unit.vault.memory_keysets import MemoryKeysets
from tests.unit.vault.replicas import ENVIRONMENT
from tests.unit.vault.replicas import place as secret_place

from authpipe.domain.clock import ManualClock
from authpipe.domain.errors import VaultError
from authpipe.domain.secret import Secret
from authpipe.vault.aes_key import AesKey
from authpipe.vault.failure import PUBLIC_MESSAGE
from authpipe.vault.keks.kek import Kek
from authpipe.vault.keks.ring import KekRing
from authpipe.vault.keks.uri import open_keks, shown_uri
from authpipe.vault.vault import Vault
from support.kek_places import KekPlace

Open = Callable[[str], Kek]

#: What the ciphertext of a 256-bit key adds to the name of its KEK: nonce, key, tag.
SEALED_BYTES = 12 + 32 + 16
PLAINTEXT = Secret("a refresh token")


def start(keks: KekRing, store: MemoryKeysets) -> Vault:
    """A process with nothing in memory."""
    return Vault(keks, store, ManualClock(datetime(2026, 1, 1, tzinfo=UTC)))


async def refused(kek: Kek, wrapped: bytes, associated_data: bytes) -> None:
    with pytest.raises(VaultError, match=PUBLIC_MESSAGE) as caught:
        await kek.unwrap(wrapped, associated_data)
    told = "".join(traceback.format_exception(caught.value)) + str(caught.value.detail)
    assert wrapped[1:].hex() not in told or len(wrapped) < 2


async def test_a_wrapped_key_unwraps(place: KekPlace, open_kek: Open) -> None:
    """The very key comes back, and nothing of it is in what is stored."""
    kek, key = open_kek(place.make()), AesKey.generate()
    wrapped = await kek.wrap(key, b"place")
    assert (await kek.unwrap(wrapped, b"place")).reveal_key_bytes() == key.reveal_key_bytes()
    assert key.reveal_key_bytes() not in wrapped
    assert wrapped[0] == 1
    assert len(wrapped) >= 1 + SEALED_BYTES


async def test_a_key_is_never_wrapped_the_same_way_twice(place: KekPlace, open_kek: Open) -> None:
    """Nonces are fresh."""
    kek, key = open_kek(place.make()), AesKey.generate()
    assert len({await kek.wrap(key, b"place") for _ in range(20)}) == 20


@pytest.mark.parametrize("elsewhere", [b"", b"place ", b"Place", b"place" * 60])
async def test_a_wrapped_key_is_bound_to_its_associated_data(
    place: KekPlace, open_kek: Open, elsewhere: bytes
) -> None:
    """Other facts, no key."""
    kek = open_kek(place.make())
    await refused(kek, await kek.wrap(AesKey.generate(), b"place"), elsewhere)


async def test_an_altered_wrapped_key_is_refused(place: KekPlace, open_kek: Open) -> None:
    """A bit of any byte of format, nonce, key and tag."""
    kek = open_kek(place.make())
    wrapped = await kek.wrap(AesKey.generate(), b"place")
    for position in (0, *range(len(wrapped) - SEALED_BYTES, len(wrapped))):
        altered = bytearray(wrapped)
        altered[position] ^= 1 << position % 8
        await refused(kek, bytes(altered), b"place")


async def test_a_wrapped_key_that_was_cut_or_lengthened_is_refused(place: KekPlace, open_kek: Open) -> None:
    """From nothing at all to one byte too many."""
    kek = open_kek(place.make())
    wrapped = await kek.wrap(AesKey.generate(), b"place")
    for text in (b"", wrapped[:1], wrapped[:-1], wrapped[:-16], wrapped + b"\0", wrapped[:1] + b"\0" * 7000):
        await refused(kek, text, b"place")


async def test_another_kek_of_the_same_place_is_refused_its_neighbours_keys(
    place: KekPlace, open_kek: Open
) -> None:
    """Also where one account or token would let the caller use both."""
    kek, other = open_kek(place.make()), open_kek(place.make())
    wrapped = await kek.wrap(AesKey.generate(), b"place")
    await refused(other, wrapped, b"place")
    await kek.unwrap(wrapped, b"place")


async def test_the_id_follows_the_key(place: KekPlace, open_kek: Open) -> None:
    """The same from every place and after every start, another for another key, and short plain text."""
    here, there = place.elsewhere()
    kek = open_kek(here)
    assert kek.uri != open_kek(there).uri
    assert open_kek(there).kek_id == open_kek(here).kek_id == kek.kek_id
    assert open_kek(place.make()).kek_id != kek.kek_id
    assert kek.kek_id.startswith(f"{place.scheme}-")
    assert kek.kek_id.isascii()
    assert kek.kek_id.isprintable()
    assert len(kek.kek_id) < 64
    wrapped = await kek.wrap(AesKey.generate(), b"place")
    await open_kek(there).unwrap(wrapped, b"place")


async def test_no_kek_shows_a_secret(place: KekPlace, open_kek: Open) -> None:
    """Neither how it prints nor its URI; and it cannot be pickled or copied."""
    uri = place.make()
    kek = open_kek(uri)
    assert kek.uri == shown_uri(uri)
    for text in (repr(kek), str(kek), f"{kek}", kek.uri, kek.kek_id):
        assert not any(secret in text for secret in place.secrets)
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            attempt(kek)  # type: ignore[operator]


async def test_no_log_line_shows_a_key(
    place: KekPlace, open_kek: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Libraries that print what they send at the finest level would print data keys."""
    written, key = io.StringIO(), AesKey.generate()
    # A plain handler: neither our levels nor our redaction stands before it.
    handler, root = logging.StreamHandler(written), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(1)
    monkeypatch.setattr(logging.getLogger("botocore"), "level", logging.NOTSET)
    try:
        kek = open_kek(place.make())
        await kek.unwrap(await kek.wrap(key, b"place"), b"place")
        root.debug("the end of %s", kek)
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
    text, value = written.getvalue(), key.reveal_key_bytes()
    assert "the end of" in text
    forms = (value.hex(), base64.b64encode(value).decode(), base64.urlsafe_b64encode(value).decode())
    assert not any(form in text for form in (*forms, repr(value)[2:-1], *place.secrets))


async def test_many_keys_at_once(place: KekPlace, open_kek: Open) -> None:
    """Each comes back as itself."""
    kek = open_kek(place.make())
    keys = {number: AesKey.generate() for number in range(100)}

    async def there_and_back(number: int) -> bool:
        associated_data = f"place {number}".encode()
        wrapped = await kek.wrap(keys[number], associated_data)
        back = await kek.unwrap(wrapped, associated_data)
        return back.reveal_key_bytes() == keys[number].reveal_key_bytes()

    assert all(await asyncio.gather(*map(there_and_back, keys)))


async def test_the_event_loop_goes_on_meanwhile(place: KekPlace, open_kek: Open) -> None:
    """Wrapping does not happen in the loop's own thread, except where it is a matter of microseconds."""
    kek, turns = open_kek(place.make()), 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await asyncio.sleep(0)
    await asyncio.gather(*[kek.wrap(AesKey.generate(), b"place") for _ in range(10)])
    counting.cancel()
    assert turns > 5 or place.scheme == "local"


async def test_a_vault_works_with_it(place: KekPlace, open_kek: Open) -> None:
    """Two processes over one store, one of them twice; a foreign tenant's row stays closed."""
    uri, store = place.make(), MemoryKeysets()
    vault = start(KekRing(open_kek(uri)), store)
    ciphertext = await vault.encrypt(PLAINTEXT, secret_place())
    vault.forget(ENVIRONMENT, "org_acme")
    assert await vault.decrypt(ciphertext, secret_place()) == PLAINTEXT
    other = start(KekRing(open_kek(uri)), store)
    assert await other.decrypt(ciphertext, secret_place()) == PLAINTEXT
    await other.encrypt(PLAINTEXT, secret_place(tenant_id="org_other"))
    with pytest.raises(VaultError):
        await other.decrypt(ciphertext, secret_place(tenant_id="org_other"))


async def test_a_new_primary_wraps_while_the_old_one_still_unwraps(place: KekPlace, open_kek: Open) -> None:
    """The order of the URIs decides; without the old one its keys are named as missing."""
    old, new, store = place.make(), place.make(), MemoryKeysets()
    before = await start(KekRing(open_kek(old)), store).encrypt(PLAINTEXT, secret_place())
    ring = open_keks([new, old], production=True)
    try:
        moved = start(ring, store)
        after = await moved.encrypt(PLAINTEXT, secret_place(tenant_id="org_later"))
        assert await moved.decrypt(before, secret_place()) == PLAINTEXT
        [first], [later] = store.keys(ENVIRONMENT, "org_acme"), store.keys(ENVIRONMENT, "org_later")
        assert (first.kek_id, later.kek_id) == (open_kek(old).kek_id, ring.primary.kek_id)
    finally:
        ring.close()
    alone = start(KekRing(open_kek(new)), store)
    assert await alone.decrypt(after, secret_place(tenant_id="org_later")) == PLAINTEXT
    with pytest.raises(VaultError, match=f"{first.kek_id} is missing"):
        await alone.decrypt(before, secret_place())


async def test_closing_ends_what_was_begun(place: KekPlace) -> None:
    """No thread is left, and closing again does nothing."""
    uri = place.make()
    before = set(threading.enumerate())
    ring = open_keks([uri], production=True)
    await ring.primary.wrap(AesKey.generate(), b"place")
    begun = [
        thread for thread in threading.enumerate() if thread not in before and place.scheme in thread.name
    ]
    assert bool(begun) == (place.scheme != "local")
    ring.close()
    ring.close()
    for thread in begun:
        await asyncio.to_thread(thread.join, 10)
        assert not thread.is_alive()
