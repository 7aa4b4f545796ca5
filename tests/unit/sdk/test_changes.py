"""Which cached entries a change concerns, and what a fetch under way makes of it."""

from __future__ import annotations

import pytest

from authpipe.sdk.changes import REMEMBERED, Change, KeyRefused, Owners, RecentChanges

KEY = ("discord", "org_acme", "user_123", "any", None, None, None)
NOTHING = dict.fromkeys(
    ("tenant_id", "provider", "user_id", "connection_id", "installation_id", "credential_id")
)
ITSELF = {"tenant_id": "org_acme", "provider": "discord", "user_id": "user_123", "connection_id": "c1"}


@pytest.mark.parametrize(
    ("kind", "told", "concerned"),
    [
        # the connection itself, whatever else it is told with
        ("connection.needs_reauth", ITSELF, True),
        ("connection.disconnected", ITSELF | {"installation_id": "i9", "credential_id": "k9"}, True),
        # another connection of the same user may now be the primary one
        ("connection.created", ITSELF | {"connection_id": "c2"}, True),
        # another user's
        ("connection.created", ITSELF | {"connection_id": "c2", "user_id": "user_b"}, False),
        # the tenant's own connection, and an installation
        ("connection.created", ITSELF | {"connection_id": "c2", "user_id": None}, True),
        ("installation.deleted", ITSELF | {"connection_id": None, "installation_id": "i2"}, True),
        # another tenant, another provider
        ("connection.needs_reauth", ITSELF | {"tenant_id": "org_b"}, False),
        ("connection.needs_reauth", ITSELF | {"provider": "slack"}, False),
        # a refresh is about one credential
        ("credential.refreshed", ITSELF | {"credential_id": "k1"}, True),
        ("credential.refreshed", ITSELF | {"credential_id": "k2"}, False),
        ("credential.refreshed", ITSELF | {"connection_id": "c2"}, False),
        ("credential.refreshed", ITSELF, True),
        # whole provider, whole tenant
        ("provider_config.updated", {"provider": "discord"}, True),
        ("provider_config.updated", {"provider": "slack"}, False),
        ("tenant.erased", {"tenant_id": "org_acme"}, True),
        ("tenant.erased", {"tenant_id": "org_b"}, False),
    ],
)  # fmt: skip
def test_a_change_concerns_what_it_names_and_what_it_may_resolve_to(make_credential, kind, told, concerned):
    """Never less than what is wrong, and not much more."""
    change = Change(type=kind, **(NOTHING | told))
    assert change.concerns(KEY, make_credential()) is concerned


def test_a_key_without_user_is_concerned_by_every_connection_of_the_tenant(make_credential):
    """It may resolve to any of them."""
    change = Change(type="connection.created", **(NOTHING | ITSELF | {"connection_id": "c2"}))
    assert change.concerns((*KEY[:2], None, *KEY[3:]), make_credential(connection_id="c3"))


def test_an_installation_concerns_everyone_whoever_installed_it(make_credential):
    """Its event may name the installing user."""
    told = ITSELF | {"connection_id": None, "installation_id": "i2", "user_id": "user_b"}
    assert Change(type="installation.deleted", **(NOTHING | told)).concerns(KEY, make_credential())


def test_a_user_of_an_installation_is_concerned_by_it(make_credential):
    """What stands under it goes with it."""
    told = ITSELF | {"connection_id": None, "installation_id": "i1", "user_id": None}
    assert Change(type="installation.deleted", **(NOTHING | told)).concerns(
        KEY, make_credential(installation_id="i1")
    )


def test_recent_changes_are_found_from_any_point_until_they_are_forgotten():
    """Beyond what is remembered the answer is unknown, not none."""
    recent = RecentChanges()
    first = recent.told
    for number in range(REMEMBERED):
        recent.add(Owners(frozenset({str(number)})))
    assert len(recent.since(first)) == REMEMBERED
    assert recent.since(recent.told) == []
    (last,) = recent.since(recent.told - 1)
    assert last == Owners(frozenset({str(REMEMBERED - 1)}))
    recent.add(KeyRefused())
    assert recent.since(first) is None
