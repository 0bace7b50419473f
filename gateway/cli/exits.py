"""Exit codes, and how an expected failure leaves the program."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from gateway import config
from gateway.cli.hints import HINTS
from gateway.config import Settings
from gateway.errors import ConfigError, GatewayError, InvalidField

OK = 0
FAILED = 1              # it was tried and did not work; the sentence says why
USAGE = 2               # the command line or the settings are wrong
UNREACHABLE = 3         # no daemon answers
REFUSED = 4             # the daemon says no: a wrong key, an unknown session, …
TIMED_OUT = 5           # what --wait waited for did not come in time

ConfigOption = Annotated[Path | None, typer.Option(
    "--config", "-c", metavar="FILE", envvar="WAGATEWAY_CONFIG", help="Settings (TOML). Default: none, or $WAGATEWAY_CONFIG.")]


def leave(code: int, sentence: str) -> NoReturn:
    print(f"wagateway: {sentence}", file=sys.stderr)
    raise typer.Exit(code)


def read_settings(file: Path | None) -> Settings:
    try:
        return config.load(file)
    except ConfigError as error:
        leave(USAGE, str(error))


@contextmanager
def plainly() -> Iterator[None]:
    """Expected failures as one sentence, not as a traceback."""
    from gateway.daemon import AlreadyRunning
    from gateway.store.database import StoreBroken, StoreTooNew
    from gateway.store.vault import VaultError

    try:
        yield
    except ConfigError as error:
        leave(USAGE, str(error))
    except GatewayError as error:
        hint = HINTS.get(error.code, error.hint)
        leave(USAGE if isinstance(error, InvalidField) else FAILED, error.message + (f" {hint}" if hint else ""))
    except StoreBroken as error:
        leave(FAILED, f"{error}. Look with `wagateway doctor`; if it is damaged, `wagateway restore BACKUP` puts one back")
    except (AlreadyRunning, StoreTooNew, VaultError) as error:
        leave(FAILED, str(error))
