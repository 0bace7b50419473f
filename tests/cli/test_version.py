"""The core's age is read from the library itself, and an old one is told before WhatsApp refuses it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from gateway.cli.version import OLD_DAYS, WARN_DAYS, installed, verdict
from gateway.link.core_version import read_core_version
from gateway.link.sealing.capi import library_path

NOW = 1_790_000_000.0


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "gateway", *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_the_core_says_which_whatsmeow_it_is_and_when_that_was_written() -> None:
    core = read_core_version(library_path())
    assert core is not None and core.committed is not None
    assert core.whatsmeow.startswith("v0.0.0-20") and core.go.startswith("go1.")
    assert 1_700_000_000 < core.committed < 2_000_000_000
    assert core.age_days(core.committed + 86_400) == 1.0


def test_a_library_without_build_information_has_no_age(tmp_path: Path) -> None:
    file = tmp_path / "some.so"
    file.write_bytes(b"\x7fELF" + bytes(4096))
    assert read_core_version(file) is None


def test_an_old_core_is_warned_of_before_it_is_refused() -> None:
    fresh = replace(installed(NOW), core_age_days=WARN_DAYS - 1)
    assert verdict(fresh)[0]
    for age, word in ((WARN_DAYS, "plan"), (OLD_DAYS, "now"), (-3, "clock"), (None, "cannot be told")):
        good, sentence = verdict(replace(fresh, core_age_days=age))
        assert not good and word in sentence


def test_the_command_prints_the_versions_as_json() -> None:
    done = run("version", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["neonize"] == "0.5.2" and told["core"] and told["core_age_days"] is not None and told["verdict"]


def test_the_check_ends_with_1_exactly_when_the_core_is_too_old() -> None:
    told = json.loads(run("version", "--json").stdout)
    assert run("version", "--check").returncode == (0 if told["ok"] else 1)
