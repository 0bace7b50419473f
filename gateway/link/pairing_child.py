"""The pairing process: `python -m gateway.link.pairing_child DESCRIPTOR`, one attempt a process, started by `pairing`.

It reads one order from standard input (a JSON line; the data key travels here and nowhere else), says what happens on
DESCRIPTOR, a JSON line each, and ends itself at the moment WhatsApp asks for the reconnect that completes a pairing
(stream error 515): by then the keys are committed and the phone's confirmation has been taken, and logging in is the
daemon's. It dies with its parent.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import json
import logging
import os
import queue
import signal
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

from gateway.link import library
from gateway.link.base import SessionFile
from gateway.link.binding import Core, CoreSession, NotRunning
from gateway.link.sealed_store import SealedStore
from gateway.link.session_store import SessionStore

PR_SET_PDEATHSIG = 1
RESTART_SECONDS = 5.0
"""How long after the phone accepted the 515 may take; then the parent goes on without it."""
_RESTART = "Got 515 code"
CHROME = 1
_ENDINGS = {
    "timeout": "timeout",
    "err-client-outdated": "client_outdated",
    "passkey-request": "passkey_required",
    "passkey-confirmation": "passkey_required",
    "error": "pair_error",
    "err-unexpected-state": "pair_error",
    "err-scanned-without-multidevice": "pair_error",
}


class Child:
    """One attempt. What the core's threads report goes through a queue to the main thread, except the end."""

    def __init__(self, out: int) -> None:
        self._out = out
        self._news: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self._complaint = ""

    def run(self) -> None:
        # Everything that takes time and needs no order comes first: the parent may start a child ahead.
        loaded = library.load()
        store = SessionStore(SealedStore.install(loaded.path))
        line = sys.stdin.buffer.readline()
        if not line:
            os._exit(0)
        order = json.loads(line)
        threading.Thread(target=_die_with_parent, daemon=True).start()
        file = SessionFile("pairing", Path(order["path"]), base64.b64decode(order["key"]))
        core = Core(loaded, device_name=order["device_name"], proxy=order["proxy"])
        session = core.session(
            store.dsn(file), label="pairing", events=b"\x02", log_level="INFO", on_event=lambda _code, _data: None,
            on_qr=lambda code: self._news.put(("qr", code)), on_status=lambda status: self._news.put(("status", status)),
            on_end=lambda error: self._news.put(("end", error)), on_log=self._logged)
        session.start()
        phone = order["phone"]
        while True:
            kind, text = self._news.get()
            if kind == "qr":
                self._say("qr", code=text)
                if phone:
                    self._say_code(session, loaded, phone)
                    phone = None
            elif kind == "end":
                self._end("failed", text)
            elif text == "success":
                self._say("scanned")
                with contextlib.suppress(queue.Empty):
                    self._news.get(timeout=RESTART_SECONDS)
                self._paired()
            else:
                reason = _ENDINGS.get(text, "pair_error")
                if reason == "pair_error" and "passkey" in self._complaint.lower():
                    reason = "passkey_required"
                self._end(reason, self._complaint or text)

    def _say_code(self, session: CoreSession, loaded: library.Library, phone: str) -> None:
        asked = loaded.neonize.PairPhoneParams(
            phone=phone, showPushNotification=True, clientType=CHROME, clientDisplayName="Chrome (Linux)").SerializeToString()
        try:
            answer = loaded.neonize.PairPhoneReturnFunction.FromString(session.call("PairPhone", asked, len(asked)))
        except NotRunning:
            return                              # it ended meanwhile; the reason is in the queue
        if answer.Error:
            self._end("pair_error", f"WhatsApp gave no pairing code: {answer.Error}")
        self._say("code", code=answer.Code)

    def _logged(self, level: str, text: str) -> None:
        """On the core's thread, which waits meanwhile: from here the process can end before the core reconnects."""
        if text.startswith(_RESTART):
            self._paired()
        if level in ("WARN", "ERROR"):
            self._complaint = text[:300]
            self._say("log", text=self._complaint)
            if "passkey" in text.lower():       # asked for in a form the core cannot read: it would wait 75 s more
                self._end("passkey_required", self._complaint)

    def _paired(self) -> NoReturn:
        self._say("paired")
        os._exit(0)

    def _end(self, reason: str, detail: str) -> NoReturn:
        self._say("ended", reason=reason, detail=detail)
        os._exit(0)

    def _say(self, what: str, **more: Any) -> None:
        os.write(self._out, json.dumps({"said": what, **more}).encode() + b"\n")


def _die_with_parent() -> NoReturn:
    """Standard input ends with the parent, also where the kernel has no signal for that."""
    while sys.stdin.buffer.read(4096):
        pass
    os._exit(1)


def main() -> None:
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)        # Ctrl+C is the daemon's to handle
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    Child(int(sys.argv[1])).run()


if __name__ == "__main__":
    main()
