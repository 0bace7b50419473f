"""The programs that the quick start writes say exactly what was clicked, whatever was typed."""

from __future__ import annotations

import ast
import json
import shlex
from typing import Any

import pytest

from tests.console.conftest import Opens

pytestmark = pytest.mark.asyncio(loop_scope="session")

NASTY = {"to": "+447700900123", "message": "it's \"me\" $HOME `id` ${x} \\n\n\u00e9\U0001f600", "ptt": True, "none": None,
         "list": [1, "a"]}
WRITE = """async ([call, fields, key]) => {
  const { LANGUAGES } = await import("/console/snippets.js");
  if (fields) {
    call.form = new FormData();
    for (const [name, value] of Object.entries(fields)) call.form.append(name, value);
    call.form.append("file", new File(["x"], "my note.webm"));
  }
  return Object.fromEntries(Object.entries(LANGUAGES).map(([name, { write }]) => [name, write(call, "http://127.0.0.1:8080", key)]));
}"""


async def write(console: Opens, call: dict[str, Any], fields: dict[str, str] | None = None, key: str | None = None) -> dict[str, str]:
    async with console(key=None) as shown:
        written: dict[str, str] = await shown.page.evaluate(WRITE, [call, fields, key])
        return written


def keyword(program: str, name: str) -> Any:
    """An argument of the one call of requests."""
    found = [k.value for node in ast.walk(ast.parse(program)) if isinstance(node, ast.Call) for k in node.keywords if k.arg == name]
    return ast.literal_eval(found[0])


async def test_a_list_of_objects_is_a_list_of_objects(console: Opens) -> None:
    nested = {"all": [{"a": 1, "b": None}, {"a": True, "b": "x"}]}
    written = await write(console, {"method": "POST", "path": "/api/v1/messages", "json": nested})
    assert keyword(written["python"], "json") == nested


async def test_a_body_with_everything_in_it_survives_shell_and_python(console: Opens) -> None:
    written = await write(console, {"method": "POST", "path": "/api/v1/messages", "json": NASTY})
    command = shlex.split(written["curl"].replace("\\\n", " "))
    assert command[:4] == ["curl", "-X", "POST", "http://127.0.0.1:8080/api/v1/messages"]
    assert json.loads(command[command.index("-d") + 1]) == NASTY
    assert "Authorization: Bearer $KEY" in command
    assert keyword(written["python"], "json") == NASTY
    body = written["javascript"].split("JSON.stringify(", 1)[1].rsplit("),\n});", 1)[0]
    assert json.loads(body) == NASTY


async def test_a_file_is_named_and_the_key_is_written_only_when_asked_for(console: Opens) -> None:
    call = {"method": "POST", "path": "/api/v1/messages/audio", "headers": {"Idempotency-Key": "used-once"}}
    written = await write(console, call, {"to": "+44", "it's": "o'clock $(id)"}, key="wag_secret")
    command = shlex.split(written["curl"].replace("\\\n", " "))
    assert [command[i + 1] for i, word in enumerate(command) if word == "-F"] == ["to=+44", "it's=o'clock $(id)", "file=@my note.webm"]
    assert keyword(written["python"], "data") == {"to": "+44", "it's": "o'clock $(id)"}
    for text in written.values():
        assert "wag_secret" in text
        assert "used-once" not in text
