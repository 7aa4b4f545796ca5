"""All cryptography: envelope encryption under tenants' keysets, and the keys that wrap those."""
