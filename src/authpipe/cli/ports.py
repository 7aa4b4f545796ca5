"""Which ports are free on this machine."""

from __future__ import annotations

import socket
from collections.abc import Container

from authpipe.domain.errors import ConfigurationError

_TRIES = 50


def is_free(host: str, port: int) -> bool:
    """Whether somebody could listen there at this moment."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            # Linux lets a second socket bind, though not listen, where both set SO_REUSEADDR.
            probe.listen(1)
        except OSError:
            return False
    return True


def free_port(host: str, wanted: int, *, apart_from: Container[int] = ()) -> int:
    """``wanted``, or the next port above it that is free.  Raises ``ConfigurationError``."""
    for port in range(wanted, min(wanted + _TRIES, 65_536)):
        if port not in apart_from and is_free(host, port):
            return port
    raise ConfigurationError(f"no port from {wanted} on is free on {host}: choose one with --port")


def any_port(host: str) -> int:
    """A port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
