"""How long until there is something to work with: ``import authpipe``, and ``authpipe dev`` on nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.measurement import Measurement

_IMPORTS, _STARTS = 15, 3
_IMPORT = (
    "import time; begun = time.perf_counter(); import authpipe; ended = time.perf_counter(); import json, sys;"
    "print(json.dumps([ended - begun, sorted(name for name in sys.modules if name.startswith('authpipe.'))]))"
)
_OF_THE_SDK = ("authpipe.sdk", "authpipe._version")


def _import_ms() -> float:
    times = []
    for _ in range(_IMPORTS):
        ran = subprocess.run([sys.executable, "-c", _IMPORT], check=True, capture_output=True, text=True)
        took, modules = json.loads(ran.stdout)
        foreign = [name for name in modules if not name.startswith(_OF_THE_SDK)]
        if foreign:
            raise RuntimeError(f"import authpipe loads {foreign}")
        times.append(took * 1000)
    return median(times)


def _dev_s() -> float:
    times = []
    for _ in range(_STARTS):
        with tempfile.TemporaryDirectory() as directory:
            begun = time.perf_counter()
            dev = subprocess.Popen(
                [Path(sys.executable).with_name("authpipe"), "dev", "--json"],
                env={**os.environ, "AUTHPIPE_DATA_DIR": directory, "PYTHONUNBUFFERED": "1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            assert dev.stdout is not None
            first = dev.stdout.readline()
            times.append(time.perf_counter() - begun)
            dev.send_signal(signal.SIGINT)
            dev.communicate(timeout=60)
            if not first:
                raise RuntimeError("authpipe dev did not become ready")
    return median(times)


def run() -> list[Measurement]:
    """Medians over fresh processes."""
    return [
        Measurement(name="import authpipe", value=_import_ms(), unit="ms", bar="<= 80"),
        Measurement(name="authpipe dev until ready", value=_dev_s(), unit="s", bar="<= 5"),
    ]
