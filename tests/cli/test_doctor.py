"""The doctor finds what is wrong, never crashes over it, and says nothing that must stay secret."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli import doctor
from gateway.cli.doctor import Finding, examine
from gateway.config import Settings, VaultSettings
from tests.running import run_gateway


def of(findings: list[Finding], what: str) -> Finding:
    return next(f for f in findings if f.what == what)


def test_an_installation_that_never_ran_has_no_errors(tmp_path: Path) -> None:
    findings = examine(Settings(state_dir=str(tmp_path / "state")), offline=True)
    assert [f for f in findings if f.level == "error"] == []
    assert of(findings, "library").level == of(findings, "sealing").level == of(findings, "audio").level == "ok"
    assert "makes one" in of(findings, "master key").text
    assert not (tmp_path / "state").exists(), "the doctor makes nothing"


async def test_a_state_folder_in_use_is_read_and_its_report_holds_no_number_and_no_key(tmp_path: Path) -> None:
    async with run_gateway(tmp_path / "state") as running:
        id_, _ = await running.linked("my-own-name", number="15550001111")
        findings = examine(Settings(state_dir=str(tmp_path / "state")), offline=True)
        assert "1 connected" in of(findings, "database").text
        assert of(findings, "master key").level == "ok"
        text = json.dumps([f.text for f in findings])
        key = (tmp_path / "state/master.key").read_text().strip()
        for secret in (key, "15550001111", "my-own-name", id_, running.client.key):
            assert secret not in text
    assert sorted(p.name for p in (tmp_path / "state").iterdir() if p.name.startswith(".")) == []


async def test_a_key_that_others_can_read_and_a_damaged_database_are_errors(tmp_path: Path) -> None:
    state = tmp_path / "state"
    async with run_gateway(state):
        pass
    (state / "master.key").chmod(0o644)
    with (state / "gateway.db").open("r+b") as file:
        file.seek(4096)
        file.write(b"x" * 40_000)
    findings = examine(Settings(state_dir=str(state)), offline=True)
    assert "chmod 600" in of(findings, "master key").text and of(findings, "master key").level == "error"
    assert of(findings, "database").level == "error"


def test_a_key_file_that_is_missing_is_told(tmp_path: Path) -> None:
    settings = Settings(state_dir=str(tmp_path), vault=VaultSettings(master_key_file=str(tmp_path / "nowhere.key")))
    assert "does not exist" in of(examine(settings, offline=True), "master key").text


async def test_a_machine_without_network_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that never resolves (RFC 6761), and a port that nobody listens on."""
    monkeypatch.setattr(doctor, "WHATSAPP", (("gateway.invalid", 443), ("127.0.0.1", 1)))
    no_name, refused = await doctor._reach_all()
    assert (no_name.level, refused.level) == ("warning", "warning")
    assert "no network" in no_name.text and "cannot be reached" in refused.text


def test_a_part_that_fails_unexpectedly_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> list[Finding]:
        raise RuntimeError("wag_0123456789ab_secretsecret")

    monkeypatch.setattr(doctor, "_audio", broken)
    finding = of(examine(Settings(state_dir=str(tmp_path)), offline=True), "audio")
    assert finding.level == "error" and "RuntimeError" in finding.text and "secretsecret" not in finding.text


def test_the_command_speaks_json_and_ends_with_1_on_an_error(tmp_path: Path) -> None:
    def run(state: Path) -> tuple[int, dict[str, object]]:
        done = subprocess.run([sys.executable, "-m", "gateway", "doctor", "--json", "--offline"], text=True, check=False, timeout=60,
                              capture_output=True, env={**os.environ, "WAGATEWAY_STATE_DIR": str(state)})
        return done.returncode, json.loads(done.stdout)

    code, told = run(tmp_path / "new")
    assert (code, told["ok"]) == (0, True)
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    sqlite3.connect(state / "gateway.db").close()
    (state / "gateway.db").write_bytes(b"not a database at all, but long enough to be looked at" * 100)
    code, told = run(state)
    assert (code, told["ok"]) == (1, False)


