"""The only way out of the process: messages, egress policy, HTTP client."""
