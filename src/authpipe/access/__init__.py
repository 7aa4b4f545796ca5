"""Who may call: API keys, and the environments they belong to."""
