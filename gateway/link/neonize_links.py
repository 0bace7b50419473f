"""`Links` over neonize: what the process holds once, and the maker of links and pairings."""

from __future__ import annotations

from collections.abc import Callable

from gateway.events import LinkEvent
from gateway.link import library
from gateway.link.base import SessionFile
from gateway.link.binding import Core
from gateway.link.neonize_link import NeonizeLink, Patience
from gateway.link.pairing import NeonizePairing, Spare
from gateway.link.sealed_store import SealedStore
from gateway.link.session_store import SessionStore


class NeonizeLinks:
    """See `base.Links`. Making it starts the core's Go runtime in this process (so no `fork` afterwards).

    `proxy`: http, https or socks5 URL for WhatsApp's traffic; without one the environment's `HTTPS_PROXY` counts.
    `device_name`: what the phone shows under Linked devices; one for all, as the core keeps it once.
    `spare`: keep a pairing process started ahead, so that the first code comes sooner. Raises CoreUnavailable."""

    def __init__(self, sealed: SealedStore, *, proxy: str | None = None, device_name: str = "wagateway",
                 patience: Patience | None = None, spare: bool = False) -> None:
        self._store, self._patience = SessionStore(sealed), patience or Patience()
        self._proxy, self._device_name = proxy, device_name
        self._core = Core(library.load(), device_name=device_name, proxy=proxy)
        self._spare = Spare(enabled=spare)

    def link(self, file: SessionFile, sink: Callable[[LinkEvent], None]) -> NeonizeLink:
        return NeonizeLink(self._core, self._store, file, sink, self._patience)

    def pair(self, file: SessionFile, phone: str | None = None) -> NeonizePairing:
        return NeonizePairing(self._store, self._spare, file, phone, device_name=self._device_name, proxy=self._proxy)

    async def close(self) -> None:
        await self._spare.close()
