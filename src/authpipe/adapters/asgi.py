"""The two endpoints an application serves for its connect buttons, for any ASGI framework."""

from __future__ import annotations

from authpipe.sdk.adapters.asgi import ConnectRequest, ConnectRoutes, Identity, connect_routes

__all__ = ["ConnectRequest", "ConnectRoutes", "Identity", "connect_routes"]
