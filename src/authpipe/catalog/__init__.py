"""Provider definitions: facts as data, one TOML file per provider, and the few behaviours that are code."""
