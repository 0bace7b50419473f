"""The real neonize links to the sandbox, logs in and is refused."""

from __future__ import annotations

from pathlib import Path

from gateway.sandbox import pairing
from gateway.sandbox.server import Sandbox

from .conftest import Neonize


async def test_a_stock_neonize_links_by_qr_and_logs_in(sandbox: Sandbox, neonize: Neonize, tmp_path: Path) -> None:
    await neonize.open("a", tmp_path / "a.db")
    code = await neonize.happened("a", "QR")
    person = sandbox.world.people.person("15550001111")
    assert person is not None

    device = await pairing.scan(sandbox.world, code, person)

    assert str(device.pn) == "15550001111:1@s.whatsapp.net"
    paired = await neonize.happened("a", "PairStatus")
    assert paired["ID"]["User"] == "15550001111"
    await neonize.happened("a", "Connected")
    assert device.online
    assert len(device.one_time) >= 50
