"""The service manager's ear: systemd's notification protocol (sd_notify(3)). Without a manager nothing happens."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping

import sdnotify
import structlog

log = structlog.get_logger("gateway.notify")

# How often signs of life go out, as a part of the time after which their absence kills us (sd_watchdog_enabled(3): half).
_PART = 3


class ServiceManager:
    """READY=1, WATCHDOG=1, STOPPING=1 and STATUS= to $NOTIFY_SOCKET."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._notifier = sdnotify.SystemdNotifier() if environ.get("NOTIFY_SOCKET") else None
        self.watchdog_seconds = _watchdog_seconds(environ)

    def ready(self, status: str) -> None:
        """Called when requests are answered."""
        self._tell(f"READY=1\nSTATUS={status}")

    def alive(self, status: str) -> None:
        self._tell(f"WATCHDOG=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        self._tell(f"STATUS={status}")

    def stopping(self) -> None:
        self._tell("STOPPING=1\nSTATUS=stopping")

    def close(self) -> None:
        if self._notifier is not None and self._notifier.socket is not None:
            self._notifier.socket.close()

    def _tell(self, text: str) -> None:
        if self._notifier is not None:
            self._notifier.notify(text)

    async def watch(self, check: Callable[[], Awaitable[str]], status: Callable[[], str]) -> None:
        """Until cancelled: a sign of life each time `check` finds nothing ('' and not a sentence) in time. What hangs or is
        found dead is logged, and the manager, hearing nothing, starts us anew."""
        if self.watchdog_seconds is None:
            return
        pause = self.watchdog_seconds / _PART
        while True:
            try:
                async with asyncio.timeout(pause):
                    problem = await check()
            except TimeoutError:
                problem = f"the check itself did not end within {pause:g} s"
            if problem:
                log.error("not_alive", problem=problem)
                self.status(f"not alive: {problem}")
            else:
                self.alive(status())
            await asyncio.sleep(pause)


def _watchdog_seconds(environ: Mapping[str, str]) -> float | None:
    """None: nobody waits for signs of life of this process."""
    text = environ.get("WATCHDOG_USEC", "")
    if not text.isdigit() or int(text) == 0 or environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(text) / 1e6
