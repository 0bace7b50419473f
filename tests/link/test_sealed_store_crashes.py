"""Killed processes and failing power: every commit that had returned is there, and nothing was ever in plain text."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.link.sealed.process import ROOT

from .test_sealed_store import plain_text_in

KILL9 = [sys.executable, "-m", "tests.link.sealed.kill9"]


def kill_while_writing(folder: Path, chance: random.Random, *arguments: str) -> list[str]:
    """Starts the writer, kills it -9 somewhere in a commit, and returns what it had acknowledged."""
    writer = subprocess.Popen([*KILL9, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    lines = [writer.stdout.readline() for _ in range(chance.randrange(5, 120))]
    time.sleep(chance.random() * 0.01)          # the moment of the kill: anywhere in a commit, also between two
    writer.kill()
    rest, said = writer.communicate(timeout=30)
    assert writer.returncode == -9, f"{writer.returncode} {said[-2000:]}"
    whole = ("".join(lines) + rest).split("\n")[:-1]
    return [line for line in whole if line]


def verify(folder: Path) -> dict[str, Any]:
    answer = subprocess.run([*KILL9, "verify", str(folder)], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0, answer.stderr[-2000:]
    told: dict[str, Any] = json.loads(answer.stdout)
    return told


def killed(folder: Path, journal: str, sync: str, rounds: int) -> dict[str, int]:
    chance, acknowledged, hot, rejected = random.Random(rounds), 0, 0, 0
    for _ in range(rounds):
        before = acknowledged
        lines = kill_while_writing(folder, chance, "write", str(folder), journal, sync, str(acknowledged))
        acknowledged = int(lines[-1])
        assert plain_text_in(folder) == []
        hot += any(f.stat().st_size > 512 for f in folder.iterdir() if f.name != "k.db")
        told = verify(folder)
        assert told["sound"], told
        assert told["failures"] == []
        assert told["last"] >= acknowledged > before, "a commit that had returned is lost"
        assert told["count"] == told["last"]
        acknowledged, rejected = told["last"], rejected + told["rejected"]
    return {"commits": acknowledged, "kills": rounds, "with a live log": hot, "torn tails": rejected}


MODES = [("WAL", "FULL"), ("DELETE", "EXTRA"), ("PERSIST", "FULL")]


@pytest.mark.parametrize(("journal", "sync", "rounds"), [("WAL", "FULL", 6), ("DELETE", "EXTRA", 2), ("PERSIST", "FULL", 2)])
def test_a_killed_writer_loses_no_commit(tmp_path, journal, sync, rounds):
    assert killed(tmp_path, journal, sync, rounds)["commits"] > rounds


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("journal", "sync"), MODES)
def test_fifty_killed_writers_lose_no_commit(tmp_path, journal, sync):
    told = killed(tmp_path, journal, sync, 50)
    print(journal, sync, told)
    assert told["with a live log"] > 10


def killed_go(folder: Path, rounds: int) -> int:
    chance, acknowledged = random.Random(rounds), set()
    for round_ in range(rounds):
        acknowledged |= set(kill_while_writing(folder, chance, "write-go", str(folder), str(round_)))
        assert plain_text_in(folder) == []
        told = verify(folder)
        assert told["sound"], told
        assert told["failures"] == []
        assert acknowledged <= set(told["chats"]), "a commit that had returned is lost"
    return len(acknowledged)


def test_a_killed_go_writer_with_four_threads_loses_no_commit(tmp_path):
    assert killed_go(tmp_path, 3) > 12


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_fifty_killed_go_writers_lose_no_commit(tmp_path):
    print("Go, four threads:", killed_go(tmp_path, 50), "commits")


def power_fails(folder: Path, journal: str, sync: str, images: int) -> dict[str, dict[str, Any]]:
    command = [sys.executable, "-m", "tests.link.sealed.power_loss", str(folder), journal, sync, str(images)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert answer.returncode == 0, answer.stderr[-2000:]
    told: dict[str, dict[str, Any]] = json.loads(answer.stdout)
    return told


@pytest.mark.parametrize(("journal", "sync"), [("WAL", "FULL"), ("DELETE", "EXTRA")])
def test_a_failing_power_loses_no_commit_sealed_or_plain(tmp_path, journal, sync):
    for told in power_fails(tmp_path, journal, sync, 60).values():
        assert (told["images"], told["lost"], told["broken"]) == (60, 0, 0), told
        assert told["syncs"] > 89


def test_the_simulator_finds_the_commits_that_are_lost_without_a_sync(tmp_path):
    """The control: WAL with synchronous=NORMAL, which go-sqlite3 would choose, loses commits; sealed or not, nothing breaks."""
    for told in power_fails(tmp_path, "WAL", "NORMAL", 60).values():
        assert told["lost"] > 5
        assert told["broken"] == 0, told


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("journal", "sync"), [("WAL", "FULL"), ("DELETE", "EXTRA"), ("PERSIST", "FULL"), ("TRUNCATE", "FULL")])
def test_eight_hundred_power_failures_lose_no_commit(tmp_path, journal, sync):
    told = power_fails(tmp_path, journal, sync, 800)
    print(journal, sync, told)
    for one in told.values():
        assert (one["lost"], one["broken"]) == (0, 0), one
