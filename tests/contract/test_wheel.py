"""`pip install authpipe` brings the SDK alone; the wheel carries everything that the server reads."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

# What belongs to a user of the SDK; every other room is the server's.
SDK_ROOMS = {"sdk", "adapters", "_version"}
SERVER_LIBRARIES = {
    "aiohttp",
    "alembic",
    "asyncpg",
    "cryptography",
    "fastapi",
    "granian",
    "jinja2",
    "msgspec",
}
SERVER_LIBRARIES |= {"oauthlib", "pydantic", "sqlalchemy", "starlette", "structlog", "typer"}
# The bar is 80 ms on a quiet machine; test machines are busy.
IMPORT_SECONDS = 0.2

IMPORT_AND_LOOK = """
import json, sys, time
started = time.perf_counter()
import authpipe
took = time.perf_counter() - started
for name in authpipe.__all__:
    getattr(authpipe, name)
print(json.dumps({"took": took, "file": authpipe.__file__, "modules": sorted(sys.modules)}))
"""


def _look(python: Path, directory: Path) -> dict[str, object]:
    shown = subprocess.run(
        [python, "-I", "-c", IMPORT_AND_LOOK], cwd=directory, capture_output=True, text=True, check=False
    )
    assert shown.returncode == 0, shown.stderr
    looked: dict[str, object] = json.loads(shown.stdout)
    return looked


def _of_the_server(modules: list[str]) -> list[str]:
    found = []
    for name in modules:
        parts = name.split(".")
        if parts[0] in SERVER_LIBRARIES or (
            parts[0] == "authpipe" and len(parts) > 1 and parts[1] not in SDK_ROOMS
        ):
            found.append(name)
    return found


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree, built as a release is."""
    directory = tmp_path_factory.mktemp("wheel")
    built = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", directory, root],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stdout + built.stderr
    (found,) = directory.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def bare_python(wheel: Path, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a clean environment that holds the wheel and its base dependencies as locked."""
    directory = tmp_path_factory.mktemp("bare") / "venv"
    venv.create(directory, with_pip=False)
    python = directory / "bin" / "python"
    arguments = [wheel, "--constraint", root / "requirements" / "server.txt"]
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"
    commands = [
        [uv, "pip", "install", "--quiet", "--python", python, *arguments],
        # pip reads this machine's own indexes, which uv does not.
        [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", wheel],
    ]
    output = ""
    for command in commands:
        installed = subprocess.run(command, capture_output=True, text=True, check=False)
        if installed.returncode == 0:
            return python
        output += installed.stderr
    raise AssertionError(output)


def test_a_bare_install_imports_and_loads_no_server_room(bare_python: Path, tmp_path: Path) -> None:
    """With base dependencies alone the SDK imports, and every public name of it resolves."""
    looked = _look(bare_python, tmp_path)
    assert str(bare_python.parent.parent) in str(looked["file"])
    assert _of_the_server(looked["modules"]) == []  # type: ignore[arg-type]


def test_the_sdk_is_as_light_where_the_server_is_installed(tmp_path: Path) -> None:
    """With everything installed beside it, `import authpipe` loads no room and no library of the server."""
    looked = _look(Path(sys.executable), tmp_path)
    assert _of_the_server(looked["modules"]) == []  # type: ignore[arg-type]


def test_importing_takes_no_time_to_speak_of(bare_python: Path, tmp_path: Path) -> None:
    """The best of five imports in fresh processes stays within the limit."""
    best = min(float(str(_look(bare_python, tmp_path)["took"])) for _ in range(5))
    assert best <= IMPORT_SECONDS


def test_the_wheel_carries_every_file_of_the_package(
    wheel: Path, root: Path, tracked_files: list[Path]
) -> None:
    """Definitions, SQL, templates, static files and py.typed are inside, and nothing else."""
    package = root / "src"
    expected = {
        path.relative_to(package).as_posix() for path in tracked_files if path.is_relative_to(package)
    }
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if not name.split("/")[0].endswith(".dist-info")}
    assert "authpipe/py.typed" in held
    assert sorted(expected - held) == []
    assert sorted(held - expected) == []


def test_the_server_is_an_extra(wheel: Path) -> None:
    """The wheel's base requirements are one library."""
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        lines = archive.read(metadata).decode().splitlines()
    base = [line for line in lines if line.startswith("Requires-Dist:") and "extra ==" not in line]
    assert [line.split()[1].split(">")[0] for line in base] == ["httpx2"]
