"""The places of KEKs: files, moto's KMS over HTTP, SoftHSM2."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from authpipe.vault.keks.kek import Kek
from authpipe.vault.keks.uri import open_keks
from support.kek_places import FilePlace, HsmPlace, KekPlace, KmsPlace
from support.kms import CREDENTIALS, NOWHERE, REGION, Kms
from support.softhsm import SoftHsm, find_module

SCHEMES = ("local", "aws-kms", "pkcs11")


@pytest.fixture(scope="session")
def kms_server() -> Iterator[Kms]:
    kms = Kms()
    yield kms
    kms.stop()


@pytest.fixture
def aws_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials, and nothing else of this machine's own."""
    for name, value in {**NOWHERE, **CREDENTIALS}.items():
        monkeypatch.setenv(name, value)
    for name in ("PROFILE", "SESSION_TOKEN", "REGION", "DEFAULT_REGION", "ENDPOINT_URL", "ENDPOINT_URL_KMS"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    assert REGION


@pytest.fixture
def kms(kms_server: Kms, aws_environment: None) -> Kms:
    return kms_server


@pytest.fixture(scope="session")
def hsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftHsm]:
    """One for the whole process: the library reads its configuration once."""
    module = find_module()
    if module is None:
        pytest.skip("SoftHSM2 is not installed; run scripts/ensure_softhsm as root")
    hsm = SoftHsm(tmp_path_factory.mktemp("softhsm"), module)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(hsm.configuration))
        yield hsm


@pytest.fixture(params=SCHEMES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> KekPlace:
    """Each of the places."""
    if request.param == "local":
        return FilePlace(tmp_path)
    if request.param == "aws-kms":
        return KmsPlace(request.getfixturevalue("kms"))
    return HsmPlace(request.getfixturevalue("hsm"))


@pytest.fixture
def open_kek() -> Iterator[Callable[[str], Kek]]:
    """Opens a KEK as production does, and closes it after the test."""
    with ExitStack() as opened:

        def open_one(uri: str) -> Kek:
            ring = open_keks([uri], production=True)
            opened.callback(ring.close)
            return ring.primary

        yield open_one
