"""Which operator an account of the OpenID provider is."""

from __future__ import annotations

from dataclasses import replace

from authpipe.access.oidc_id_token import Identity
from authpipe.access.oidc_provider import OidcRegistration
from authpipe.access.operators import add_in, normal_email, normal_name
from authpipe.access.sign_in_refused import SignInReason, SignInRefused
from authpipe.domain.access import Operator
from authpipe.domain.clock import Clock
from authpipe.domain.environment import WORKSPACE_ID
from authpipe.domain.errors import InvalidInput
from authpipe.domain.event import ActorKind, Origin
from authpipe.events.record import record
from authpipe.events.types import EventType
from authpipe.store.database import Database
from authpipe.store.transaction import Transaction


class OidcOperators:
    """Takes operators that were added before: by their verified email once, by issuer and subject ever after.

    An operator who is bound is never matched by email again, so whoever gets that email at the provider
    later does not get the operator.
    """

    def __init__(self, registration: OidcRegistration, *, database: Database, clock: Clock) -> None:
        self._registration = registration
        self._database = database
        self._clock = clock

    async def bound(self, identity: Identity) -> Operator | None:
        """The operator of this very account, whatever its email is by now."""
        async with self._database.system() as transaction:
            return await transaction.operators.by_subject(identity.issuer, identity.subject)

    async def by_email(self, identity: Identity, *, origin: Origin) -> Operator:
        """The operator of the verified email, bound from now on; or a new one where that is allowed.

        Raises ``SignInRefused``: ``email_unverified`` or ``operator_unknown``.
        """
        if identity.email is None:
            raise SignInRefused(
                SignInReason.EMAIL_UNVERIFIED,
                "The identity provider does not say that your email is verified, so you are not taken at it.",
            )
        try:
            email = normal_email(identity.email)
        except InvalidInput:
            raise unknown_operator() from None
        async with self._database.system() as transaction:
            operator = await transaction.operators.by_email(email)
            if operator is None:
                return await self._added(transaction, identity, email, origin)
            if operator.disabled_at is not None:
                raise unknown_operator()
            now = self._clock.now()
            if not await transaction.operators.bind(
                operator.operator_id, issuer=identity.issuer, subject=identity.subject, at=now
            ):
                # Somebody had this email before, under another account of the provider.
                raise unknown_operator()
            await record(
                transaction,
                EventType.OPERATOR_UPDATED,
                environment_id=WORKSPACE_ID,
                tenant_id=None,
                object_kind="operator",
                object_id=operator.operator_id,
                origin=_acting(operator, origin),
                at=now,
                data={"oidc_issuer": identity.issuer},
            )
            return operator

    async def _added(
        self, transaction: Transaction, identity: Identity, email: str, origin: Origin
    ) -> Operator:
        registration = self._registration
        domain = email.rpartition("@")[2]
        if registration.new_operators is None or domain not in registration.domains:
            raise unknown_operator()
        try:
            name = normal_name(identity.name)
        except InvalidInput:
            name = None
        operator = await add_in(
            transaction,
            email,
            role=registration.new_operators,
            name=name,
            oidc=(identity.issuer, identity.subject),
            origin=replace(origin, actor_kind=ActorKind.BROWSER),
            at=self._clock.now(),
        )
        if operator is None:
            raise unknown_operator()
        return operator


def unknown_operator() -> SignInRefused:
    """One text for those who were never added, are disabled, or whose email is another account's."""
    return SignInRefused(
        SignInReason.OPERATOR_UNKNOWN,
        "You are signed in there, but not an operator here. Ask an owner to add your email.",
    )


def _acting(operator: Operator, origin: Origin) -> Origin:
    return replace(origin, actor_kind=ActorKind.OPERATOR, actor_id=str(operator.operator_id))
