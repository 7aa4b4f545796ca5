"""``authpipe providers``: the catalog."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from authpipe.cli.documents import listed, provider_document
from authpipe.cli.failures import FAILED
from authpipe.cli.options import Json
from authpipe.cli.output import console, print_facts, print_json, print_line, print_table

if TYPE_CHECKING:
    from authpipe.catalog.definition import ProviderDefinition


def add_to(app: typer.Typer) -> None:
    """Mount the group."""
    group = typer.Typer(no_args_is_help=True, help="The third-party services Authpipe knows.")
    group.command("list")(list_providers)
    group.command("show")(show)
    group.command("lint")(lint)
    app.add_typer(group, name="providers", rich_help_panel="Look things up")


def list_providers(
    search: Annotated[str | None, typer.Option(metavar="WORDS", help="Those that have all words.")] = None,
    category: Annotated[str | None, typer.Option(help="Those of one category.")] = None,
    as_json: Json = False,
) -> None:
    """List the providers."""
    from authpipe.catalog.loader import load_catalog

    found = load_catalog().search(search, category)
    if as_json:
        print_json(listed(provider_document(each) for each in found))
        return
    print_table(
        ("Provider", "Name", "Auth model", "Category", "What for"),
        [(each.id, each.name, each.auth_model.label, each.category, each.description) for each in found],
        empty="no provider matches",
    )


def show(provider: str, as_json: Json = False) -> None:
    """Show how a provider works, its scopes, and how to set it up."""
    from authpipe.catalog.loader import load_catalog

    definition = load_catalog().get(provider)
    if as_json:
        print_json(provider_document(definition))
        return
    print_facts(
        {
            "Provider": definition.id,
            "Name": definition.name,
            "What for": definition.description,
            "Auth model": definition.auth_model.label,
            "API": definition.api_base_url,
            "Documentation": definition.docs_url,
        }
    )
    if definition.scopes:
        print_line("")
        print_table(
            ("Scope", "For", "Asked for", "Meaning"),
            [
                (scope.name, sorted(scope.sides), _asked(scope.default, scope.required), scope.meaning)
                for scope in definition.scopes
            ],
            empty="",
        )
    _print_setup(definition)


def _asked(default: bool, required: bool) -> str:
    return "always" if required else "by default" if default else "on request"


def _print_setup(definition: ProviderDefinition) -> None:
    out = console()
    for heading, lines in (
        ("Set-up", [f"{step.title}: {step.text}" for step in definition.setup]),
        ("Good to know", list(definition.notes)),
    ):
        if lines:
            out.print(f"\n[bold]{heading}[/]")
        for number, line in enumerate(lines, 1):
            out.print(f"{number}. {line}", markup=False)


def lint(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE]...", help="Definitions to check.  Default: those of the catalog."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check definitions: errors keep one from loading, advice does not.  Exit code 1 with any error."""
    found = [finding for path in files or _own_definitions() for finding in _findings(path)]
    failed = any(finding["severity"] == "error" for finding in found)
    if as_json:
        print_json(listed(found))
    elif not found:
        print_line("nothing to say")
    else:
        for finding in found:
            print_line(f"{finding['severity']}: {finding['message']}")
    if failed:
        raise typer.Exit(FAILED)


def _own_definitions() -> list[Path]:
    from importlib.resources import files

    place = files("authpipe.catalog") / "providers"
    return sorted(Path(str(each)) for each in place.iterdir() if each.name.endswith(".toml"))


def _findings(path: Path) -> list[dict[str, Any]]:
    from authpipe.catalog.lint import lint as advice
    from authpipe.catalog.loader import read_definition
    from authpipe.domain.errors import ConfigurationError

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(f"cannot read {path}: {reason}") from None
    try:
        definition = read_definition(path.name, text)
    except ConfigurationError as error:
        return [
            {"file": str(path), "severity": "error", "message": line} for line in error.message.splitlines()
        ]
    return [
        {
            "file": str(path),
            "severity": finding.severity.value,
            "message": f"{path.name}: {finding.key}: {finding.message}",
        }
        for finding in advice(definition)
    ]
