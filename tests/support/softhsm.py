"""An HSM in software: SoftHSM2 with tokens of its own, whose keys are made by other processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MODULE = "AUTHPIPE_TEST_PKCS11_MODULE"
PIN = "pin-canary-7351"
TOKENS = ("authpipe", "spare", "third")

_PLACES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so")

_WORK = """
import sys, pkcs11
from pkcs11 import Attribute, KeyType, ObjectClass
module, token, pin = sys.argv[1:4]
session = pkcs11.lib(module).get_token(token_label=token).open(rw=True, user_pin=pin)
"""
_MAKE = """
label, bits, value, allowed = sys.argv[4], int(sys.argv[5]), bytes.fromhex(sys.argv[6]), eval(sys.argv[7])
template = {
    Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.AES, Attribute.TOKEN: True,
    Attribute.LABEL: label, Attribute.PRIVATE: True, Attribute.ENCRYPT: True, Attribute.DECRYPT: True,
    Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False,
    **{getattr(Attribute, name): value for name, value in allowed.items()},
}
if value:
    session.create_object({**template, Attribute.VALUE: value})
else:
    del template[Attribute.CLASS], template[Attribute.KEY_TYPE], template[Attribute.TOKEN]
    session.generate_key(KeyType.AES, bits, store=True, template=template)
"""
_DESTROY = """
for key in list(session.get_objects({Attribute.LABEL: sys.argv[4]})):
    key.destroy()
"""
_NEW_PIN = """
session.set_pin(pin, sys.argv[4])
"""


def find_module() -> str | None:
    """The library: what `make test` found or installed, or what is there anyway."""
    for path in (os.environ.get(MODULE), *_PLACES):
        if path and Path(path).exists() and shutil.which("softhsm2-util"):
            return path
    return None


class SoftHsm:
    """Tokens in a directory.  SOFTHSM2_CONF must name ``configuration`` when a process loads the library."""

    def __init__(self, directory: Path, module: str) -> None:
        self.module = module
        self.tokens = directory / "tokens"
        self.configuration = directory / "softhsm2.conf"
        self.tokens.mkdir()
        self.configuration.write_text(
            f"directories.tokendir = {self.tokens}\nobjectstore.backend = file\nlog.level = ERROR\n"
        )
        self._made = 0
        for label in TOKENS:
            self._run(
                "softhsm2-util",
                "--init-token",
                "--free",
                "--label",
                label,
                "--so-pin",
                "87654321",
                "--pin",
                PIN,
            )

    def make_key(
        self,
        label: str | None = None,
        *,
        token: str = TOKENS[0],
        bits: int = 256,
        value: bytes = b"",
        pin: str = PIN,
        **allowed: bool,
    ) -> str:
        """Make a key, from ``value`` when it is given, and return its label.  ``allowed`` are attributes."""
        if label is None:
            self._made += 1
            label = f"kek {self._made}"
        self._python(_MAKE, token, pin, label, str(bits), value.hex(), repr(allowed))
        return label

    def destroy_key(self, label: str, *, token: str = TOKENS[0]) -> None:
        self._python(_DESTROY, token, PIN, label)

    def change_pin(self, old: str, new: str, *, token: str) -> None:
        self._python(_NEW_PIN, token, old, new)

    def uri(self, label: str, *, token: str = TOKENS[0], pin: str = f"pin-value={PIN}") -> str:
        return f"pkcs11:token={token};object={label.replace(' ', '%20')}?module-path={self.module}&{pin}"

    @contextmanager
    def away(self) -> Iterator[None]:
        """The device is unplugged."""
        elsewhere = self.tokens.with_name("unplugged")
        self.tokens.rename(elsewhere)
        try:
            yield
        finally:
            elsewhere.rename(self.tokens)

    def python(self, script: str, *arguments: str) -> str:
        """Run a program that uses the tokens in a process of its own."""
        return self._run(sys.executable, "-c", script, *arguments)

    def _python(self, work: str, token: str, pin: str, *arguments: str) -> None:
        self.python(_WORK + work, self.module, token, pin, *arguments)

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "SOFTHSM2_CONF": str(self.configuration)},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout
