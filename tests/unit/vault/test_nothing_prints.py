"""No object of the vault shows a key or a plaintext, however it is asked."""

from __future__ import annotations

import copy
import json
import pickle
import traceback
from typing import Any

import pytest
from tests.unit.vault.memory_keysets import MemoryKeysets
from tests.unit.vault.replicas import ENVIRONMENT, Replicas, place

from authpipe.domain.errors import VaultError
from authpipe.domain.secret import Secret
from authpipe.vault.aes_key import AesKey
from authpipe.vault.keks.key_file import format_key_file
from authpipe.vault.keks.ring import KekRing
from authpipe.vault.keyset import KeysetOwner

PLAINTEXT = Secret("canary-6f1d")


async def everything(replicas: Replicas, store: MemoryKeysets) -> tuple[dict[str, Any], list[bytes]]:
    """One of each object after use, and the key bytes none of them may show."""
    vault = replicas.start()
    await vault.encrypt(PLAINTEXT, place())
    keyset = await vault._keysets.get(KeysetOwner(ENVIRONMENT, "org_acme"))
    [data_key] = keyset.opened.values()
    [stored] = store.keys(ENVIRONMENT, "org_acme")
    objects = {
        "vault": vault,
        "keysets": vault._keysets,
        "cache": vault._keysets._cache,
        "primaries": vault._primaries,
        "keyset": keyset,
        "data key": data_key,
        "kek": replicas.kek,
        "ring": KekRing(replicas.kek),
        "key file": format_key_file(data_key),
        "stored": stored,
        "context": place(),
    }
    return objects, [data_key.reveal_key_bytes(), replicas.kek._key.reveal_key_bytes(), stored.wrapped]


def shows(text: str, key: bytes) -> bool:
    return any(form in text for form in (repr(key), repr(key)[2:-1], key.hex(), str(list(key))))


async def test_no_way_of_printing_shows_a_key(replicas: Replicas, store: MemoryKeysets) -> None:
    """``repr``, ``str``, ``format``, in a container, and the attributes a debugger would list."""
    objects, keys = await everything(replicas, store)
    for one in objects.values():
        texts = [
            repr(one),
            str(one),
            f"{one}",
            f"{one!r:>10}",
            repr([one]),
            repr(getattr(one, "__dict__", "")),
        ]
        for text in texts:
            assert not any(shows(text, key) for key in keys)
            assert PLAINTEXT.reveal() not in text


async def test_nothing_that_holds_a_key_can_be_pickled_copied_or_serialised(
    replicas: Replicas, store: MemoryKeysets
) -> None:
    """A cache, a queue to another process or a careless log line gets an error and no key."""
    objects, _ = await everything(replicas, store)
    for name in ("data key", "kek", "ring", "keyset", "cache", "vault", "primaries", "keysets", "key file"):
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
                pickle.dumps(objects[name], protocol)
        with pytest.raises((TypeError, AttributeError)):
            copy.deepcopy(objects[name])
        with pytest.raises(TypeError):
            json.dumps(objects[name])
    for name in ("data key", "kek", "key file"):
        with pytest.raises(TypeError):
            copy.copy(objects[name])


async def test_a_failure_shows_neither_plaintext_nor_key_in_its_traceback(
    replicas: Replicas, store: MemoryKeysets
) -> None:
    """Also with the local variables of every frame, as pretty tracebacks print them."""
    vault = replicas.start()
    ciphertext = await vault.encrypt(PLAINTEXT, place())
    _, keys = await everything(replicas, store)
    with pytest.raises(VaultError) as caught:
        await vault.decrypt(ciphertext, place(field="refresh_token"))
    printed = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    ours = [frame for frame in printed.stack if "/authpipe/" in frame.filename]
    assert ours
    for frame in ours:
        for text in (frame.locals or {}).values():
            assert PLAINTEXT.reveal() not in text
            assert not any(shows(text, key) for key in keys)


def test_fingerprints_tell_keys_apart_and_do_not_contain_them() -> None:
    """The same key has the same name everywhere; another key has another."""
    value = bytes(range(32))
    assert AesKey(value).fingerprint() == AesKey(value).fingerprint()
    assert AesKey(value).fingerprint() != AesKey(bytes(32)).fingerprint()
    assert value.hex()[:32] != AesKey(value).fingerprint()


@pytest.mark.parametrize("length", [0, 16, 24, 31, 33])
def test_only_256_bits_are_a_key(length: int) -> None:
    """AES-128 and AES-192 keys, and anything else, are refused without being shown."""
    with pytest.raises(ValueError, match=f"32 bytes, not {length}"):
        AesKey(b"\xaa" * length)
