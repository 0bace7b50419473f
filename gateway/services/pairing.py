"""Linking a device: codes are shown until the phone accepts one, or the attempt is over."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any

from gateway import events
from gateway.cancelling import to_the_end
from gateway.jid import shorten
from gateway.services.standing import Standing
from gateway.services.storing import until_stored
from gateway.times import iso

PAIRING_GIVES_UP = 600.0                        # WhatsApp unreachable for this long while linking


class Pairer:
    """`qr` and `code`: those that wait to be scanned or typed now."""

    def __init__(self, standing: Standing) -> None:
        self._standing, self._around, self._log = standing, standing.around, standing.log
        self.qr: events.QrCode | None = None
        self.code: events.PairingCode | None = None

    async def pair(self, phone: str | None) -> bool:
        began, tries = time.monotonic(), 0
        while True:
            await self._standing.be("pairing")
            ended = await self._pair_once(phone)
            if ended is None:
                return True
            if ended.reason != "no_network_pairing" or time.monotonic() - began > PAIRING_GIVES_UP:
                await self._standing.be(ended.reason, detail=ended.detail)
                return False
            delay = self._around.pause(tries)
            tries += 1
            await self._standing.be("pairing", detail=f"WhatsApp cannot be reached: {ended.detail}",
                                    next_retry=self._around.clock() + delay)
            await asyncio.sleep(delay)

    async def _pair_once(self, phone: str | None) -> events.PairingEnded | None:
        """None when paired."""
        pairing = self._around.links.pair(self._standing.file(), phone)
        try:
            async for event in pairing.events():
                match event:
                    case events.QrCode():
                        self.qr = event
                        await self._show("qr", event, "qr_waiting" if phone is None else None)
                    case events.PairingCode():
                        self.code = event
                        await self._show("pairing_code", event, "code_waiting")
                    case events.Paired():
                        self.qr = self.code = None
                        await until_stored(partial(self._standing.update, jid=event.jid, lid=event.lid, platform=event.platform,
                                                   generation=0), self._log)
                        self._log.info("paired", jid=shorten(str(event.jid)))
                        await self._standing.be("paired")
                        return None
                    case events.PairingEnded():
                        return event
        finally:
            self.qr = self.code = None
            if cancelled := await to_the_end(pairing.close()):      # before the next attempt takes the file
                raise cancelled
        return events.PairingEnded("core_failed", "the attempt ended without a word")

    async def _show(self, type: str, code: events.QrCode | events.PairingCode, reason: str | None) -> None:
        if reason is not None:
            await self._standing.be(reason)
        await until_stored(partial(self._tell_code, type, {"code": code.code, "expires_at": iso(code.expires_at)}), self._log)
        await self._standing.tell_changed()

    async def _tell_code(self, type: str, data: dict[str, Any]) -> None:
        await self._around.store.database.write(lambda tx: self._standing.tell(tx, type, self._around.clock(), data))
