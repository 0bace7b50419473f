"""The unit is written for this installation, once, and never over somebody's own changes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli import service


def run(*arguments: str, home: Path, code: int = 0) -> str:
    done = subprocess.run([sys.executable, "-m", "gateway", "service", *arguments], capture_output=True, text=True, timeout=60,
                          check=False, env={**os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config")})
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    return tmp_path / ".config/systemd/user/wagateway.service"


def test_a_user_service_is_written_for_this_installation_and_again_is_no_change(tmp_path: Path, unit: Path) -> None:
    said = run("install", "--user", home=tmp_path)
    assert f"wrote  {unit}" in said and "systemctl --user enable --now wagateway" in said
    line = next(line for line in unit.read_text().splitlines() if line.startswith("ExecStart="))
    program = line.removeprefix("ExecStart=").removesuffix(" serve")
    assert os.path.isabs(program) and os.access(program, os.X_OK)
    before = unit.stat().st_mtime_ns
    assert f"unchanged  {unit}" in run("install", "--user", home=tmp_path)
    assert unit.stat().st_mtime_ns == before


def test_a_dry_run_shows_the_unit_and_writes_nothing(tmp_path: Path, unit: Path) -> None:
    said = run("install", "--user", "--dry-run", home=tmp_path)
    assert f"would write  {unit}" in said and "Type=notify" in said
    assert not unit.exists()
    run("install", "--user", home=tmp_path)
    assert "would remove" in run("uninstall", "--user", "--dry-run", home=tmp_path)
    assert unit.exists()


def test_a_unit_that_was_changed_by_hand_is_not_replaced_unless_forced(tmp_path: Path, unit: Path) -> None:
    run("install", "--user", home=tmp_path)
    unit.write_text(unit.read_text().replace("RestartSec=5", "RestartSec=7"))
    assert "systemctl edit" in run("install", "--user", home=tmp_path, code=1)
    assert "RestartSec=7" in unit.read_text()
    run("install", "--user", "--force", home=tmp_path)
    assert "RestartSec=5" in unit.read_text()


def test_a_unit_of_another_version_is_replaced(tmp_path: Path, unit: Path) -> None:
    unit.parent.mkdir(parents=True)
    unit.write_text(service._signed("[Service]\nExecStart=/old/wagateway serve\n"))
    assert "wrote" in run("install", "--user", home=tmp_path)


def test_uninstalling_removes_the_unit_keeps_the_state_and_can_be_repeated(tmp_path: Path, unit: Path) -> None:
    state = tmp_path / ".local/state/wagateway/gateway.db"
    state.parent.mkdir(parents=True)
    state.touch()
    run("install", "--user", home=tmp_path)
    enabled = unit.parent / "default.target.wants/wagateway.service"
    enabled.parent.mkdir()
    enabled.symlink_to(unit)
    assert "removed" in run("uninstall", "--user", home=tmp_path)
    assert not unit.exists() and not enabled.is_symlink() and state.exists()
    assert "no unit to remove" in run("uninstall", "--user", home=tmp_path)


def test_the_system_service_comes_with_its_socket_and_its_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                                capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(service, "_check_reachable", lambda program: None)      # the tests' own venv may lie in a home
    service.install(socket=True, root=tmp_path)
    for path in ("etc/systemd/system/wagateway.service", "etc/systemd/system/wagateway.socket", "etc/sysusers.d/wagateway.conf"):
        assert (tmp_path / path).is_file()
    assert "systemctl enable --now wagateway.socket wagateway" in capsys.readouterr().out
    service.uninstall(root=tmp_path)
    assert not any(path.is_file() for path in (tmp_path / "etc").rglob("*"))


def test_an_installation_in_a_home_folder_cannot_be_a_system_service(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BaseException) as left:
        service._check_reachable("/home/somebody/.local/bin/wagateway")
    assert getattr(left.value, "exit_code", None) == 1
    assert "--user" in capsys.readouterr().err


def test_a_program_whose_path_has_blanks_and_percent_signs_is_quoted() -> None:
    text = service.unit_text("wagateway.service", "/opt/my gateway/100%/wagateway")
    assert 'ExecStart="/opt/my gateway/100%%/wagateway" serve' in text
