"""`wagateway version`: what is installed, and whether WhatsApp will go on accepting it."""

from __future__ import annotations

import dataclasses
import json
import platform
import time
from dataclasses import dataclass
from importlib import metadata
from typing import Annotated

import typer

from gateway.cli.exits import FAILED
from gateway.times import iso

# WhatsApp has refused web clients that were some months old; the exact age is its secret and changes.
WARN_DAYS, OLD_DAYS = 120, 240


@dataclass(frozen=True, slots=True)
class Versions:
    """`core` is whatsmeow's; `core_age_days` None: it cannot be told."""

    wagateway: str
    neonize: str
    core: str | None
    core_committed_at: str | None
    core_age_days: int | None
    go: str | None
    python: str


def installed(now: float) -> Versions:
    """Never fails: what is missing is told as such."""
    from gateway.link.core_version import read_core_version
    from gateway.link.sealing.capi import SealingUnavailable, library_path

    try:
        core = read_core_version(library_path())
    except (OSError, SealingUnavailable):
        core = None
    age = core.age_days(now) if core else None
    return Versions(_version("wagateway"), _version("neonize"), core.whatsmeow if core else None,
                    iso(core.committed) if core else None, None if age is None else int(age), core.go if core else None,
                    platform.python_version())


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def verdict(versions: Versions) -> tuple[bool, str]:
    """Whether the core is young enough, and a sentence."""
    age = versions.core_age_days
    if age is None:
        return False, "The core's age cannot be told: neonize is missing, or its library says nothing about itself."
    if age < 0:
        return False, f"The core was made {-age} days in the future: this machine's clock is wrong."
    if age >= OLD_DAYS:
        return False, (f"The core is {age} days old. WhatsApp refuses clients that are too old (405, client_outdated), after which "
                       "no session connects: update the gateway now.")
    if age >= WARN_DAYS:
        return False, (f"The core is {age} days old. WhatsApp will refuse it some day (405, client_outdated): plan an update of "
                       "the gateway.")
    return True, f"The core is {age} days old, which WhatsApp accepts; look again after {WARN_DAYS - age} days."


def version(
    check: Annotated[bool, typer.Option("--check", help=f"Exit 1 when the core is older than {WARN_DAYS} days.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the versions of the gateway, of neonize and of the WhatsApp core in it."""
    versions = installed(time.time())
    good, sentence = verdict(versions)
    if as_json:
        print(json.dumps({**dataclasses.asdict(versions), "ok": good, "verdict": sentence}))
    else:
        print(f"wagateway {versions.wagateway}, Python {versions.python}")
        print(f"neonize   {versions.neonize}")
        print(f"whatsmeow {versions.core or 'unknown'} ({versions.core_committed_at or 'unknown date'}), {versions.go or 'no Go'}")
        if check:
            print(sentence)
    if check and not good:
        raise typer.Exit(FAILED)
