"""What makes a program of the rooms: settings, wiring, the ASGI application, the processes."""
