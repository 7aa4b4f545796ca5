"""``python -m authpipe.cli.supervised MODULES COMMAND …``: a command that ends with whoever started it.

It imports ``MODULES`` (with commas between), which costs most of a start, and waits.  Standard input is a
pipe whose other end only the starting process holds.  One line comes through it: the environment variables to
add, as JSON, and with them the permission to go on.  (They hold the database's password, which must not stand
in an argument.)  After that the pipe reads as ended when that process is gone, for whatever reason (``kill
-9`` included) and on every system.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
import time

#: Seconds the command has to finish by itself.
_PATIENCE_S = 5.0


def _environment() -> dict[str, str]:
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(0, 65_536)
        if not piece:
            sys.exit(1)
        line += piece
    found: dict[str, str] = json.loads(line)
    return found


def _end_with_parent() -> None:
    while os.read(0, 1024):  # nothing more is ever sent
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE_S)
    os._exit(1)


def _run() -> None:
    for module in filter(None, sys.argv.pop(1).split(",")):
        importlib.import_module(module)
    os.environ.update(_environment())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from authpipe.cli.main import main

    main()


if __name__ == "__main__":
    _run()
