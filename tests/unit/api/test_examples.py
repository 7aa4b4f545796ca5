"""What the documentation shows is what the models take and give."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from authpipe.api import (
    api_keys,
    connect_sessions,
    connections,
    credential_read,
    credentials,
    environments,
    events,
    examples,
    installations,
    owned,
    provider_configs,
    providers,
    reconnect,
    tenants,
)

MODULES = (
    api_keys, connect_sessions, connections, credentials, environments, events, installations, owned,
    provider_configs, providers, reconnect, tenants,
)  # fmt: skip
MODELS = sorted(
    {
        model
        for module in MODULES
        for model in vars(module).values()
        if isinstance(model, type)
        and issubclass(model, BaseModel)
        and model.__module__ == module.__name__
        and (model.model_config.get("json_schema_extra") or {}).get("examples")
    },
    key=lambda model: model.__name__,
)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_an_example_is_one_of_its_model(model: type[BaseModel]) -> None:
    """It is accepted, and names every field an answer has."""
    for example in model.model_config["json_schema_extra"]["examples"]:  # type: ignore[index, call-overload]
        read = model.model_validate(example)
        if "object" in model.model_fields:
            assert set(example) == set(model.model_fields)
        assert read


def test_the_credential_example_has_what_its_schema_requires() -> None:
    """The one answer that no model makes."""
    schema = credential_read.CREDENTIAL_SCHEMA
    assert set(examples.CREDENTIAL) == set(schema["required"]) == set(schema["properties"])


def test_there_are_models_to_look_at() -> None:
    """The list above is not empty by accident."""
    assert len(MODELS) > 25
