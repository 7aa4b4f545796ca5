"""Facts Authpipe records: what may be said, and the one way to say it."""
