"""``/v1/providers``: the catalog of what can be connected."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import ConfigDict, Field

from authpipe.api import examples
from authpipe.api.caller import ServicesDep
from authpipe.api.documented import problems
from authpipe.api.fields import Answer
from authpipe.api.lists import Page, Paging, bad_cursor, cut, place_of
from authpipe.api.rules import Reach, rule
from authpipe.catalog.definition import AuthModel, ProviderDefinition, RefreshPolicy, Side, SideName
from authpipe.domain.access import ApiKeyRole
from authpipe.domain.credential import CredentialKind
from authpipe.domain.provider_config import Attachment

router = APIRouter(prefix="/v1/providers", tags=["Providers"])


class ProviderObject(Answer):
    """A third-party service that can be connected."""

    model_config = ConfigDict(json_schema_extra=examples.shown(examples.PROVIDER_SUMMARY))

    object: Literal["provider"] = "provider"
    id: str
    name: str
    description: str
    category: str
    auth_model: AuthModel
    auth_model_label: str
    kinds: list[SideName] = Field(description="What connect sessions can make there.")
    docs_url: str


class ScopeObject(Answer):
    """A permission, with one line for the person who grants it."""

    name: str
    meaning: str
    kinds: list[SideName] = Field(description="Where it may be asked for; empty: in no authorization.")
    default: bool
    required: bool
    note: str | None


class KeyFieldObject(Answer):
    """A part of a key that a person enters."""

    name: str
    label: str
    secret: bool
    help: str
    pattern: str | None
    placeholder: str | None


class ParameterObject(Answer):
    """What an operator may set in a provider config's `parameters`."""

    name: str
    meaning: str
    pattern: str
    default: str | None


class SideObject(Answer):
    """How connections, or installations, work at the provider."""

    credential: CredentialKind
    refreshes: bool
    key_fields: list[KeyFieldObject]
    parameters: list[ParameterObject]
    requires_installation: bool


class AppCredentialObject(Answer):
    """The app's own secret that a provider config holds as `app_credential`."""

    name: str
    label: str
    help: str


class SetupStepObject(Answer):
    """One thing to do in the provider's console."""

    title: str
    text: str


class ProviderDetail(ProviderObject):
    """Everything that is known of a provider and concerns its users."""

    model_config = ConfigDict(json_schema_extra=examples.shown(examples.PROVIDER_DETAIL))

    api_base_url: str
    default_attachment: Attachment
    needs_client: bool = Field(description="Whether a provider config needs `client_id`.")
    authorize_url: str | None
    token_url: str | None
    scopes: list[ScopeObject]
    connection: SideObject | None
    installation: SideObject | None
    app_credential: AppCredentialObject | None
    setup: list[SetupStepObject]
    notes: list[str]


class ProviderList(Page[ProviderObject]):
    """One page of providers."""

    model_config = ConfigDict(json_schema_extra=examples.shown(examples.page_of(examples.PROVIDER_SUMMARY)))


class CategoryObject(Answer):
    """A category and how many providers it has."""

    model_config = ConfigDict(json_schema_extra=examples.shown(examples.CATEGORY))

    object: Literal["provider_category"] = "provider_category"
    id: str
    providers: int


class CategoryList(Page[CategoryObject]):
    """Every category, by name."""

    model_config = ConfigDict(
        json_schema_extra=examples.shown(examples.page_of(examples.CATEGORY, more=False))
    )


class ProviderQuery(Paging):
    """What to look for."""

    q: str | None = Field(None, max_length=200, description="Words that must all occur.")
    category: str | None = Field(None, max_length=100)


def _summary(definition: ProviderDefinition) -> dict[str, object]:
    return {
        "id": definition.id,
        "name": definition.name,
        "description": definition.description,
        "category": definition.category,
        "auth_model": definition.auth_model,
        "auth_model_label": definition.auth_model.label,
        "kinds": [name for name in SideName if definition.side(name) is not None],
        "docs_url": definition.docs_url,
    }


def _side(side: Side | None) -> SideObject | None:
    if side is None:
        return None
    return SideObject(
        credential=side.credential,
        refreshes=side.refresh is not RefreshPolicy.NONE,
        key_fields=[
            KeyFieldObject(
                name=field.name,
                label=field.label,
                secret=field.secret,
                help=field.help,
                pattern=field.pattern,
                placeholder=field.placeholder,
            )
            for field in side.key_fields
        ],
        parameters=[
            ParameterObject(
                name=parameter.name,
                meaning=parameter.meaning,
                pattern=parameter.pattern,
                default=parameter.default,
            )
            for parameter in side.parameters
        ],
        requires_installation=side.requires_installation,
    )


def _detail(definition: ProviderDefinition) -> ProviderDetail:
    app, oauth = definition.app_credential, definition.oauth
    return ProviderDetail.model_validate(
        {
            **_summary(definition),
            "api_base_url": definition.api_base_url,
            "default_attachment": definition.default_attachment,
            "needs_client": oauth is not None,
            "authorize_url": None if oauth is None else oauth.authorize_url,
            "token_url": None if oauth is None else oauth.token_url,
            "scopes": [
                ScopeObject(
                    name=scope.name,
                    meaning=scope.meaning,
                    kinds=sorted(scope.sides),
                    default=scope.default,
                    required=scope.required,
                    note=scope.note,
                )
                for scope in definition.scopes
            ],
            "connection": _side(definition.connection),
            "installation": _side(definition.installation),
            "app_credential": None
            if app is None
            else AppCredentialObject(name=app.name, label=app.label, help=app.help),
            "setup": [SetupStepObject(title=step.title, text=step.text) for step in definition.setup],
            "notes": list(definition.notes),
        }
    )


@router.get("", operation_id="list_providers", responses=problems(), **rule(ApiKeyRole.VIEWER, Reach.TENANT))
async def list_providers(services: ServicesDep, query: Annotated[ProviderQuery, Query()]) -> ProviderList:
    """List and search providers; matches at the beginning of a name come first, then by name."""
    found = services.catalog.search(query.q, query.category)
    after = place_of(query.cursor)
    if after is not None:
        ids = [definition.id for definition in found]
        if after not in ids:
            raise bad_cursor()
        found = found[ids.index(after) + 1 :]
    page, following = cut(found, query.limit, lambda definition: definition.id)
    return ProviderList(
        data=[ProviderObject.model_validate(_summary(each)) for each in page], next_cursor=following
    )


@router.get(
    "/categories",
    operation_id="list_provider_categories",
    responses=problems(takes_input=False),
    **rule(ApiKeyRole.VIEWER, Reach.TENANT),
)
async def list_provider_categories(services: ServicesDep) -> CategoryList:
    """List the categories in use."""
    counts = services.catalog.categories()
    return CategoryList(data=[CategoryObject(id=name, providers=count) for name, count in counts.items()])


@router.get(
    "/{provider}",
    operation_id="get_provider",
    responses=problems("not_found", takes_input=False),
    **rule(ApiKeyRole.VIEWER, Reach.TENANT),
)
async def get_provider(provider: str, services: ServicesDep) -> ProviderDetail:
    """Get everything known of a provider: scopes with their meaning, key fields, set-up steps."""
    return _detail(services.catalog.get(provider))
