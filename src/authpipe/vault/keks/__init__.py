"""Key-encryption keys: where a keyset's data keys are wrapped and unwrapped."""
