"""`wagateway vault`: the master key and the sessions' data keys, whether the daemon runs or not."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from gateway.cli.client import Daemon, JsonOption, KeyOption, UrlOption, show_json
from gateway.cli.exits import FAILED, ConfigOption, leave
from gateway.cli.operator import Stopped, operate
from gateway.services.vaulting import NobodyRuns, Vaulting

app = typer.Typer(help="The master key and the sessions' keys.", no_args_is_help=True)


@app.command("status")
def status(url: UrlOption = None, key: KeyOption = None, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Which master key there is, and where it comes from."""
    async def running(daemon: Daemon) -> Any:
        return await daemon.ask("GET", "/api/v1/admin/vault")

    async def stopped(it: Stopped) -> Any:
        async with it.store() as store:
            return asdict(await Vaulting(store, None, NobodyRuns()).status())

    found = operate(url, key, config, running, stopped)
    if as_json:
        show_json(found)
        return
    print(f"master key   {found['fingerprint']} ({found['source']}{', ' + found['path'] if found['path'] else ''})")
    print(f"sealed       the store and {found['sessions']} session{'s' * (found['sessions'] != 1)}")
    if found["rotating"]:
        print("rotation     not finished: both keys are held; `wagateway vault rotate` ends it")
    elif not found["can_rotate"]:
        print("rotation     by whoever gives the credential: see docs/security.md")


@app.command("rotate")
def rotate(url: UrlOption = None, key: KeyOption = None, config: ConfigOption = None) -> None:
    """Make a new master key and wrap every data key with it. Links stay up."""
    async def running(daemon: Daemon) -> Any:
        return await daemon.ask("POST", "/api/v1/admin/vault/rotate")

    async def stopped(it: Stopped) -> Any:
        async with it.store() as store:
            count = await Vaulting(store, None, NobodyRuns()).rotate()
            return {"fingerprint": store.vault.fingerprint, "rewrapped": count}

    done = operate(url, key, config, running, stopped)
    print(f"The master key is now {done['fingerprint']}; {done['rewrapped']} data keys were wrapped anew.\n"
          "Back the new key up. Keep the old one as long as you keep backups from before: they open with it only.")


@app.command("rekey-session")
def rekey_session(session: Annotated[str, typer.Argument(help="A session's id or session_key.")], url: UrlOption = None,
                  key: KeyOption = None, config: ConfigOption = None) -> None:
    """Write a session's file anew under a new data key. Its link is down for a moment."""
    async def running(daemon: Daemon) -> Any:
        return await daemon.ask("POST", f"/api/v1/admin/sessions/{session}/rekey")

    async def stopped(it: Stopped) -> Any:
        async with it.store() as store:
            sessions = await store.sessions.all()
            found = [s for s in sessions if s.id == session] or [s for s in sessions if s.session_key == session]
            if len(found) != 1:
                leave(FAILED, f"there {'is no session' if not found else 'are several sessions'} of that name; use an id")
            await Vaulting(store, it.files(), NobodyRuns()).rekey(found[0])
            return {"session": found[0].id, "session_key": found[0].session_key}

    done = operate(url, key, config, running, stopped)
    print(f"Session {done['session_key']} has a new data key.")
