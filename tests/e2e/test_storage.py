"""A disk that is full, and a state folder that came without its key."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.world import World

pytestmark = pytest.mark.e2e
FRIEND = "15550002222"


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 24 MiB at tmp_path/state."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    if os.getuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=700", "tmpfs", str(state)],
                                     capture_output=True, check=False).returncode:
        pytest.skip("needs to mount a file system")
    yield state
    subprocess.run(["umount", "-l", str(state)], check=True)


async def test_a_full_disk_is_told_and_nothing_is_lost_when_there_is_room_again(small_disk: Path, world: World) -> None:
    await world.link()
    await world.until_message(await world.send(FRIEND, "with room"), "delivered")
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 12))
        except OSError:
            pass
    accepted, refused = [], None
    for number in range(200):
        answer = await world.client.post("/api/v1/messages", {"to": FRIEND, "message": f"{number} " + "x" * 3000})
        if answer.status == 503:
            refused = answer.body["error"]
            break
        assert answer.status == 202, answer.body
        accepted.append(answer.body["id"])
    assert refused is not None and refused["code"] == "storage_unavailable", "the disk is full"
    assert (await world.client.get("/api/v1/sessions")).status == 200, "what is there can be read"
    filler.unlink()
    async with asyncio.timeout(20):
        while (await world.client.post("/api/v1/messages", {"to": FRIEND, "message": "again"})).status != 202:
            await asyncio.sleep(0.2)
    for id_ in accepted:
        await world.until_message(id_, "delivered", seconds=60)


@pytest.mark.parametrize(("killed", "sentence"), [(False, "self-test"), (True, "store cannot be written")])
async def test_a_start_on_a_full_disk_is_refused_with_a_sentence_whatever_it_is_that_does_not_fit(
        small_disk: Path, world: World, killed: bool, sentence: str) -> None:
    for number in range(40):                            # kept in the write-ahead log, which the next start empties into the database
        assert (await world.client.post("/api/v1/webhooks", {"url": f"https://example.com/{'x' * 900}{number}"})).status == 201
    await (world.kill() if killed else world.stop())
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 12))
    out = ""
    for _ in range(20):                                 # with three pages more at each start
        said = world.log.stat().st_size
        with pytest.raises(AssertionError):
            await world.start()
        out = world.log.read_text()[said:]
        assert world.process is not None and world.process.returncode == 1
        assert out.startswith("wagateway: ") and out.count("\n") == 1, out
        if sentence in out:
            break
        os.truncate(filler, filler.stat().st_size - (3 << 12))
    assert sentence in out
    filler.unlink()
    await world.start()
    assert (await world.client.get("/readyz")).status == 200


async def test_a_state_folder_that_comes_without_its_key_is_refused_and_explained(world: World) -> None:
    await world.link()
    await world.stop()
    elsewhere = world.folder / "elsewhere"
    shutil.copytree(world.state, elsewhere, ignore=shutil.ignore_patterns("master.key"))
    before = {f.name: f.read_bytes() for f in elsewhere.rglob("*") if f.is_file()}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "serve", env={**world.environment, "WAGATEWAY_STATE_DIR": str(elsewhere)},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 1
    assert b"master.key is missing" in out and b"Restore the key from a backup" in out and b"Traceback" not in out
    assert {f.name: f.read_bytes() for f in elsewhere.rglob("*") if f.is_file()} == before
