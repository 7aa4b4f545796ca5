"""What the definitions that come with Authpipe put into addresses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from authpipe.catalog.definition import ProviderDefinition, RequestTemplate
from authpipe.catalog.loader import load_catalog
from authpipe.catalog.placeholders import placeholders

_TOKENS = {"access_token", "refresh_token", "secret"}


def _requests(definition: ProviderDefinition) -> Iterator[tuple[str, RequestTemplate, frozenset[str]]]:
    for name, side in (("connection", definition.connection), ("installation", definition.installation)):
        if side is None:
            continue
        secrets = frozenset(field.name for field in side.key_fields if field.secret)
        yield f"{name}.probe", side.probe.request, secrets
        if side.revocation is not None:
            yield f"{name}.revocation", side.revocation, secrets
        if side.uninstall is not None:
            yield f"{name}.uninstall", side.uninstall, secrets
    if definition.app_credential is not None:
        yield "app_credential.probe", definition.app_credential.probe.request, frozenset()


@pytest.mark.parametrize("definition", load_catalog().all(), ids=lambda definition: definition.id)
def test_no_token_is_sent_in_an_address(definition: ProviderDefinition) -> None:
    """Addresses are kept in logs and histories (RFC 9700 section 4.3.2): tokens go in headers and bodies."""
    checked = 0
    for place, template, secrets in _requests(definition):
        checked += 1
        for text in (template.url, *template.query.values()):
            assert set(placeholders(text)).isdisjoint(_TOKENS | secrets), f"{definition.id}: {place}"
    assert checked
