"""systemd itself reads the units: no warning, and an exposure as low as a program can have that talks to the internet."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli import service

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
MOST_EXPOSED = 1.5


def analyze(*arguments: str, runtime: Path = Path("/run")) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", "--no-pager", *arguments], capture_output=True, text=True, timeout=60, check=False,
                          env={**os.environ, "XDG_RUNTIME_DIR": str(runtime)})


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """As they are installed, for a program that exists here."""
    for name in ("wagateway.service", "wagateway.socket"):
        (tmp_path / name).write_text(service.unit_text(name, sys.executable))
    user = tmp_path / "user"
    user.mkdir()
    (user / "wagateway.service").write_text(service.unit_text("wagateway.user.service", sys.executable))
    return tmp_path


def test_systemd_finds_nothing_wrong_with_the_units(units: Path) -> None:
    done = analyze("verify", "--man=no", str(units / "wagateway.service"), str(units / "wagateway.socket"))
    assert (done.returncode, done.stderr) == (0, "")
    done = analyze("verify", "--user", "--man=no", str(units / "user/wagateway.service"), runtime=units)
    assert done.returncode == 0, done.stderr
    assert "wagateway" not in done.stderr


def test_the_service_is_exposed_to_little(units: Path) -> None:
    done = analyze("security", "--offline=yes", f"--threshold={int(MOST_EXPOSED * 10)}", str(units / "wagateway.service"))
    found = re.search(r"Overall exposure level for wagateway\.service: ([0-9.]+)", done.stdout)
    assert found is not None, done.stdout + done.stderr
    assert float(found.group(1)) <= MOST_EXPOSED
    assert done.returncode == 0


def test_the_units_folder_of_the_repository_is_the_one_that_is_installed() -> None:
    root = Path(__file__).parents[2]
    assert (root / "systemd").resolve() == (root / "gateway/cli/systemd").resolve()
