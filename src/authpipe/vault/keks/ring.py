"""The KEKs known to this process: one wraps what is new, all unwrap what is theirs."""

from __future__ import annotations

from collections.abc import Sequence

from authpipe.domain.errors import VaultError
from authpipe.vault.keks.kek import Kek


class KekRing:
    """``primary`` wraps new data keys; ``others`` still unwrap the keys they wrapped."""

    def __init__(self, primary: Kek, others: Sequence[Kek] = ()) -> None:
        self.primary = primary
        self._all = (primary, *others)
        self._by_id = {kek.kek_id: kek for kek in (*others, primary)}

    def find(self, kek_id: str) -> Kek:
        """The KEK of that id.  Raises ``VaultError`` naming it and the remedy when it is not configured."""
        kek = self._by_id.get(kek_id)
        if kek is None:
            known = ", ".join(f"{kek.kek_id} ({kek.uri})" for kek in self._by_id.values())
            raise VaultError(
                f"key-encryption key {kek_id} is missing; configure the URI of the KEK with this id, "
                "or put its original key file back",
                detail=f"known KEKs: {known}",
            )
        return kek

    def close(self) -> None:
        """Close every KEK."""
        for kek in self._all:
            kek.close()
