"""What is particular to a KEK in an HSM: its key, its PIN, its sessions and the process it lives in."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from authpipe.domain.errors import ConfigurationError, VaultError, VaultUnavailable
from authpipe.vault.aes_key import AesKey
from authpipe.vault.keks import pkcs11
from authpipe.vault.keks.kek import Kek
from authpipe.vault.keks.pkcs11_module import Module
from authpipe.vault.keks.uri import open_keks
from support.softhsm import PIN, SoftHsm

Open = Callable[[str], Kek]


def refusal(uri: str, *, production: bool = True) -> str:
    """What the operator is told, which never is the PIN."""
    with pytest.raises(ConfigurationError) as caught:
        open_keks([uri], production=production)
    assert PIN not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"
    return str(caught.value)


def in_its_thread(hsm: SoftHsm, work: Callable[[Module], object]) -> None:
    """Do something to the library where its calls are made."""
    module = Module.lend(Path(hsm.module))
    module.submit(lambda: work(module)).result(30)
    module.give_back()


def lose_sessions(hsm: SoftHsm) -> None:
    """As a network HSM does that was restarted."""
    in_its_thread(hsm, lambda module: module._library.reinitialize())


async def test_keys_in_one_token_share_a_login(hsm: SoftHsm, open_kek: Open) -> None:
    """Moving from one key to another inside one HSM needs both at once; closing one leaves the other."""
    old, new = hsm.uri(hsm.make_key()), hsm.uri(hsm.make_key())
    kek = open_kek(old)
    generations: list[int] = []
    in_its_thread(hsm, lambda module: generations.append(module.generation))
    short_lived = open_keks([new], production=True)
    in_its_thread(hsm, lambda module: generations.append(module.generation))
    assert generations[0] == generations[1], "the second logged the first one out"
    wrapped = await kek.wrap(AesKey.generate(), b"place")
    await short_lived.primary.wrap(AesKey.generate(), b"place")
    short_lived.close()
    await kek.unwrap(wrapped, b"place")
    with pytest.raises(VaultUnavailable):
        await short_lived.primary.wrap(AesKey.generate(), b"place")


async def test_a_lost_session_is_found_again_by_every_kek(hsm: SoftHsm, open_kek: Open) -> None:
    """Also when all of them notice at the same moment."""
    keks = [open_kek(hsm.uri(hsm.make_key())) for _ in range(3)]
    wrapped = [await kek.wrap(AesKey.generate(), b"place") for kek in keks]
    for _ in range(3):
        lose_sessions(hsm)
        await asyncio.gather(
            *[kek.unwrap(text, b"place") for kek, text in zip(keks, wrapped, strict=True) for _ in range(5)]
        )


async def test_a_forged_ciphertext_does_not_cost_the_session(hsm: SoftHsm, open_kek: Open) -> None:
    """SoftHSM has one code for both; a table of garbage must not mean a login for each row."""
    kek = open_kek(hsm.uri(hsm.make_key()))
    wrapped = await kek.wrap(AesKey.generate(), b"place")
    generations: list[int] = []
    in_its_thread(hsm, lambda module: generations.append(module.generation))
    for _ in range(20):
        with pytest.raises(VaultError):
            await kek.unwrap(wrapped, b"elsewhere")
    in_its_thread(hsm, lambda module: generations.append(module.generation))
    assert generations[0] == generations[1]


async def test_a_key_that_was_replaced_under_its_label_is_noticed(hsm: SoftHsm, open_kek: Open) -> None:
    """What was open does not begin to use another key; what opens then is another KEK."""
    label = hsm.make_key()
    kek = open_kek(hsm.uri(label))
    wrapped = await kek.wrap(AesKey.generate(), b"place")
    hsm.destroy_key(label)
    with pytest.raises(VaultError, match="cannot be decrypted") as gone:
        await kek.unwrap(wrapped, b"place")
    assert "no secret key" in str(gone.value.detail)
    hsm.make_key(label)
    with pytest.raises(VaultError, match="cannot be decrypted") as replaced:
        await kek.wrap(AesKey.generate(), b"place")
    assert "another key has the place" in str(replaced.value.detail)
    assert open_kek(hsm.uri(label)).kek_id != kek.kek_id


async def test_an_hsm_that_never_answers_is_unavailable(
    hsm: SoftHsm, open_kek: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Callers wait for so long and no longer; it goes on when the device does."""
    kek, answers = open_kek(hsm.uri(hsm.make_key())), threading.Event()
    module = Module.lend(Path(hsm.module))
    stuck = module.submit(answers.wait)
    monkeypatch.setattr(pkcs11, "_DEADLINE_S", 0.05)
    with pytest.raises(VaultUnavailable) as caught:
        await kek.wrap(AesKey.generate(), b"place")
    assert caught.value.detail == f"the HSM of {kek.kek_id} does not answer"
    monkeypatch.setattr(pkcs11, "_DEADLINE_S", 20.0)
    answers.set()
    assert stuck.result(10)
    await kek.wrap(AesKey.generate(), b"place")
    module.give_back()


async def test_a_refused_pin_is_not_tried_again(hsm: SoftHsm, open_kek: Open) -> None:
    """A token locks itself after a few: a PIN that was changed while we ran is tried once."""
    label = hsm.make_key(token="third")
    kek = open_kek(hsm.uri(label, token="third"))
    hsm.change_pin(PIN, "another-pin", token="third")
    try:
        details = []
        for _ in range(3):
            lose_sessions(hsm)
            with pytest.raises(VaultError) as caught:
                await kek.wrap(AesKey.generate(), b"place")
            details.append(str(caught.value.detail))
        assert "the token third refuses the PIN" in details[0]
        assert all("refused before and is not tried again" in detail for detail in details[1:])
        assert PIN not in "".join(details)
    finally:
        hsm.change_pin("another-pin", PIN, token="third")


