"""Give me a credential that works now: resolving, refreshing, and never twice at once."""
