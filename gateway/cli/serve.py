"""`wagateway serve`: the daemon."""

from __future__ import annotations

import errno
import os
import resource
import signal
import sys

import typer

from gateway import log
from gateway.cli.exits import FAILED, USAGE, ConfigOption, leave, plainly, read_settings
from gateway.cli.starting import leave_at_once

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
LEAST_DESCRIPTORS = 64      # the daemon's own, and some for clients; a session needs about six more


def add_to(app: typer.Typer) -> None:
    app.command("serve")(serve)


def serve(config: ConfigOption = None) -> None:
    """Run the gateway until SIGTERM or Ctrl+C."""
    signal.signal(signal.SIGTERM, leave_at_once)        # also where `serve` is not the first word
    settings = read_settings(config)
    log.configure(settings.log.level, settings.log.format)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if 0 <= most < LEAST_DESCRIPTORS:
        leave(USAGE, f"this process may open only {most} files, and needs at least {LEAST_DESCRIPTORS}: raise `ulimit -n` "
                     "(LimitNOFILE= under systemd)")
    from gateway.link.library import CoreUnavailable, ensure_environment, guard_stdout

    ensure_environment()                # may start this program once more, with what the core reads at its load
    guard_stdout()                      # the core prints; nothing of ours goes there
    import uvloop

    from gateway import daemon
    from gateway.link.sealed_store import SealingUnavailable

    code = 1
    try:
        with plainly():
            code = uvloop.run(daemon.serve(settings))
    except (CoreUnavailable, SealingUnavailable) as error:
        leave(FAILED, str(error))
    except typer.Exit as error:
        code = error.exit_code
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        leave(FAILED, f"the state folder {settings.state} cannot be written: {error.strerror}")
    # The core's threads cannot be joined: leave without waiting for them, everything of ours is closed.
    sys.stderr.flush()
    os._exit(code)
