"""The HTTP API: one file per resource, errors as problem documents."""
