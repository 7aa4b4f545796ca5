"""``authpipe connect``: the whole connect flow from a terminal, with the person's own browser."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from authpipe.cli.development_environment import CONNECT_PORT
from authpipe.cli.options import Json
from authpipe.cli.output import print_facts, print_json

if TYPE_CHECKING:
    from authpipe.sdk.objects import Connection, ConnectSession, Installation


def add_to(app: typer.Typer) -> None:
    """Mount the command."""
    app.command("connect", rich_help_panel="Try it")(connect)


def connect(
    provider: Annotated[str, typer.Argument(help="The provider's id.")],
    tenant: Annotated[str, typer.Option(metavar="ID", help="For which tenant.")],
    user: Annotated[str | None, typer.Option(metavar="ID", help="For which of its users.")] = None,
    install: Annotated[
        bool, typer.Option("--install", help="Make an installation instead of a connection.")
    ] = False,
    scope: Annotated[
        list[str] | None, typer.Option(metavar="SCOPE", help="Instead of the configured ones.  Repeatable.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="To tell several apart.")] = None,
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Where to wait for the browser, on 127.0.0.1.")
    ] = CONNECT_PORT,
    browser: Annotated[bool, typer.Option(help="Open the link in the browser of this machine.")] = True,
    as_json: Json = False,
) -> None:
    """Connect an account: make a connect session, wait for the browser to come back, and complete.

    AUTHPIPE_URL and AUTHPIPE_API_KEY say where and with which key.  The environment must allow
    http://127.0.0.1:PORT/* as a return URL; the one that init and dev make allows port 8710.
    """
    from authpipe.cli.browser_return import BrowserReturn
    from authpipe.sdk.client import Authpipe

    with BrowserReturn(port) as waiting, Authpipe() as authpipe:
        session = authpipe.connect_sessions.create(
            provider=provider,
            tenant_id=tenant,
            user_id=user,
            kind="installation" if install else "connection",
            return_url=waiting.url,
            scopes=scope,
            label=label,
        )
        _invite(session.url or "", open_it=browser)
        code = waiting.completion_code(session.id)
        done = authpipe.connect_sessions.complete(
            session.id, completion_code=code, tenant_id=tenant, user_id=user
        )
    made = done.installation or done.connection
    if as_json:
        print_json({"object": "connect_session", "id": done.id, "status": done.status, **_made(done)})
    elif made is not None:
        print_facts(_facts(made))


def _invite(url: str, *, open_it: bool) -> None:
    # On standard error: the link is a permission, and standard output may go to a file.
    sys.stderr.write(f"Open this link within 10 minutes:\n  {url}\nWaiting for the browser to come back …\n")
    sys.stderr.flush()
    if open_it and sys.stderr.isatty():
        import webbrowser

        webbrowser.open(url)


def _made(session: ConnectSession) -> dict[str, Any]:
    from dataclasses import fields

    found: dict[str, Any] = {}
    for name, made in (("connection", session.connection), ("installation", session.installation)):
        found[name] = made and {field.name: getattr(made, field.name) for field in fields(made)}
    return found


def _facts(made: Connection | Installation) -> dict[str, object]:
    from authpipe.sdk.objects import Installation

    if isinstance(made, Installation):
        facts: dict[str, object] = {
            "Installation": made.id,
            "Workspace": made.external_name or made.external_id,
        }
    else:
        facts = {
            "Connection": made.id,
            "Account": made.account_name or made.account_id,
            "User": made.user_id,
            "Under installation": made.installation_id,
        }
    return {**facts, "Provider": made.provider, "Tenant": made.tenant_id, "Status": made.status}
