"""Makes `.venv` hold exactly the locked requirements of one tier, and does nothing when it already does.

Run as `scripts/setup server|dev`. Needs only the standard library: it is what installs everything else.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
RECORD = VENV / ".authpipe-setup.json"
REQUIREMENTS = ROOT / "requirements"
# `dev` holds every pin of `server`, so an environment of the tier on the right serves the one on the left.
SERVED_BY = {"server": ("server", "dev"), "dev": ("dev",)}


class SetupFailed(Exception):
    """The environment could not be made; the message is one line with the remedy."""


def fingerprint(tier: str) -> str:
    """A digest of all that decides what the environment of `tier` must hold."""
    digest = hashlib.sha256()
    for name in ("uv.txt", "build.txt", f"{tier}.txt"):
        digest.update((REQUIREMENTS / name).read_bytes())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    # Tool sections change often and do not change what is installed.
    digest.update(json.dumps([project["project"], project["build-system"]], sort_keys=True).encode())
    digest.update(Path(__file__).read_bytes())
    return digest.hexdigest()


def read_record() -> dict[str, str]:
    """What the last complete run installed, or nothing when it was cut short or the tree moved since."""
    try:
        record = json.loads(RECORD.read_text())
    except (OSError, ValueError):
        return {}
    # The scripts in bin/ and the editable install carry absolute paths, so a moved environment is useless.
    if not isinstance(record, dict) or record.get("root") != str(ROOT):
        return {}
    return record


def interpreter_works(record: dict[str, str]) -> bool:
    """Whether the environment's Python still runs, as it does not once its base Python is removed."""
    shown = subprocess.run(
        [VENV_PYTHON, "-c", "import sys; print(sys.version)"], capture_output=True, text=True, check=False
    )
    return shown.returncode == 0 and shown.stdout.strip() == record.get("python")


def wanted_interpreter(record: dict[str, str]) -> bool:
    """Whether the environment's Python is the one asked for; without PYTHON=... any will do."""
    return not os.environ.get("PYTHON") or record.get("python") == sys.version


def run(*command: str | Path, environment: dict[str, str] | None = None) -> None:
    """Run a command quietly; its output is shown only when it fails."""
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode != 0:
        sys.stderr.write(done.stdout.decode(errors="replace"))
        raise SetupFailed(f"`{' '.join(str(part) for part in command)}` failed; its output is above")


def pip(*arguments: str | Path) -> None:
    """Run the environment's pip, which reads this machine's own pip configuration."""
    run(VENV_PYTHON, "-m", "pip", "--disable-pip-version-check", "--no-input", "-q", *arguments)


def uv_environment() -> dict[str, str]:
    """The process environment for uv, told about the package index that this machine's pip is set to use."""
    environment = {**os.environ, "UV_NO_PROGRESS": "1"}
    if "UV_DEFAULT_INDEX" not in environment:
        shown = subprocess.run(
            [VENV_PYTHON, "-m", "pip", "config", "get", "global.index-url"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        index = environment.get("PIP_INDEX_URL") or shown.stdout.strip()
        if index:
            environment["UV_DEFAULT_INDEX"] = index
    if not os.access(os.environ.get("HOME", "/nonexistent"), os.W_OK):
        environment.setdefault("UV_CACHE_DIR", str(ROOT / ".cache" / "uv"))
    return environment


def install(tier: str) -> None:
    """Install the locked requirements of `tier`, every file checked against its hash, then this tree."""
    files = [REQUIREMENTS / name for name in ("uv.txt", "build.txt", f"{tier}.txt")]
    pip("install", "--require-hashes", "-r", files[0])
    uv, python = VENV / "bin" / "uv", ("--python", str(VENV_PYTHON))
    environment = uv_environment()
    try:
        run(uv, "pip", "sync", *python, "--require-hashes", *files, environment=environment)
    except SetupFailed:
        # uv does not read pip's find-links, extra indexes and proxies; pip does, and takes about a minute.
        print(
            "uv could not reach every package; trying pip with this machine's configuration", file=sys.stderr
        )
        pip("install", "--require-hashes", *(part for file in files for part in ("-r", file)))
    # hatchling comes from the lock too, so building this tree downloads nothing more.
    run(
        uv, "pip", "install", *python, "--no-deps", "--no-build-isolation", "-e", ".", environment=environment
    )


def set_up(tier: str) -> None:
    """Bring `.venv` to the locked state of `tier`, unless it is there already."""
    record = read_record()
    usable = bool(record) and wanted_interpreter(record) and interpreter_works(record)
    if usable and record["tier"] in SERVED_BY[tier] and record["fingerprint"] == fingerprint(record["tier"]):
        return
    if usable and tier in SERVED_BY and record["tier"] in SERVED_BY[tier]:
        tier = record["tier"]  # a stale environment is brought up to date, never narrowed

    started = time.monotonic()
    if not usable:
        # No record means an interrupted run, whose half-copied packages an installer would take as present.
        shutil.rmtree(VENV, ignore_errors=True)
        print("Creating .venv", file=sys.stderr)
        run(sys.executable, "-m", "venv", VENV)
    RECORD.unlink(missing_ok=True)
    print(f"Installing the locked requirements ({tier})", file=sys.stderr)
    install(tier)
    version = subprocess.run(
        [VENV_PYTHON, "-c", "import sys; print(sys.version)"], capture_output=True, text=True, check=True
    )
    complete = RECORD.with_suffix(".tmp")
    complete.write_text(
        json.dumps(
            {
                "root": str(ROOT),
                "tier": tier,
                "fingerprint": fingerprint(tier),
                "python": version.stdout.strip(),
            }
        )
    )
    complete.replace(RECORD)
    print(f"Ready in {time.monotonic() - started:.0f} s", file=sys.stderr)


def main() -> int:
    """Set up the tier named on the command line; 1 and one line when that fails."""
    if len(sys.argv) != 2 or sys.argv[1] not in SERVED_BY:
        print("usage: scripts/setup server|dev", file=sys.stderr)
        return 2
    # Two makes started at once must not install into the same environment.
    with (ROOT / "scripts" / "setup_environment.py").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            set_up(sys.argv[1])
        except (SetupFailed, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
