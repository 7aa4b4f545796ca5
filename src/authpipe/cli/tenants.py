"""``authpipe tenants``: the application's customers, and erasing one for good."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from authpipe.cli.administration import Tell, administer, administer_telling, origin
from authpipe.cli.documents import erasure_document, listed, tenant_document
from authpipe.cli.options import DEVELOPMENT, EnvironmentName, Json
from authpipe.cli.output import print_facts, print_json, print_table
from authpipe.domain.environment import Tenant
from authpipe.domain.erasure import Erasure, ErasureCertificate, ErasureStep
from authpipe.domain.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from authpipe.server.wiring import Rooms

_TOLD = {
    ErasureStep.API_KEYS: "ending its API keys",
    ErasureStep.CANDIDATES: "revoking what waits for completion",
    ErasureStep.CONNECTIONS: "revoking its connections",
    ErasureStep.INSTALLATIONS: "removing its installations",
    ErasureStep.KEYSET: "destroying its keyset",
    ErasureStep.ROWS: "removing its rows",
}


def add_to(app: typer.Typer) -> None:
    """Mount the group."""
    group = typer.Typer(no_args_is_help=True, help="The customers of the application.")
    group.command("list")(list_tenants)
    group.command("erase")(erase)
    app.add_typer(group, name="tenants", rich_help_panel="Administer")


def list_tenants(
    after: Annotated[str, typer.Option(metavar="ID", help="Only those whose ids sort after this one.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 100,
    environment: EnvironmentName = DEVELOPMENT,
    as_json: Json = False,
) -> None:
    """List tenants, in the order of their ids."""

    async def work(rooms: Rooms) -> list[Tenant]:
        found = await rooms.environments.by_name(environment)
        async with rooms.database.environment(found.environment_id) as transaction:
            return await transaction.tenants.page(found.environment_id, after=after, limit=limit)

    found = administer(work)
    if as_json:
        print_json(listed(tenant_document(each) for each in found))
        return
    print_table(
        ("Tenant", "Name", "Created", "Being erased since"),
        [(each.tenant_id, each.name, each.created_at, each.erasing_at) for each in found],
        empty=f"no tenant in {environment} yet",
    )


def erase(
    tenant: Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's id.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    environment: EnvironmentName = DEVELOPMENT,
    as_json: Json = False,
) -> None:
    """Revoke what a tenant connected, destroy its keys, remove its rows, and print the certificate.

    There is no way back.  An erasure that was interrupted goes on: run it again, or leave it to the worker.
    """
    if not yes:
        _confirm(tenant, environment)

    async def work(rooms: Rooms, tell: Tell) -> ErasureCertificate:
        from authpipe.connect.erase import UNHURRIED

        found = await rooms.environments.by_name(environment)
        try:
            return await rooms.connecting.tenant_erasure.erase(
                found.environment_id,
                tenant,
                origin=origin(),
                patience=UNHURRIED,
                progress=lambda erasure: tell(_told(erasure)),
            )
        except NotFound:
            raise NotFound(f"no such tenant in {environment}: see authpipe tenants list") from None

    certificate = administer_telling(work)
    if as_json:
        print_json(erasure_document(certificate))
        return
    counts = certificate.counts
    print_facts(
        {
            "Erased": certificate.tenant_id,
            "Environment": environment,
            "Connections": counts.connections,
            "Installations": counts.installations,
            "Credentials": counts.credentials,
            "Connect sessions": counts.connect_sessions,
            "Remembered answers": counts.remembered_answers,
            "API keys": counts.api_keys,
            "Data keys": counts.data_keys,
            "Revoked upstream": counts.revoked_upstream,
            "Left, as others stand on it": counts.left_shared,
            "Not revocable": counts.not_revocable,
            "Not revoked": counts.not_revoked,
            "Began": certificate.began_at,
            "Finished": certificate.finished_at,
            "Audit record": certificate.event_id,
        }
    )


def _confirm(tenant: str, environment: str) -> None:
    """Have the id typed, which nobody does by mistake.  Raises ``InvalidInput``."""
    if not sys.stdin.isatty():
        raise InvalidInput("erasing cannot be undone: give --yes to do it without being asked", field="--yes")
    typed: str = typer.prompt(
        f"This erases {tenant} of {environment} for good. Type the tenant's id to go on", err=True
    )
    if typed != tenant:
        raise InvalidInput("that is another id: nothing was erased", field="TENANT")


def _told(erasure: Erasure) -> str:
    counts = erasure.counts
    removed = counts.credentials + counts.connect_sessions + counts.connections + counts.installations
    looked_at = counts.revoked_upstream + counts.left_shared + counts.not_revocable + counts.not_revoked
    count = removed if erasure.step is ErasureStep.ROWS else looked_at
    return f"{_TOLD[erasure.step]} ({count} so far)"
