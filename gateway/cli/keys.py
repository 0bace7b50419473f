"""`wagateway keys`: API keys, whether the daemon runs or not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, TypeVar
from urllib.parse import quote

import typer

from gateway.cli.exits import FAILED, UNREACHABLE, ConfigOption, leave, plainly, read_settings
from gateway.cli.operator import with_own_key
from gateway.cli.tables import print_table
from gateway.config import Settings
from gateway.errors import ConfigError
from gateway.services.keys import Keys
from gateway.store.database import Database
from gateway.store.store import DATABASE, open_store
from gateway.times import iso

T = TypeVar("T")
app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)


@asynccontextmanager
async def _keys(settings: Settings) -> AsyncIterator[Keys]:
    """Needs no master key once the database is there: under systemd only the daemon can read that."""
    from gateway.daemon import load_vault, state_folder

    state = settings.state
    if _there(settings):
        async with Database(state / DATABASE) as database:
            yield Keys(database, settings.plans)
    else:
        with state_folder(state):
            vault = load_vault(settings)
            if vault.created:
                typer.echo(f"This is the first key of a new gateway: the master key was made, {vault.source}. Back it up apart from "
                           "the state folder.", err=True)
            async with open_store(state, vault) as store:
                yield Keys(store.database, settings.plans)


def _there(settings: Settings) -> bool:
    try:
        return (settings.state / DATABASE).exists()
    except OSError as error:            # another user's folder
        raise ConfigError(f"the state folder {settings.state} cannot be used: {error.strerror}") from None


def _known(settings: Settings) -> None:
    """Looking makes nothing: where there is no data, it says so and leaves."""
    with plainly():
        if not _there(settings):
            leave(FAILED, f"{settings.state} holds no data: no key was made there yet, or it is another place ($WAGATEWAY_STATE_DIR)")


def _run(settings: Settings, work: Callable[[Keys], Awaitable[T]]) -> T:
    async def run() -> T:
        async with _keys(settings) as keys:
            return await work(keys)

    with plainly():
        return asyncio.run(run())


def _through_the_daemon(settings: Settings, config: Path | None, id_: str) -> None:
    """It ends the key's event streams as well, which would else be read on. One that does not answer hinders nothing."""
    try:
        with_own_key(settings, config, lambda daemon: daemon.ask("DELETE", f"/api/v1/keys/{quote(id_, safe='')}"))
    except typer.Exit as error:
        if error.exit_code != UNREACHABLE:
            raise
        _run(settings, lambda keys: keys.revoke(id_))
        typer.echo("The key is revoked, but its open event streams end only with the daemon: restart it.", err=True)


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    scope: Annotated[str, typer.Option(help="admin, full, send or read.")] = "full",
    plan: Annotated[str, typer.Option(help="A plan of the settings: its limits.")] = "unlimited",
    shares: Annotated[str, typer.Option(metavar="KEY", help="Id or name of a key whose sessions it uses too.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    config: ConfigOption = None,
) -> None:
    """Make a key. Its text is the last line printed, and cannot be shown again."""
    key, text = _run(read_settings(config), lambda keys: keys.create(name=name, scope=scope, plan=plan, shares=shares))
    if as_json:
        print(json.dumps({"id": key.id, "name": key.name, "scope": key.scope, "plan": key.plan, "key": text}))
    else:
        typer.echo(f"Key '{key.name}' ({key.id}), scope {key.scope}, plan {key.plan}. Keep it, it is shown only now:", err=True)
        if scope in ("send", "read") and not shares:
            typer.echo("It has no sessions, and cannot link any: --shares KEY lets it use those of another key.", err=True)
        print(text)


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False, config: ConfigOption = None) -> None:
    """List the keys."""
    settings = read_settings(config)
    _known(settings)
    rows = _run(settings, lambda keys: keys.all())
    if as_json:
        print(json.dumps([{"id": k.id, "name": k.name, "scope": k.scope, "plan": k.plan, "owner": k.owner,
                           "created_at": iso(k.created_at), "last_used_at": iso(k.last_used_at),
                           "revoked_at": iso(k.revoked_at)} for k in rows]))
        return
    print_table(("id", "name", "scope", "plan", "shares", "created", "last used", "revoked"),
                [(k.id, k.name, k.scope, k.plan, k.owner if k.owner != k.id else "-",
                  *(_day(t) for t in (k.created_at, k.last_used_at, k.revoked_at))) for k in rows],
                whole=("id", "scope", "plan", "shares"), stacked=("created", "last used", "revoked"))


def _day(at: float | None) -> str:
    text = iso(at)
    return text[:16].replace("T", " ") if text else "-"


@app.command("revoke")
def revoke(id: Annotated[str, typer.Argument(help="The key's id, from `keys list`.")], config: ConfigOption = None) -> None:
    """Revoke a key: from now on it is refused."""
    from gateway.daemon import AlreadyRunning, state_folder

    settings = read_settings(config)
    _known(settings)
    with plainly():
        try:
            with state_folder(settings.state):
                _run(settings, lambda keys: keys.revoke(id))
        except AlreadyRunning:
            _through_the_daemon(settings, config, id)
    print(f"revoked {id}")
