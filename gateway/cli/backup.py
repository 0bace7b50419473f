"""`wagateway backup` and `wagateway restore`."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.client import Daemon, KeyOption, UrlOption
from gateway.cli.exits import FAILED, ConfigOption, leave, plainly, read_settings
from gateway.cli.operator import Stopped, operate
from gateway.services.backup import Backups
from gateway.services.restoring import Restored, RestoreRefused
from gateway.store import backup as archive
from gateway.store.backup import BackupUnusable
from gateway.store.vault import Vault, VaultError
from gateway.times import iso


def backup(
    file: Annotated[Path, typer.Argument(help="The backup to write; it must not exist.")],
    url: UrlOption = None, key: KeyOption = None, config: ConfigOption = None,
) -> None:
    """Save everything but the master key into one sealed file, while the daemon runs or not."""
    target = file.expanduser().absolute()
    if os.path.exists(target):
        leave(FAILED, f"{target} exists already; it is not overwritten")
    if not os.path.isdir(target.parent):
        leave(FAILED, f"there is no folder {target.parent}")

    async def running(daemon: Daemon) -> tuple[int, int]:
        headers = await daemon.save("POST", "/api/v1/admin/backup", target)
        return int(headers["X-Backup-Sessions"]), int(headers["X-Backup-Left-Out"])

    async def stopped(it: Stopped) -> tuple[int, int]:
        from gateway.api.health import VERSION

        async with it.store() as store:
            made = await Backups(store, it.files(), asyncio.Lock(), VERSION).make(target)
            return len(made.sessions), len(made.left_out)

    sessions, left_out = operate(url, key, config, running, stopped)
    note = f" {left_out} without keys to save." if left_out else ""
    print(f"{target}: {target.stat().st_size} bytes, {sessions} linked session{'s' * (sessions != 1)}, checked.{note}\n"
          "It opens with the master key only, which is not in it: keep a copy of the key apart from it.")


def restore(
    file: Annotated[Path, typer.Argument(help="A backup.")],
    force: Annotated[bool, typer.Option("--force", help="Also when newer keys would be lost.")] = False,
    backup_key_file: Annotated[Path | None, typer.Option(
        metavar="KEYFILE", help="The master key the backup was made with, if it was rotated since.")] = None,
    send_queued: Annotated[bool, typer.Option(help="Send what still waited in the backup; it may have been sent since.")] = False,
    config: ConfigOption = None,
) -> None:
    """Put a backup back. The daemon must be stopped."""
    from gateway.daemon import AlreadyRunning, state_folder

    settings = read_settings(config)
    source = file.expanduser().absolute()
    with plainly():
        try:
            with state_folder(settings.state) as state:
                archive.finish_restore(state)
                done = asyncio.run(_restore(Stopped(settings), source, force, backup_key_file, send_queued))
        except AlreadyRunning:
            leave(FAILED, f"the daemon runs on {settings.state}: stop it first")
        except RestoreRefused as error:
            leave(FAILED, str(error))
        except BackupUnusable as error:
            leave(FAILED, f"{error}. Nothing was changed.")
        except OSError as error:
            leave(FAILED, f"{error.strerror}: {error.filename}. Nothing was changed, or the next start goes on.")
    _tell(done)


async def _restore(it: Stopped, source: Path, force: bool, key_file: Path | None, send_queued: bool) -> Restored:
    from gateway.services.restoring import restore as put_back

    if not source.is_file():
        leave(FAILED, f"there is no file {source}")
    try:
        vault = it.vault()
    except VaultError as error:
        if error.code not in ("key_missing", "wrong_key"):
            raise
        raise VaultError(error.code, f"{error.text} A backup opens with the master key it was made with.") from None
    older: Any = Vault.load(it.state, key_file.expanduser(), Path("/nonexistent")) if key_file is not None else None
    return await put_back(it.state, source, vault, it.files(), now=time.time(), older_key=older, force=force, send_queued=send_queued)


def _tell(done: Restored) -> None:
    made = done.manifest
    print(f"Restored the backup of {iso(made.made_at)} (wagateway {made.version}): {len(made.sessions)} linked sessions.")
    for sentence in made.left_out:
        print(f"Not in it: {sentence}.")
    if done.settled:
        print(f"{done.settled} messages that still waited then are told as failed: they may have been sent since.")
    for sentence in done.overridden:
        print(f"Forced: {sentence}")
    if done.kept is not None:
        print(f"What was there before is in {done.kept}: remove it when all is well.")
    print("If another machine still runs on these keys, stop it before you start: two would break the chats' encryption.")
