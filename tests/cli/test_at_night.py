"""What an operator meets at three in the morning: one sentence that says what to do, an exit code, and nothing made or lost."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from gateway.cli import exits, link, tables

ROOT = Path(__file__).parents[2]


def wagateway(state: Path, *arguments: str, **environ: str) -> tuple[int, str, str]:
    env = {**os.environ, "WAGATEWAY_STATE_DIR": str(state), "WAGATEWAY_API_KEY": "wag_000000000000_x", **environ}
    done = subprocess.run([sys.executable, "-m", "gateway", *arguments], capture_output=True, text=True, timeout=60, check=False,
                          cwd=ROOT, env=env)
    return done.returncode, done.stdout, done.stderr


def sentence(err: str) -> str:
    assert err.startswith("wagateway: ") and err.count("\n") == 1, err
    return err


@pytest.mark.parametrize("command", [("keys", "create", "x"), ("serve",)])
@pytest.mark.parametrize("below", ["", "below"])
def test_a_file_in_the_state_folders_place(tmp_path: Path, command: tuple[str, ...], below: str) -> None:
    (tmp_path / "file").write_text("mine")
    code, _, err = wagateway(tmp_path / "file" / below, *command)
    assert code == exits.USAGE
    assert "cannot be used: a file is in its place" in sentence(err)
    assert (tmp_path / "file").read_text() == "mine"


def test_too_few_descriptors(tmp_path: Path) -> None:
    env = {**os.environ, "WAGATEWAY_STATE_DIR": str(tmp_path / "state")}
    done = subprocess.run(["bash", "-c", f"ulimit -n 32; exec {sys.executable} -m gateway serve"], capture_output=True, text=True,
                          timeout=60, check=False, cwd=ROOT, env=env)
    assert done.returncode == exits.USAGE
    assert "only 32 files" in sentence(done.stderr)
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("command", [("keys", "list"), ("keys", "revoke", "x")])
def test_looking_at_keys_makes_no_gateway(tmp_path: Path, command: tuple[str, ...]) -> None:
    code, out, err = wagateway(tmp_path / "state", *command)
    assert (code, out) == (exits.FAILED, "")
    assert "holds no data" in sentence(err)
    assert not (tmp_path / "state").exists()


def test_a_damaged_database_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "gateway.db").write_bytes(os.urandom(8192))
    code, _, err = wagateway(tmp_path, "keys", "list")
    assert code == exits.FAILED
    assert "file is not a database" in err and "wagateway restore" in sentence(err)


@pytest.mark.parametrize("command", [("events",), ("events", "--follow"), ("sessions",), ("link",), ("send", "+15550002222", "x")])
def test_no_daemon_is_told_at_once(tmp_path: Path, command: tuple[str, ...]) -> None:
    code, _, err = wagateway(tmp_path, *command, WAGATEWAY_SERVER_PORT="9")
    assert code == exits.UNREACHABLE
    assert "no daemon answers at http://127.0.0.1:9: Connection refused. Is it running?" in sentence(err)


@pytest.mark.parametrize(("command", "says"), [
    (("keys", "create", "x", "--plan", "none"), "wagateway: plan: one of free, pro, unlimited\n"),
    (("keys", "create", "x", "--scope", "none"), "wagateway: scope: one of admin, full, send, read\n")])
def test_a_wrong_choice_is_told_without_the_apis_words(tmp_path: Path, command: tuple[str, ...], says: str) -> None:
    code, _, err = wagateway(tmp_path, *command)
    assert code == exits.USAGE
    assert err.endswith(says)


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_address_of_ipv6_is_a_url_with_brackets(tmp_path: Path, host: str) -> None:
    (tmp_path / "daemon.json").write_text("[]")         # no note of a daemon's
    code, _, err = wagateway(tmp_path, "sessions", WAGATEWAY_SERVER_PORT="9", WAGATEWAY_SERVER_HOST=host)
    assert code == exits.UNREACHABLE
    assert "http://[::1]:9: " in sentence(err)


@pytest.mark.parametrize("width", [80, 120])
def test_an_id_is_never_cut(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int) -> None:
    monkeypatch.setattr(Console, "is_terminal", property(lambda _: True))
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    id_ = "464957f1-d464-46b9-9729-35db916ac26a"
    tables.print_table(("id", "when", "chat", "type", "status"),
                       [(id_, "2026-11-21 19:07:36", "→ +237612345678", "voice note", "failed: not_on_whatsapp")],
                       whole=("id", "chat"), stacked=("when", "type"))
    out = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert id_ in out and "+237612345678" in out
    assert ("failed: not_on_whatsapp" in out) == (width == 120)
    assert max(len(line) for line in out.splitlines()) <= width


def test_a_code_that_does_not_fit_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = link.drawn("2@" + "x" * 200)
    columns, rows = max(map(len, link._COLOURS.sub("", picture).splitlines())), len(picture.splitlines()) + 3
    monkeypatch.setenv("LINES", str(rows))
    monkeypatch.setenv("COLUMNS", str(columns))
    assert link._too_small(picture) == ""
    monkeypatch.setenv("LINES", str(rows - 1))
    assert f"a window of {columns} x {rows}" in link._too_small(picture)
