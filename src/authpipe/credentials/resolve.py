"""Which connection or installation a caller means: pure choice among the rows that match."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from authpipe.domain.credential import CredentialFor
from authpipe.domain.errors import AmbiguousConnection, NotConnected


class Row(Protocol):
    """A database row: a value by column name."""

    def __getitem__(self, key: str) -> Any:
        """The value of a column."""
        ...


def choose(rows: Sequence[Row], *, credential_for: CredentialFor, provider: str) -> Row:
    """The one row to answer with.

    The user's own connection comes before the tenant's, and with ``any`` both before the installation.
    Among several of the same rank the primary one wins, then the only usable one.  Raises ``NotConnected``
    or, when the choice is the caller's to make, ``AmbiguousConnection``.
    """
    ranks: list[list[Row]] = [[], [], []]
    for row in rows:
        if row["owner_kind"] == "installation":
            ranks[2].append(row)
        elif row["user_id"] is None:
            ranks[1].append(row)
        else:
            ranks[0].append(row)
    for rank in ranks:
        if rank:
            return _pick(rank)
    wanted = {
        CredentialFor.ANY: f"{provider} is not connected",
        CredentialFor.USER: f"{provider} is not connected for this user",
        CredentialFor.INSTALLATION: f"{provider} is not installed",
    }[credential_for]
    raise NotConnected(f"{wanted} in this tenant: start a connect session")


def _pick(rows: Sequence[Row]) -> Row:
    if len(rows) == 1:
        return rows[0]
    primary = [row for row in rows if row["is_primary"]]
    if len(primary) == 1:
        return primary[0]
    active = [row for row in rows if row["status"] == "active"]
    if len(active) == 1:
        return active[0]
    raise AmbiguousConnection(
        f"{len(rows)} {rows[0]['owner_kind']}s match: "
        "name one by label or installation_id, or mark one primary",
        candidates=[_candidate(row) for row in active or rows],
    )


def _candidate(row: Row) -> dict[str, Any]:
    kind = row["owner_kind"]
    return {
        f"{kind}_id": str(row["owner_id"]),
        "label": row["label"],
        "account_name": row["account_name"],
        "is_primary": row["is_primary"],
        "status": row["status"],
    }
