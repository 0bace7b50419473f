"""Settings: read from TOML and the environment, refused with a sentence, documented by their example."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import config
from gateway.errors import ConfigError

EXAMPLE = Path(__file__).parents[1] / "config.example.toml"


def read(tmp_path: Path, text: str, **environ: str) -> config.Settings:
    file = tmp_path / "config.toml"
    file.write_text(text)
    return config.load(file, environ)


def test_the_example_is_written_from_the_settings() -> None:
    assert EXAMPLE.read_text() == config.example()


def test_the_example_with_every_option_uncommented_is_the_defaults(tmp_path: Path) -> None:
    lines = []
    for line in EXAMPLE.read_text().splitlines():
        bare = line.removeprefix("# ")
        name = bare.partition(" = ")[0]
        lines.append(bare if line.startswith("# ") and ((name.replace("_", "").isalnum() and " = " in bare) or bare[:1] == "[")
                     else line)
    assert read(tmp_path, "\n".join(lines)) == config.Settings()


def test_every_option_can_come_from_the_environment(tmp_path: Path) -> None:
    settings = read(tmp_path, "", WAGATEWAY_STATE_DIR="/x", WAGATEWAY_SERVER_PORT="9000", WAGATEWAY_SERVER_CONSOLE="false",
                    WAGATEWAY_PACING_MIN_GAP_SECONDS="0.5", WAGATEWAY_FETCH_ALLOW_NETWORKS="10.0.0.0/8, 127.0.0.0/8",
                    OTHER="ignored")
    assert settings.state == Path("/x")
    assert (settings.server.port, settings.server.console) == (9000, False)
    assert settings.pacing.min_gap_seconds == 0.5
    assert settings.fetch.allow_networks == ("10.0.0.0/8", "127.0.0.0/8")


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    assert read(tmp_path, "[server]\nport = 1", WAGATEWAY_SERVER_PORT="2").server.port == 2


@pytest.mark.parametrize(("text", "says"), [
    ("[server]\nprot = 1", "unknown setting server.prot; known are: host, port"),
    ("sever = 1", "unknown setting sever; known are: state_dir, server"),
    ("[server]\nport = '1'", "server.port must be a whole number"),
    ("[server]\nport = true", "server.port must be a whole number"),
    ("[server]\nport = 70000", "server.port must be 0..65535"),
    ("[pacing]\nmin_gap_seconds = -1", "pacing.min_gap_seconds must not be negative"),
    ("[pacing]\nquiet_hours = '25:00-07:00'", "quiet hours must look like 22:00-07:00"),
    ("[server]\nhost = ''", "server.host must be an address"),
    ("[fetch]\ntotal_seconds = 0", "fetch.total_seconds must be more than 0"),
    ("[backup]\nevery_hours = 0.0", "backup.every_hours must be more than 0"),
    ("[retention]\njournal_days = 0", "retention.journal_days must be more than 0"),
    ("[fetch]\nallow_networks = ['10.0.0.1/8']", "not a network"),
    ("[pacing]\nmin_gap_seconds = nan", "pacing.min_gap_seconds must be a number"),
    ("[fetch]\ntotal_seconds = inf", "fetch.total_seconds must be a number that is not larger"),
    ("[backup]\nkeep = 99999999999999999999", "backup.keep must be a number that is not larger"),
    ("[plans.free]\nrequests_per_minute = -1", "plans.free.requests_per_minute must not be negative"),
    ("[server]\nhost = \"a\\u0000b\"", "server.host must not contain control characters"),
    ("[server]\ncors_origins = [\"a\\nb\"]", "server.cors_origins must not contain control characters"),
    ("state_dir = \"/x\\u0000\"", "state_dir must not contain control characters"),
    ("[server]\nunix_socket_mode = '-1'", "three octal digits"),
    ("[server]\nheartbeat_seconds = 0.0", "at least 0.1"),
    ("[server]\nrequest_seconds = 0.5", "at least 1"),
    ("[fetch]\nallow_networks = '10.0.0.0/8'", "must be a list of strings"),
    ("[vault]\nmaster_key_file = '<path>'", "vault.master_key_file still holds the placeholder"),
    ("[retention]\nidempotency_hours = 1", "at least 24"),
    ("[dialects]\nroot = 'wawp'", "dialects.root must be"),
    ("[plans.free]\nmessages = 1", "unknown setting plans.free.messages"),
    ("server = 1", "[server] must be a table"),
    ("[server\n", "is not valid TOML"),
])
def test_what_cannot_be_used_is_refused_with_a_sentence(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, text)
    assert says in str(refused.value)


def test_an_unknown_variable_is_refused_with_the_one_that_is_meant(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"WAGATEWAY_SERVER_PROT; is WAGATEWAY_SERVER_PORT meant\?"):
        read(tmp_path, "", WAGATEWAY_SERVER_PROT="1")


def test_own_plans_are_added_to_the_built_in_ones(tmp_path: Path) -> None:
    plans = read(tmp_path, "[plans.shop]\nmessages_per_day = 5").plans
    assert plans["shop"].messages_per_day == 5
    assert set(plans) == {"free", "pro", "unlimited", "shop"}


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        config.load(tmp_path / "none.toml", {})


@given(st.text(max_size=200))
def test_no_text_does_anything_but_load_or_be_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        valid = False
    else:
        valid = True
    file = tmp_path_factory.mktemp("config") / "c.toml"
    file.write_bytes(text.encode())
    try:
        loaded = config.load(file, {})
    except ConfigError:
        return
    assert valid and dataclasses.is_dataclass(loaded)


@pytest.mark.parametrize(("host", "written"), [
    ("127.0.0.1", "127.0.0.1:80"), ("gateway.local", "gateway.local:80"), ("::1", "[::1]:80"), ("[::1]", "[::1]:80")])
def test_an_address_is_written_as_urls_have_it(host: str, written: str) -> None:
    assert config.authority(host, 80) == written
