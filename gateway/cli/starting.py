"""Imported before the rest of the command line, which takes a while: a daemon that is told to stop meanwhile has stopped, and
was not killed. `link.library.ensure_environment` starts the program anew with these signals held back until here."""

from __future__ import annotations

import os
import signal
import sys

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def leave_at_once(number: int, frame: object) -> None:
    """Until the daemon's own handler: nothing has begun that would have to end."""
    os._exit(0)


if sys.argv[1:2] == ["serve"]:
    for _number in SIGNALS:
        signal.signal(_number, leave_at_once)
signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