def test_a_wrong_pin_is_told(hsm: SoftHsm) -> None:
    """Without it."""
    uri = hsm.uri(hsm.make_key(token="third"), token="third", pin=f"pin-value=x{PIN}")
    assert "the token third refuses the PIN" in refusal(uri)


def test_two_keks_of_one_token_must_have_one_pin(hsm: SoftHsm) -> None:
    """The second would never be checked: the process is logged in already."""
    first, second = hsm.make_key(), hsm.make_key()
    with pytest.raises(ConfigurationError, match="have different PINs"):
        open_keks([hsm.uri(first), hsm.uri(second, pin=f"pin-value=x{PIN}")], production=True)


@pytest.mark.parametrize(
    ("allowed", "message"),
    [
        pytest.param({"EXTRACTABLE": True}, "can leave its HSM", id="extractable"),
        pytest.param({"SENSITIVE": False}, "can leave its HSM", id="not sensitive"),
    ],
)
def test_a_key_the_hsm_would_give_out_is_refused_in_production(
    hsm: SoftHsm, open_kek: Open, allowed: dict[str, bool], message: str
) -> None:
    """Elsewhere it serves to try things out."""
    uri = hsm.uri(hsm.make_key(**allowed))
    assert message in refusal(uri)
    open_keks([uri], production=False).close()


def test_a_key_that_cannot_wrap_is_refused(hsm: SoftHsm) -> None:
    """Too short, or not allowed to encrypt or decrypt."""
    assert "no AES key of 256 bits" in refusal(hsm.uri(hsm.make_key(bits=128)))
    assert "may not encrypt and decrypt" in refusal(hsm.uri(hsm.make_key(DECRYPT=False)))
    assert "may not encrypt and decrypt" in refusal(hsm.uri(hsm.make_key(ENCRYPT=False)))


def test_what_is_not_there_is_named(hsm: SoftHsm) -> None:
    """Library, token, key; and a label that two keys have."""
    label = hsm.make_key()
    assert "names no secret key" in refusal(hsm.uri("nobody"))
    assert "there is no token with token=nobody" in refusal(hsm.uri(label, token="nobody"))
    missing = hsm.uri(label).replace(hsm.module, "/nonexistent/library.so")
    assert "/nonexistent/library.so" in refusal(missing)
    hsm.make_key(label)
    assert "names 2 secret keys; add id=" in refusal(hsm.uri(label))


def test_the_pin_comes_from_a_file_for_its_owner_alone(hsm: SoftHsm, tmp_path: Path) -> None:
    """With or without a line end; one that others can open is refused in production, with the remedy."""
    path, label = tmp_path / "pin", hsm.make_key()
    uri = hsm.uri(label, pin=f"pin-source=file:{path}")
    assert f"PIN file {path} does not exist" in refusal(uri)
    for text in (PIN, f"{PIN}\n"):
        path.write_text(text)
        path.chmod(0o600)
        ring = open_keks([uri], production=True)
        assert str(path) in ring.primary.uri
        ring.close()
    path.chmod(0o644)
    assert f"mode 0644); run: chmod 600 {path}" in refusal(uri)
    open_keks([uri], production=False).close()
    path.chmod(0o600)
    path.write_text(f"{PIN}\n{PIN}\n")
    assert "must hold one line, the PIN" in refusal(uri)


_FORK = """
import asyncio, os, sys
from authpipe.vault.aes_key import AesKey
from authpipe.vault.keks.uri import open_keks

keks = open_keks(sys.argv[1:], production=True)
key = AesKey.generate()
wrapped = asyncio.run(keks.primary.wrap(key, b"place"))
parent = os.getpid()
child = os.fork()
back = asyncio.run(keks.primary.unwrap(wrapped, b"place"))
same = back.reveal_key_bytes() == key.reveal_key_bytes()
keks.close()
if os.getpid() != parent:
    os._exit(0 if same else 1)
print(same, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_child_and_its_parent_both_go_on(hsm: SoftHsm) -> None:
    """Neither threads nor sessions survive a fork: the child begins anew, the parent notices nothing."""
    assert hsm.python(_FORK, hsm.uri(hsm.make_key()), hsm.uri(hsm.make_key())) == "True 0\n"


async def test_wrapping_never_uses_the_block_the_id_is_made_of() -> None:
    """Its counter is the last there is, and it is not the block of zeros that GCM hashes with."""
    block = pkcs11._ID_BLOCK
    assert len(block) == 16
    assert block != bytes(16)
    assert int.from_bytes(block[12:]) == 2**32 - 1


async def test_the_id_is_what_the_key_makes_of_the_block(hsm: SoftHsm, open_kek: Open) -> None:
    """Pinned: an id that changed with a release would make every wrapped key look orphaned."""
    kek = open_kek(hsm.uri(hsm.make_key(value=bytes(range(32)))))
    assert kek.kek_id == "pkcs11-6ff4ec84bd14078478f40daf68e9e0a3"


def test_a_missing_python_pkcs11_is_told_with_the_extra(
    hsm: SoftHsm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has to know the name of the library."""
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    assert "pip install 'authpipe[pkcs11]'" in refusal(hsm.uri("any"))
