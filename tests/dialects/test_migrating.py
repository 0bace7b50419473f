"""docs/migrating.md is true: its curl and Python snippets run against a gateway, and its tables are the calls there are."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from pathlib import Path

import pytest

from gateway.dialects.dialect import Dialect
from gateway.dialects.mount import DIALECTS
from tests.running import Running, until

PAGE = (Path(__file__).parents[2] / "docs" / "migrating.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CURL = 'curl() { command curl --silent --show-error --fail-with-body "$@"; echo; }\nset -e\n'
PRINTED = {"svara": "queued 1000000000", "sendapi": "True", "wawp": " 1", "waha": "SERVER", "evolution": "imageMessage",
           "wuzapi": "Sent ", "gowa": "SUCCESS Send audio success"}


def names(dialect: Dialect) -> list[str]:
    """Its calls as the tables have them."""
    return [f"{call.method} {call.path}".removeprefix("* ").replace("{rest:path}", "…")
            for call in (*dialect.calls, *dialect.unsupported)]


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)
def test_the_tables_have_exactly_the_calls_there_are_and_the_advice_that_is_given(dialect: Dialect) -> None:
    rows = re.findall(r"^\| `([^`]+)` \| (.+) \|$", SECTIONS[dialect.title], re.MULTILINE)
    assert [call for call, _ in rows] == names(dialect)
    assert [use for _, use in rows[len(dialect.calls):]] == [call.use for call in dialect.unsupported]


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)
async def test_the_snippets_run_with_another_base_and_key(running: Running, dialect: Dialect, files: str, tmp_path: Path) -> None:
    running.links.on_pair = lambda pairing: pairing.show_qr()
    if dialect.name == "wawp":
        await running.linked("my-session")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    settings: list[dict[str, str]] = []
    printed = ""
    for language, text in BLOCK.findall(SECTIONS[dialect.title]):
        text = text.replace("https://example.com/hello.mp3", f"{files}/hello.wav").replace("https://example.com", files)
        if text.startswith("BASE="):
            settings.append(dict(line.split("=", 1) for line in text.splitlines()))
            environment |= settings[-1] | {"KEY": running.client.key}
            environment["BASE"] = environment["BASE"].replace("http://127.0.0.1:8080", running.client.url)
            continue
        command = ["bash", "-c", CURL + text] if language == "sh" else [sys.executable, "-c", text]
        process = await asyncio.create_subprocess_exec("timeout", "20", *command, env=environment, cwd=tmp_path, stdout=-1, stderr=-1)
        out, err = await process.communicate()
        printed = out.decode()
        assert process.returncode == 0, f"{text}\n{printed}\n{err.decode()}"
        if language == "sh":
            environment |= ids_in(printed)
        await scan(running)
    before, after = settings
    assert set(before) == set(after)
    assert before["BASE"] != after["BASE"]
    assert PRINTED[dialect.name] in printed


def ids_in(printed: str) -> dict[str, str]:
    """What the page calls $SESSION and $MESSAGE."""
    found = {}
    for line in filter(lambda line: line.startswith("{"), printed.splitlines()):
        answer = json.loads(line)
        for id_ in (answer.get("session_id"), answer.get("id")):
            if isinstance(id_, str) and "_" in id_:
                found["MESSAGE" if id_.startswith("msg_") else "SESSION"] = id_
    return found


async def scan(running: Running) -> None:
    """What the reader's phone does."""
    for live in running.gateway.sessions.live():
        if live.qr is not None:
            running.links.pairing(live.session.id).scan()
            await until(live.usable.is_set)
