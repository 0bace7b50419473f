"""Looking at a running gateway: sessions, messages, events, usage."""

from __future__ import annotations

import json
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from gateway.cli.client import JsonOption, KeyOption, UrlOption, run, show_json, where
from gateway.cli.exits import ConfigOption
from gateway.cli.tables import print_table


def sessions(url: UrlOption = None, key: KeyOption = None, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """List the sessions with their state and what to do."""
    found = run(where(url, key, config), lambda daemon: daemon.ask("GET", "/api/v1/sessions?limit=1000"))["sessions"]
    if as_json:
        show_json(found)
        return
    if not found:
        print("No session yet. Link one with: wagateway link")
        return
    print_table(("session", "phone", "status", "why", "to do", "queued"),
                [(s["session_key"], s["phone_number"] or "-", s["status"], _why(s),
                  "" if s["action"] == "none" else s["action"].replace("_", " "), str(s["queued"])) for s in found],
                whole=("session", "phone", "status", "queued"))


def _why(session: Any) -> str:
    """The sentence, and what else is known."""
    return f"{session['sentence']} ({session['detail']})" if session["detail"] else str(session["sentence"])


def messages(
    id: Annotated[str | None, typer.Argument(help="One message, with what happened to it.")] = None,
    session: Annotated[str | None, typer.Option(help="Of one session.")] = None,
    to: Annotated[str | None, typer.Option(help="To or from one number.")] = None,
    status: Annotated[str | None, typer.Option(help="pending, sent, delivered, read, played, failed or received.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500)] = 20,
    url: UrlOption = None, key: KeyOption = None, as_json: JsonOption = False, config: ConfigOption = None,
) -> None:
    """List messages, newest first, or show one."""
    at = where(url, key, config)
    if id is not None:
        one = run(at, lambda daemon: daemon.ask("GET", f"/api/v1/messages/{id}"))
        if as_json:
            show_json(one)
        else:
            for name, value in one.items():
                if name != "waveform" and value not in (None, "", False):
                    print(f"{name:>24}  {value if not isinstance(value, dict) else json.dumps(value, ensure_ascii=False)}")
        return
    query = urlencode({k: v for k, v in {"session": session, "to": to, "status": status, "limit": limit}.items() if v})
    found = run(at, lambda daemon: daemon.ask("GET", f"/api/v1/messages?{query}"))["messages"]
    if as_json:
        show_json(found)
        return
    if not found:
        print("No messages.")
        return
    print_table(("id", "when", "chat", "type", "status"),
                [(m["id"], m["created_at"][:19].replace("T", " "),
                  ("→ " if m["direction"] == "out" else "← ") + str(m.get("toPhone") or m.get("to") or m.get("chat") or ""),
                  "voice note" if m["ptt"] else m["type"],
                  m["status"] + (f": {m['error']['code']}" if m.get("error") else "")) for m in found],
                whole=("id", "chat"), stacked=("when", "type"))


def events(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens.")] = False,
    session: Annotated[str | None, typer.Option(help="Of one session.")] = None,
    types: Annotated[str, typer.Option(help="Only these, separated by commas.")] = "",
    since: Annotated[str, typer.Option(help="After this event's number; 0: all that is kept.")] = "",
    url: UrlOption = None, key: KeyOption = None, as_json: JsonOption = False, config: ConfigOption = None,
) -> None:
    """Print the journal (from --since, default: all of it), or follow it."""
    path = f"/api/v1/sessions/{session}/stream" if session else "/api/v1/events"
    query = urlencode({k: v for k, v in {"types": types, "follow": "" if follow else "false"}.items() if v})
    after = since or (None if follow else "0")

    async def go(daemon: Any) -> None:
        async for id_, event, data in daemon.events(f"{path}?{query}" if query else path, after):
            data.pop("qr_code", None)
            if as_json:
                print(json.dumps({"id": id_, "type": event, **data}, ensure_ascii=False), flush=True)
            else:
                print(_told(id_, event, data), flush=True)

    run(where(url, key, config), go)


def _told(id_: str, event: str, data: dict[str, Any]) -> str:
    at = str(data.get("at", ""))[11:19]
    match event:
        case "receipt":
            what = f"{data['id']} to {data.get('toPhone') or data.get('to')}: {data['status']}"
            if data.get("error"):
                what += f" ({data['error']['code']})"
        case "message":
            what = f"from {data.get('from')}: {data['type']}"
        case "status" | "disconnected" | "error":
            state = data.get("state") or data
            what = f"{state['status']}: {state['sentence']}"
        case "connected":
            what = f"as {data['phone_number']}"
        case "warning":
            what = f"{data['code']}: {data['message']}"
        case _:
            what = ""
    return f"{id_:>6} {at:8} {str(data.get('session', ''))[:8]:8} {event:13} {what}"


def usage(url: UrlOption = None, key: KeyOption = None, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Counts and limits of the key."""
    found = run(where(url, key, config), lambda daemon: daemon.ask("GET", "/api/v1/usage"))
    if as_json:
        show_json(found)
        return
    print(f"plan {found['plan']}, scope {found['scope']}")
    for name in ("sessions", "messages_today", "messages_month"):
        limit = found[name]["limit"]
        print(f"{name.replace('_', ' '):>16}  {found[name]['used']} of {limit or 'any number'}")
