"""``authpipe keys status``: which key wraps what, and what is still to do."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from authpipe.cli.administration import administer
from authpipe.cli.failures import FAILED
from authpipe.cli.options import Json
from authpipe.cli.output import print_json, print_line, print_table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from authpipe.server.wiring import Rooms
    from authpipe.store.keyset_status import KeysetStatus


def status(
    environment: Annotated[
        str | None, typer.Option("--environment", "-e", metavar="NAME", help="Of one environment alone.")
    ] = None,
    tenant: Annotated[str | None, typer.Option(metavar="ID", help="Of one tenant alone.")] = None,
    show_all: Annotated[
        bool, typer.Option("--all", help="Every keyset, not only those with something to do.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="End with exit code 1 unless it is clean.")] = False,
    as_json: Json = False,
) -> None:
    """Show which KEK wraps the keysets, how old their keys are, and what is still under old ones.

    Clean: the first KEK of AUTHPIPE_KEKS wraps every key, and every secret is under its keyset's primary.
    """

    async def work(rooms: Rooms) -> _Overview:
        from authpipe.domain.errors import VaultError
        from authpipe.store.keyset_status import keyset_statuses

        environment_id = None
        if environment is not None:
            environment_id = (await rooms.environments.by_name(environment)).environment_id
        found = await keyset_statuses(rooms.database, environment_id=environment_id, tenant_id=tenant)
        keks = rooms.rotating.keks
        counts = Counter(kek_id for each in found for kek_id in each.kek_ids)
        uris: dict[str, str | None] = {keks.primary.kek_id: keks.primary.uri}
        for kek_id in counts:
            try:
                uris[kek_id] = keks.find(kek_id).uri
            except VaultError:
                uris[kek_id] = None
        return _Overview(found, keks.primary.kek_id, counts, uris, rooms.clock.now())

    overview = administer(work)
    if as_json:
        print_json(overview.document(show_all=show_all))
    else:
        overview.print(show_all=show_all, chosen=environment is not None or tenant is not None)
    if check and not overview.is_clean:
        raise typer.Exit(FAILED)


@dataclass(frozen=True)
class _Overview:
    keysets: list[KeysetStatus]
    primary_kek_id: str
    keys_by_kek: Counter[str]
    uris: dict[str, str | None]
    now: datetime

    @property
    def keys_elsewhere(self) -> int:
        return self.keys_by_kek.total() - self.keys_by_kek[self.primary_kek_id]

    @property
    def under_retired_keys(self) -> int:
        return sum(each.under_retired_keys for each in self.keysets)

    @property
    def lost(self) -> int:
        return sum(each.lost for each in self.keysets)

    @property
    def is_clean(self) -> bool:
        return not (self.keys_elsewhere or self.under_retired_keys or self.lost)

    def unfinished(self) -> Iterator[KeysetStatus]:
        for each in self.keysets:
            if each.keys_not_under(self.primary_kek_id) or each.under_retired_keys or each.lost:
                yield each

    def document(self, *, show_all: bool) -> dict[str, Any]:
        return {
            "object": "keys_status",
            "clean": self.is_clean,
            "primary_kek_id": self.primary_kek_id,
            "keysets": len(self.keysets),
            "keks": [
                {
                    "kek_id": kek_id,
                    "uri": uri,
                    "is_primary": kek_id == self.primary_kek_id,
                    "is_known": uri is not None,
                    "keys": self.keys_by_kek[kek_id],
                }
                for kek_id, uri in self.uris.items()
            ],
            "keys_not_under_primary_kek": self.keys_elsewhere,
            "payloads_under_old_keys": self.under_retired_keys,
            "payloads_without_key": self.lost,
            "data": [self._keyset(each) for each in (self.keysets if show_all else self.unfinished())],
        }

    def _keyset(self, each: KeysetStatus) -> dict[str, Any]:
        return {
            "environment": each.environment,
            "environment_id": each.owner.environment_id,
            "tenant_id": each.owner.tenant_id,
            "kek_id": each.kek_id,
            "kek_uri": None if each.kek_id is None else self.uris[each.kek_id],
            "primary_created_at": each.primary_created_at,
            "encryptions": each.encryptions,
            "keys": len(each.kek_ids),
            "keys_not_under_primary_kek": each.keys_not_under(self.primary_kek_id),
            "payloads_under_old_keys": each.under_retired_keys,
            "payloads_without_key": each.lost,
        }

    def print(self, *, show_all: bool, chosen: bool) -> None:
        shown = self.keysets if show_all or chosen else list(self.unfinished())
        if shown:
            print_table(
                ("Keyset", "Environment", "KEK", "Age", "Encryptions", "Keys", "Under old keys"),
                [self._row(each) for each in shown],
                empty="",
            )
            print_line("")
        print_line(f"{len(self.keysets):,} keysets, {self.keys_by_kek.total():,} keys")
        for kek_id, uri in self.uris.items():
            where = "not configured here" if uri is None else uri
            if kek_id == self.primary_kek_id:
                where += ", primary"
            print_line(f"  {self.keys_by_kek[kek_id]:,} under {kek_id} ({where})")
        print_line(f"{self.under_retired_keys:,} secrets under old keys")
        for line in self._advice():
            print_line(line)

    def _row(self, each: KeysetStatus) -> tuple[object, ...]:
        age = None if each.primary_created_at is None else f"{(self.now - each.primary_created_at).days} d"
        kek = None if each.kek_id is None else self.uris[each.kek_id] or each.kek_id
        return (
            each.owner.tenant_id or ("(workspace)" if each.is_workspace else "(environment)"),
            each.environment,
            kek,
            age,
            f"{each.encryptions:,}",
            len(each.kek_ids),
            f"{each.under_retired_keys + each.lost:,}",
        )

    def _advice(self) -> Iterator[str]:
        if self.is_clean:
            yield "clean"
        if self.keys_elsewhere:
            yield f"{self.keys_elsewhere:,} keys are not under the primary KEK: authpipe keys rotate-kek"
        if self.under_retired_keys:
            yield f"a worker re-encrypts them; so does, at once: {_command(next(self._behind()))}"
        if self.lost:
            yield f"{self.lost:,} secrets name a key that does not exist: nobody can read them"

    def _behind(self) -> Iterator[KeysetStatus]:
        return (each for each in self.keysets if each.under_retired_keys)


def _command(each: KeysetStatus) -> str:
    if each.is_workspace:
        return "authpipe keys rotate-workspace"
    if each.owner.tenant_id is None:
        return f"authpipe keys rotate-environment -e {each.environment}"
    return f"authpipe keys rotate-tenant {each.owner.tenant_id} -e {each.environment}"
