"""`wagateway voice` and `wagateway keys`, without a daemon."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.audio.ogg import read_ogg_opus
from gateway.cli import app, exits

HELLO = Path(__file__).parents[2] / "gateway" / "examples" / "hello.mp3"
cli = CliRunner()


def test_inspect_draws_the_waveform_and_says_what_would_be_sent() -> None:
    result = cli.invoke(app, ["voice", "inspect", str(HELLO)])
    assert result.exit_code == 0, result.output
    first, second, *facts = result.stdout.splitlines()
    assert len(first) == len(second) == 32
    assert facts[0].startswith("in    mp3/mp3") and "profile native" in facts[1]


def test_inspect_as_json_is_the_report() -> None:
    report = json.loads(cli.invoke(app, ["voice", "inspect", str(HELLO), "--json"]).stdout)
    assert len(report["waveform"]) == 64 and report["seconds"] == 12


def test_convert_writes_the_voice_note(tmp_path: Path) -> None:
    out = tmp_path / "note.ogg"
    assert cli.invoke(app, ["voice", "convert", str(HELLO), str(out)]).exit_code == 0
    assert read_ogg_opus(out.read_bytes()) is not None


@pytest.mark.parametrize(("content", "code"), [(b"", "empty"), (b"no sound at all" * 100, "not_audio")])
def test_what_is_no_sound_is_one_sentence(tmp_path: Path, content: bytes, code: str) -> None:
    file = tmp_path / "x.mp3"
    file.write_bytes(content)
    result = cli.invoke(app, ["voice", "inspect", str(file)])
    assert result.exit_code == exits.FAILED
    assert code in result.stderr and result.stderr.count("\n") == 1


def test_keys_are_made_listed_and_revoked_without_a_daemon(tmp_path: Path) -> None:
    env = {"WAGATEWAY_STATE_DIR": str(tmp_path / "state")}
    made = cli.invoke(app, ["keys", "create", "shop", "--scope", "send"], env=env)
    assert made.exit_code == 0, made.output
    text = made.stdout.splitlines()[-1]
    assert text.startswith("wag_")
    assert "--shares" in made.stderr
    rows = json.loads(cli.invoke(app, ["keys", "list", "--json"], env=env).stdout)
    assert [(r["name"], r["scope"], r["revoked_at"]) for r in rows] == [("shop", "send", None)]
    second = cli.invoke(app, ["keys", "create", "screen", "--scope", "read", "--shares", "shop"], env=env)
    assert (second.exit_code, "--shares" in second.stderr) == (0, False)
    assert [r["owner"] for r in json.loads(cli.invoke(app, ["keys", "list", "--json"], env=env).stdout)] == [rows[0]["id"]] * 2
    absent = cli.invoke(app, ["keys", "create", "x", "--shares", "nobody"], env=env)
    assert (absent.exit_code, absent.stderr) == (exits.USAGE, "wagateway: shares: there is no valid key of that id or name\n")
    database = b"".join(f.read_bytes() for f in (tmp_path / "state").glob("gateway.db*"))
    assert text.encode() not in database and text.split("_", 2)[2].encode() not in database
    assert cli.invoke(app, ["keys", "revoke", rows[0]["id"]], env=env).exit_code == 0
    again = cli.invoke(app, ["keys", "revoke", rows[0]["id"]], env=env)
    assert again.exit_code == exits.FAILED and "no valid key" in again.stderr


def test_a_config_file_may_stand_behind_the_commands_own_arguments(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("[server]\nprot = 1\n")
    result = cli.invoke(app, ["keys", "list", "--config", str(file)])
    assert result.exit_code == exits.USAGE
    assert "unknown setting server.prot" in result.stderr
