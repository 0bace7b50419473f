"""The README's commands, as they stand there."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from tests.e2e.world import World

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def block(heading: str) -> list[str]:
    """The commands of the first sh block under a heading."""
    part = README.split(f"## {heading}\n", 1)[1]
    found = re.search(r"```sh\n(.*?)```", part, re.DOTALL)
    assert found
    return found.group(1).strip().splitlines()


async def shell(command: str, environment: dict[str, str]) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec("bash", "-c", command, cwd=ROOT, env={**os.environ, **environment},
                                                   stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    out, _ = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode is not None
    return process.returncode, out.decode()


async def test_the_first_command_ends_with_a_decrypted_voice_note(tmp_path: Path) -> None:
    """Its last part; installing is what brought us here."""
    command, = block("See it work, with no phone")
    last = command.split(" && ")[-1]
    assert last == ".venv/bin/wagateway sandbox --once gateway/examples/hello.mp3"
    saved = tmp_path / "received.ogg"
    code, out = await shell(last.replace(".venv/bin/wagateway", f"{sys.executable} -m gateway") + f" --save {saved}", {})
    assert code == 0, out
    assert "pending → sent → delivered → read → played" in out and "those the gateway sent" in out
    assert saved.read_bytes()[:4] == b"OggS"


async def test_the_tour_of_the_api(world: World) -> None:
    create, stream, audio, text, listing = block("A tour of the API")
    environment = {"URL": world.client.url, "KEY": world.client.key}
    code, out = await shell(create, environment)
    assert code == 0 and '"session_key":"shop"' in out
    await world.whatsapp("POST", "/phones", {"number": "15550001111"})
    linking = (await world.client.get("/api/v1/sessions/shop/qr")).body
    await world.whatsapp("POST", "/scan", {"qr": linking["code"], "phone": "15550001111"})
    await world.until_session("shop", "connected")
    code, out = await shell("timeout 2 " + stream.partition("#")[0], environment)
    assert code == 124 and "event: connected" in out
    code, out = await shell(audio, environment)
    assert code == 0 and '"ptt":true' in out
    code, first = await shell(text, environment)
    code, again = await shell(text, environment)
    assert first == again and '"type":"text"' in first
    await world.arrived("15550002222", 2)
    code, out = await shell(listing, environment)
    assert code == 0 and out.count('"id"') == 2


async def test_a_module_of_our_name_in_the_working_directory_hinders_nothing(tmp_path: Path) -> None:
    (tmp_path / "gateway.py").write_text("raise SystemExit('the wrong module')\n")
    program = tmp_path / "wagateway"                    # as the installed script: the working directory is not on its path
    program.write_text(f"import sys; sys.path[0] = {str(ROOT)!r}\nfrom gateway.cli import main\nmain()\n")
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(program), "sandbox", "--once", str(ROOT / "gateway" / "examples" / "hello.mp3"), cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    out, _ = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, out.decode()


def test_every_file_the_readme_points_to_is_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (ROOT / target).exists(), target
