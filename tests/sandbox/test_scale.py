"""Many sessions at once: run with `-m long`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.sandbox.server import Sandbox

from .conftest import SECONDS, Neonize, link

SESSIONS = 60


@pytest.mark.long
async def test_sixty_sessions_link_send_at_once_and_all_come_back_after_a_cut(
    sandbox: Sandbox, neonize: Neonize, tmp_path: Path
) -> None:
    world = sandbox.world
    devices = [
        await link(sandbox, neonize, f"s{index}", tmp_path / f"{index}.db", str(15551000001 + index)) for index in range(SESSIONS)
    ]
    for turn in range(3):
        await asyncio.gather(
            *(
                neonize.call(f"s{index}", f"client.send_message(jid('{15552000001 + index}'), 'turn {turn}')")
                for index in range(SESSIONS)
            )
        )
    logins = {device: device.logins for device in devices}
    for connection in list(world.connections):
        connection.drop()
    assert await world.wait_until(lambda: all(device.online and device.logins > logins[device] for device in devices), SECONDS)
    records = world.records.find()
    assert len(records) == 3 * SESSIONS
    assert all(record.decrypted_by and record.copies == 1 and not record.failures for record in records)
