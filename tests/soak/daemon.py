"""`python -m tests.soak.daemon serve`: the daemon as it is, but that what it does every hour comes sooner (it forgets what is old
every minute, and looks for cyclic garbage every five), as the life around it does; and it notes in files each time the core opens a
session, and now and then what its memory is made of."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import sys
import threading
import time
from pathlib import Path

from gateway import garbage
from gateway.cli import main
from gateway.link.binding import CoreSession
from gateway.link.sealed_store import SealedStore
from gateway.services import maintenance

OPENINGS = "SOAK_OPENINGS"          # the file that gets a byte for each opening
INSIDE = "SOAK_INSIDE"              # the file that has what was seen inside last
EVERY_SECONDS = 20.0


def count_openings(file: str) -> None:
    start = CoreSession.start

    def counted(session: CoreSession) -> None:
        with open(file, "ab") as out:
            out.write(b".")
        start(session)

    CoreSession.start = counted     # type: ignore[method-assign,assignment]


class _Mallinfo2(ctypes.Structure):
    """<malloc.h>: of all arenas together."""

    _fields_ = [(name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
                                                     "fordblks", "keepcost")]


def look_inside() -> dict[str, float]:
    """`malloc_mb` is what the C library has given out, `malloc_free_mb` what it keeps; `core_sqlite_mb` is part of the first, with
    the page caches of sessions' files; `objects` are Python's that the collector knows."""
    seen: dict[str, float] = {"objects": float(len(gc.get_objects()) + gc.get_freeze_count())}
    if (mallinfo := getattr(ctypes.CDLL(None), "mallinfo2", None)) is not None:
        mallinfo.restype = _Mallinfo2
        now = mallinfo()
        seen |= {"malloc_mb": (now.uordblks + now.hblkhd) / 1e6, "malloc_free_mb": now.fordblks / 1e6}
    used = SealedStore.installed().library.sqlite3_memory_used
    used.restype = ctypes.c_longlong
    seen["core_sqlite_mb"] = used() / 1e6
    return {name: round(value, 3) for name, value in seen.items()}


def keep_looking(file: Path) -> None:
    while True:
        time.sleep(EVERY_SECONDS)
        new = file.with_name(file.name + ".new")
        new.write_text(json.dumps(look_inside()))
        new.replace(file)


if __name__ == "__main__":
    maintenance.FORGET_EVERY_SECONDS = 55.0     # it looks every 30
    garbage.SWEEP_SECONDS = 300.0
    count_openings(os.environ[OPENINGS])
    threading.Thread(target=keep_looking, args=(Path(os.environ[INSIDE]),), name="soak", daemon=True).start()
    sys.exit(main())                # type: ignore[func-returns-value]
