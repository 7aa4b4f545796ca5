"""Where the KEKs of the behaviour suite are kept: the same few things done to a file, a KMS and an HSM."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from authpipe.vault.keks.local import LocalKek
from support.kms import CREDENTIALS, Kms
from support.softhsm import PIN, SoftHsm


class KekPlace(Protocol):
    """A place that makes keys, and tells by which URI they are opened."""

    scheme: str
    #: What no message may show.
    secrets: tuple[str, ...]

    def make(self) -> str:
        """The URI of a new key."""
        ...

    def elsewhere(self) -> tuple[str, str]:
        """Two URIs of one key that name two places."""
        ...


class PlaceThatCanBeAway(KekPlace, Protocol):
    """One that is reached over a wire."""

    def away(self) -> AbstractContextManager[None]:
        """Unreachable inside the block."""
        ...


class FilePlace:
    """Key files."""

    scheme = "local"
    secrets = ()

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._made = 0

    def make(self) -> str:
        self._made += 1
        return LocalKek.create(self._directory / f"kek-{self._made}").uri

    def elsewhere(self) -> tuple[str, str]:
        uri = self.make()
        path = Path(uri.partition(":")[2])
        other = path.with_name(f"{path.name}-moved")
        other.write_bytes(path.read_bytes())
        other.chmod(0o600)
        return uri, f"local:{other}"


class KmsPlace:
    """Keys at AWS KMS."""

    scheme = "aws-kms"
    secrets = (CREDENTIALS["AWS_SECRET_ACCESS_KEY"],)

    def __init__(self, kms: Kms) -> None:
        self._kms = kms
        self.away = kms.away

    def make(self) -> str:
        return self._kms.uri(self._kms.make_key())

    def elsewhere(self) -> tuple[str, str]:
        arn, name = self._kms.make_key(), f"alias/authpipe-{os.urandom(4).hex()}"
        self._kms.client().create_alias(AliasName=name, TargetKeyId=arn)
        return self._kms.uri(arn), self._kms.uri(name, region=arn.split(":")[3])


class HsmPlace:
    """Keys in an HSM."""

    scheme = "pkcs11"
    secrets = (PIN,)

    def __init__(self, hsm: SoftHsm) -> None:
        self._hsm = hsm
        self.away = hsm.away

    def make(self) -> str:
        return self._hsm.uri(self._hsm.make_key())

    def elsewhere(self) -> tuple[str, str]:
        value = os.urandom(32)
        here = self._hsm.make_key(value=value)
        there = self._hsm.make_key(token="spare", value=value)
        return self._hsm.uri(here), self._hsm.uri(there, token="spare")
