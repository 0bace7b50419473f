"""`python -m tests.soak.daemon serve`: the daemon as it is, but that it forgets what is old every minute instead of every hour,
and notes in a file each time the core opens a session: that is what its known leak counts in."""

from __future__ import annotations

import os
import sys

from gateway.cli import main
from gateway.link.binding import CoreSession
from gateway.services import maintenance

OPENINGS = "SOAK_OPENINGS"          # the file that gets a byte for each opening


def count_openings(file: str) -> None:
    start = CoreSession.start

    def counted(session: CoreSession) -> None:
        with open(file, "ab") as out:
            out.write(b".")
        start(session)

    CoreSession.start = counted     # type: ignore[method-assign,assignment]


if __name__ == "__main__":
    maintenance.FORGET_EVERY_SECONDS = 55.0     # it looks every 30
    count_openings(os.environ[OPENINGS])
    sys.exit(main())                # type: ignore[func-returns-value]
