"""A key-encryption key in a hardware security module, reached over PKCS#11 and never outside it."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar, final

from authpipe.domain.errors import ConfigurationError, VaultError, VaultUnavailable
from authpipe.vault.aes_key import KEY_BYTES, NONCE_BYTES, TAG_BYTES, AesKey
from authpipe.vault.failure import unavailable, unusable
from authpipe.vault.keks.pkcs11_module import Module
from authpipe.vault.keks.pkcs11_uri import SCHEME, Pkcs11Uri

if TYPE_CHECKING:
    import pkcs11

T = TypeVar("T")

#: A ``pkcs11.SecretKey``.  Which operations it has depends on the key, which its type does not tell.
HsmKey = Any

_FORMAT = b"\x01"
_WRAPPED_BYTES = len(_FORMAT) + NONCE_BYTES + KEY_BYTES + TAG_BYTES
#: Seconds a caller waits for the HSM, those before it in the queue included.
_DEADLINE_S = 20.0

#: What the key is asked to encrypt as one bare block, to learn which key it is.  GCM itself encrypts blocks
#: of zeros and of nonce and 32-bit counter (SP 800-38D section 7.1), and our messages of 32 bytes count to
#: three: this one, with the highest counter there is, is never among them.
_ID_BLOCK = b"authpipe kek\xff\xff\xff\xff"


class _Found(NamedTuple):
    key: HsmKey
    generation: int


@final
class Pkcs11Kek:
    """Wraps data keys with AES-256-GCM inside the HSM; what is stored is format byte, nonce, ciphertext, tag.

    Nonces are 96 random bits of the operating system, each for one data key, so the bound of 2**32 is out of
    reach.  The id is a fingerprint of the key, made from one block it encrypts: the same key in another
    token, under another label or reached through another library is the same KEK.

    A lost session, or a device that was away, is found again at the next call.
    """

    __slots__ = ("_found", "_kek_id", "_module", "_uri")

    def __init__(self, uri: Pkcs11Uri, module: Module) -> None:
        self._uri = uri
        self._module: Module | None = module
        self._found: _Found | None = None
        self._kek_id = ""

    @classmethod
    def open(cls, rest: str, *, production: bool) -> Pkcs11Kek:
        """Log in and find the key that ``rest``, the URI after its scheme, names, and try it once.

        Raises ``ConfigurationError`` with the remedy when python-pkcs11 is not installed, when library, token
        or key are missing or the PIN is refused, and when the key is no AES-256 key that can encrypt and
        decrypt with GCM; in ``production`` also when the HSM would give it out, or when others can open
        the file of the PIN.
        """
        uri = Pkcs11Uri.parse(rest, production=production)
        try:
            import pkcs11
        except ImportError:
            raise ConfigurationError(
                "a pkcs11 KEK needs python-pkcs11; install it with: pip install 'authpipe[pkcs11]'"
            ) from None
        module = Module.lend(uri.module_path)
        kek = cls(uri, module)
        told: str | None = None
        try:
            module.submit(lambda: kek._begin(module, production=production)).result(_DEADLINE_S)
        except pkcs11.PKCS11Error as error:
            told = f"the HSM of {uri.text} cannot be used: {_reason(error)}"
        except TimeoutError:
            told = f"the HSM of {uri.text} does not answer"
        except ConfigurationError as error:
            told = error.message
        if told is not None:
            module.give_back()
            raise ConfigurationError(told)
        return kek

    @property
    def uri(self) -> str:
        return self._uri.text

    @property
    def kek_id(self) -> str:
        return self._kek_id

    async def wrap(self, key: AesKey, associated_data: bytes) -> bytes:
        return await self._call(lambda hsm: _encrypt(hsm, key.reveal_key_bytes(), associated_data))

    async def unwrap(self, wrapped: bytes, associated_data: bytes) -> AesKey:
        if wrapped[:1] != _FORMAT:
            raise unusable("the wrapped key has an unknown format version")
        if len(wrapped) != _WRAPPED_BYTES:
            raise unusable("the wrapped key has not the length of one")
        return AesKey(await self._call(lambda hsm: _decrypt(hsm, wrapped, associated_data)))

    def close(self) -> None:
        module, self._module = self._module, None
        # A child of a fork that never used it has nothing to give back.
        if module is not None and module.pid == os.getpid():
            module.give_back()

    async def _call(self, work: Callable[[HsmKey], T]) -> T:
        module = self._here()
        called = module.submit(lambda: self._attempt(module, work))
        try:
            return await asyncio.wait_for(asyncio.wrap_future(called), _DEADLINE_S)
        except TimeoutError:
            pass
        raise unavailable(f"the HSM of {self._kek_id} does not answer")

    def _here(self) -> Module:
        if self._module is None:
            raise unavailable(f"{self._kek_id} is closed")
        if self._module.pid != os.getpid():
            self._module, self._found = Module.lend(self._uri.module_path), None
        return self._module

    def _attempt(self, module: Module, work: Callable[[HsmKey], T]) -> T:
        """Do the work; when it fails, find out whether what was given or the HSM is at fault.

        Tokens answer a forged ciphertext and a lost session with codes of their maker's choice, some with
        the same one for both, so no code is believed: the key is asked for its fingerprint instead.
        """
        import pkcs11

        failure: VaultError | VaultUnavailable | None = None
        for again in (False, True):
            try:
                if again:
                    module.restart()
                key = self._key(module)
                try:
                    return work(key)
                except pkcs11.PKCS11Error as error:
                    if self._is_ours(key):
                        failure = unusable(f"the HSM refused: {_reason(error)}")
                        break
                    failure = unavailable(f"the HSM of {self._kek_id} fails: {_reason(error)}")
            except pkcs11.PKCS11Error as error:
                failure = unavailable(f"the HSM of {self._kek_id} cannot be reached: {_reason(error)}")
            except ConfigurationError as error:
                # The token is there and the key is not, or not for us: waiting mends nothing.
                failure = unusable(f"{self._kek_id} cannot be opened again: {error.message}")
                break
        assert failure is not None  # noqa: S101  # every way through the loop that does not return sets it
        raise failure

    def _begin(self, module: Module, *, production: bool) -> None:
        import pkcs11

        try:
            key = self._find(module)
        except pkcs11.PKCS11Error:
            # The library may have been initialised by an earlier KEK, and its device been away since.
            module.restart()
            key = self._find(module)
        _check(self._uri, key, production=production)
        self._kek_id = f"{SCHEME}-{_fingerprint(key)}"
        self._found = _Found(key, module.generation)
        secret, place = os.urandom(KEY_BYTES), b"authpipe trial"
        if _decrypt(key, _encrypt(key, secret, place), place) != secret:
            raise ConfigurationError(f"the key of {self._uri.text} does not give back what it wrapped")

    def _key(self, module: Module) -> HsmKey:
        if self._found is None or self._found.generation != module.generation:
            key = self._find(module)
            if f"{SCHEME}-{_fingerprint(key)}" != self._kek_id:
                raise ConfigurationError(f"another key has the place of {self._uri.text}")
            self._found = _Found(key, module.generation)
        return self._found.key

    def _find(self, module: Module) -> HsmKey:
        import pkcs11

        session = module.session(self._uri.token, self._uri.pin)
        wanted: dict[pkcs11.Attribute, object] = {pkcs11.Attribute.CLASS: pkcs11.ObjectClass.SECRET_KEY}
        if self._uri.label is not None:
            wanted[pkcs11.Attribute.LABEL] = self._uri.label
        if self._uri.key_id is not None:
            wanted[pkcs11.Attribute.ID] = self._uri.key_id
        found = [one for one in session.get_objects(wanted) if isinstance(one, pkcs11.SecretKey)]
        if len(found) != 1:
            how_many = f"{len(found)} secret keys; add id=" if found else "no secret key"
            raise ConfigurationError(f"in its token, {self._uri.text} names {how_many}")
        return found[0]

    def _is_ours(self, key: HsmKey) -> bool:
        import pkcs11

        try:
            return f"{SCHEME}-{_fingerprint(key)}" == self._kek_id
        except pkcs11.PKCS11Error:
            return False

    def __repr__(self) -> str:
        return f"Pkcs11Kek(uri={self.uri!r}, kek_id={self._kek_id!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Pkcs11Kek cannot be pickled or copied")


def _encrypt(key: HsmKey, plaintext: bytes, associated_data: bytes) -> bytes:
    from pkcs11 import GCMParams, Mechanism

    nonce = os.urandom(NONCE_BYTES)
    sealed: bytes = key.encrypt(
        plaintext,
        mechanism=Mechanism.AES_GCM,
        mechanism_param=GCMParams(nonce, associated_data, TAG_BYTES * 8),
    )
    return _FORMAT + nonce + sealed


def _decrypt(key: HsmKey, wrapped: bytes, associated_data: bytes) -> bytes:
    from pkcs11 import GCMParams, Mechanism

    nonce, sealed = wrapped[1 : 1 + NONCE_BYTES], wrapped[1 + NONCE_BYTES :]
    plaintext: bytes = key.decrypt(
        sealed,
        mechanism=Mechanism.AES_GCM,
        mechanism_param=GCMParams(nonce, associated_data, TAG_BYTES * 8),
    )
    return plaintext


def _fingerprint(key: HsmKey) -> str:
    from pkcs11 import Mechanism

    block: bytes = key.encrypt(_ID_BLOCK, mechanism=Mechanism.AES_ECB)
    return hashlib.sha256(b"authpipe key fingerprint 1\x00" + block).hexdigest()[:32]


def _check(uri: Pkcs11Uri, key: HsmKey, *, production: bool) -> None:
    from pkcs11 import Attribute, KeyType

    if key.key_type != KeyType.AES or key.key_length != KEY_BYTES * 8:
        raise ConfigurationError(f"the key of {uri.text} is no AES key of 256 bits; make another")
    if not key[Attribute.ENCRYPT] or not key[Attribute.DECRYPT]:
        raise ConfigurationError(
            f"the key of {uri.text} may not encrypt and decrypt (CKA_ENCRYPT, CKA_DECRYPT); make another"
        )
    if production and (not key[Attribute.SENSITIVE] or key[Attribute.EXTRACTABLE]):
        raise ConfigurationError(
            f"the key of {uri.text} can leave its HSM; make one with CKA_SENSITIVE true and "
            "CKA_EXTRACTABLE false"
        )


def _reason(error: pkcs11.PKCS11Error) -> str:
    import pkcs11

    told = type(error) in (pkcs11.PKCS11Error, pkcs11.NoSuchToken)
    return str(error) if told else type(error).__name__
