"""One transaction and the repositories that work in it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from authpipe.store.attempts import Attempts
from authpipe.store.audit_chain import AuditChain
from authpipe.store.candidates import Candidates
from authpipe.store.connections import Connections
from authpipe.store.credentials import Credentials
from authpipe.store.environments import ApiKeys, Environments, Tenants
from authpipe.store.erasures import Erasures
from authpipe.store.events import Events
from authpipe.store.idempotency import IdempotencyKeys
from authpipe.store.installations import Installations
from authpipe.store.key_rotation import KeyRotation
from authpipe.store.keysets import DataKeys
from authpipe.store.lookups import Lookups
from authpipe.store.operators import Operators, OperatorSessions
from authpipe.store.payloads import Payloads
from authpipe.store.provider_configs import ProviderConfigs
from authpipe.store.sessions import Sessions
from authpipe.store.sign_ins import SignInAttempts, SignInSources

if TYPE_CHECKING:
    from authpipe.store.repository import Executor


class Transaction:
    """The repositories of every aggregate, all on one connection, committed or rolled back together."""

    def __init__(self, connection: Executor) -> None:
        self.connection = connection

    @cached_property
    def environments(self) -> Environments:
        """Environments."""
        return Environments(self.connection)

    @cached_property
    def api_keys(self) -> ApiKeys:
        """API keys of the environment."""
        return ApiKeys(self.connection)

    @cached_property
    def tenants(self) -> Tenants:
        """Tenants of the environment."""
        return Tenants(self.connection)

    @cached_property
    def provider_configs(self) -> ProviderConfigs:
        """Provider configs of the environment."""
        return ProviderConfigs(self.connection)

    @cached_property
    def connections(self) -> Connections:
        """Connections."""
        return Connections(self.connection)

    @cached_property
    def installations(self) -> Installations:
        """Installations and the claims that keep each with one tenant."""
        return Installations(self.connection)

    @cached_property
    def credentials(self) -> Credentials:
        """Credentials and their leases."""
        return Credentials(self.connection)

    @cached_property
    def lookups(self) -> Lookups:
        """What credential reads choose from."""
        return Lookups(self.connection)

    @cached_property
    def sessions(self) -> Sessions:
        """Connect sessions."""
        return Sessions(self.connection)

    @cached_property
    def attempts(self) -> Attempts:
        """Authorization attempts."""
        return Attempts(self.connection)

    @cached_property
    def candidates(self) -> Candidates:
        """Candidates."""
        return Candidates(self.connection)

    @cached_property
    def events(self) -> Events:
        """The event log."""
        return Events(self.connection)

    @cached_property
    def audit_chain(self) -> AuditChain:
        """Links and heads of the audit chain, for system-wide work."""
        return AuditChain(self.connection)

    @cached_property
    def erasures(self) -> Erasures:
        """Tenants that are being erased."""
        return Erasures(self.connection)

    @cached_property
    def idempotency_keys(self) -> IdempotencyKeys:
        """Answers remembered for retried requests."""
        return IdempotencyKeys(self.connection)

    @cached_property
    def key_rotation(self) -> KeyRotation:
        """Data keys by KEK, age and use."""
        return KeyRotation(self.connection)

    @cached_property
    def payloads(self) -> Payloads:
        """Ciphertexts of every table."""
        return Payloads(self.connection)

    @cached_property
    def data_keys(self) -> DataKeys:
        """Wrapped keys of the tenants' keysets."""
        return DataKeys(self.connection)

    @cached_property
    def operators(self) -> Operators:
        """People who sign in to the dashboard."""
        return Operators(self.connection)

    @cached_property
    def operator_sessions(self) -> OperatorSessions:
        """Browsers in which operators are signed in."""
        return OperatorSessions(self.connection)

    @cached_property
    def sign_in_attempts(self) -> SignInAttempts:
        """Runs of the redirect to the operators' OpenID provider."""
        return SignInAttempts(self.connection)

    @cached_property
    def sign_in_sources(self) -> SignInSources:
        """Where sign-ins were tried from lately."""
        return SignInSources(self.connection)
