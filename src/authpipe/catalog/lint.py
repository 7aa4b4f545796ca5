"""Looks over a definition: what cannot work, and what people would rather read otherwise."""

from __future__ import annotations

from collections.abc import Iterator

from authpipe.catalog.contradictions import contradictions
from authpipe.catalog.definition import ProviderDefinition, SideName
from authpipe.catalog.finding import Finding, Severity

_LONGEST_LINE = 160


def lint(definition: ProviderDefinition) -> list[Finding]:
    """Errors first (the loader refuses a file for the same ones), then advice."""
    return [*contradictions(definition), *_advice(definition)]


def _advice(definition: ProviderDefinition) -> Iterator[Finding]:
    yield from _phrase(definition.description, "description")
    for position, scope in enumerate(definition.scopes):
        yield from _phrase(scope.meaning, f"scopes[{position}].meaning")
    for name in SideName:
        side = definition.side(name)
        if side is None:
            continue
        for position, parameter in enumerate(side.parameters):
            yield from _phrase(parameter.meaning, f"{name.value}.parameters[{position}].meaning")
        for position, field in enumerate(side.key_fields):
            if field.secret and field.placeholder is not None:
                key = f"{name.value}.key_fields[{position}].placeholder"
                yield _advise(key, "looks like a secret in a form; leave it out")
    for position, step in enumerate(definition.setup):
        if step.title.endswith("."):
            yield _advise(f"setup[{position}].title", "is a title; drop the period")
        if "\n" in step.text:
            yield _advise(f"setup[{position}].text", "is one paragraph; make further steps of the rest")
    if not definition.setup:
        yield _advise("setup", "tells the developer nothing; describe the way to the first connect session")
    elif definition.oauth is not None and not any(
        "redirect uri" in step.text.lower() for step in definition.setup
    ):
        yield _advise("setup", "never says where the redirect URI goes")
    if definition.api_base_url.endswith("/"):
        yield _advise("api_base_url", "ends with a slash, which doubles when a path follows; drop it")


def _phrase(text: str, key: str) -> Iterator[Finding]:
    if "\n" in text:
        yield _advise(key, "must be one line")
    elif len(text) > _LONGEST_LINE:
        yield _advise(key, f"is longer than {_LONGEST_LINE} characters; say it in one short line")
    if text.endswith("."):
        yield _advise(key, "is a phrase; drop the period")


def _advise(key: str, message: str) -> Finding:
    return Finding(key=key, message=message, severity=Severity.ADVICE)
