"""OAuth as a client: builds requests and reads responses.  No I/O, no database, no provider names."""
