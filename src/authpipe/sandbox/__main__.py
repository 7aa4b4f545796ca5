"""``python -m authpipe.sandbox``: run the simulator until it is interrupted."""

from __future__ import annotations

import argparse
import asyncio

from authpipe.sandbox.server import run


def main() -> None:
    """Parse the address and serve; exit code 0 after SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m authpipe.sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (default: %(default)s)")
    parser.add_argument("--port", default=9400, type=int, help="port, 0 for any (default: %(default)s)")
    arguments = parser.parse_args()
    asyncio.run(run(arguments.host, arguments.port))


if __name__ == "__main__":
    main()
