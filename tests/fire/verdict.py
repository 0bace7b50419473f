"""What must be true when the fire is out. Everything that is not becomes a finding, in words."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import sqlite3
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.services.courier import chat_of
from gateway.store.journal import Event
from gateway.store.store import open_store
from gateway.store.vault import Vault
from tests.fire.arrivals import arrivals
from tests.fire.plan import LASTING, UNTIL_RESTART
from tests.fire.witness import Reader

if TYPE_CHECKING:
    from tests.fire.harness import Fire

RANK = {"pending": 0, "failed": 0, "sent": 1, "delivered": 2, "read": 3, "played": 4}
SLACK_THREADS, SLACK_FDS, SLACK_MB = 12, 16, 80
# A session's database: the core keeps two connections, each a file and its log; a third one comes and goes. Those that it leaves
# behind when a session is reopened are parted from their files for it (link/sealing/leftover.py), once they are at rest.
FDS_OF_SESSION = 6


def may_fail(fire: Fire, session: int, error: dict[str, Any]) -> bool:
    """The plan's own refusal; what the policy says of a send that was cut off; what was queued on a session that came to an end."""
    match error["code"]:
        case "send_failed":
            return "server returned error 479" in error["message"] and fire.record.struck_on["ack-refused", session] > 0
        case "session_gone":
            return fire.plan.ends.get(session, (0, ""))[1] in LASTING
        case code:
            return bool(code == "send_unconfirmed")


async def states(fire: Fire) -> None:
    """Every session is as it should be."""
    for session, id_ in enumerate(fire.sessions):
        end = fire.plan.ends.get(session)
        # A daemon that was killed between the core's forgetting of the device and its own note of why finds no device later.
        expected = "connected" if end is None else "logged_out" if end[1] in LASTING else UNTIL_RESTART[end[1]]
        try:
            await fire.world.until_session(id_, expected, 60)
        except AssertionError as error:
            fire.record.find(f"session {session} should be {expected}: {str(error).partition(';')[0]}")


# ------------------------------------------------------------------ messages


async def messages(fire: Fire) -> None:
    """Every accepted message is accounted for; every message a contact wrote has arrived once."""
    find = fire.record.find
    records = await fire.world.whatsapp("GET", "/messages")
    arrived = {record["id"]: record for record in records}
    if len(arrived) != len(records):
        find("the sandbox has two records of one id")
    claimed: dict[str, str] = {}
    log = fire.world.log.read_text(errors="replace")
    for accepted in fire.record.accepted:
        message = (await fire.world.client.get(f"/api/v1/messages/{accepted.id}")).body
        where = f"{accepted.text} ({accepted.kind}): {_short(message)}"
        if "status" not in message:
            find(f"lost: {where}")
            continue
        wa_id = message.get("whatsapp_id")
        record = arrived.get(wa_id) if wa_id else None
        if wa_id is not None:
            if wa_id in claimed:
                find(f"two messages share the id {wa_id}: {where}")
            claimed[wa_id] = accepted.id
        if message["status"] == "failed":
            if not may_fail(fire, accepted.session, message["error"]):
                find(f"failed for a reason of its own: {where}")
            if record is not None and record["decrypted"] and not message.get("may_have_been_delivered"):
                find(f"told as failed, and it arrived: {where}")
        elif message["status"] in ("sent", "delivered", "read", "played"):
            if message["status"] == "sent" and record is not None and not record["decrypted"] and no_room_to_repeat(log, wa_id):
                fire.record.not_repeated.append(accepted.text)
            elif record is None or not record["decrypted"]:
                find(f"told as {message['status']}, and nobody could read it: {where}")
            elif accepted.kind == "text" and record["text"] != accepted.text:
                find(f"another text arrived: {record['text']}: {where}")
        else:
            find(f"not settled: {where}")
    _doubles(fire, records, claimed)


def no_room_to_repeat(log: str, wa_id: str) -> bool:
    """The recipient could not read it and asked for it again, just when the disk was full; the core gives that up."""
    return re.search(rf"Failed to handle retry receipt for \S+/{wa_id} .*database or disk is full", log) is not None


def _doubles(fire: Fire, records: list[dict[str, Any]], claimed: dict[str, str]) -> None:
    """What arrived and no accepted message owns up to; the order in which each chat's recipient saw what it got."""
    texts = Counter(record["text"] for record in records if record.get("kind") == "text" and record["decrypted"])
    for text, count in texts.items():
        if count > 1:
            fire.record.find(f"'{text}' arrived {count} times")
    for record in records:
        if record["decrypted"] and record["id"] not in claimed and record.get("kind") in ("text", "voice"):
            fire.record.find(f"nobody owns up to {record['id']} ({record.get('kind')} {record.get('text', '')}) "
                             f"from {record['from_number']} to {record['to']}")
    order: dict[tuple[str, str], list[int]] = defaultdict(list)
    for record in records:
        if record.get("kind") == "text" and record["decrypted"] and record["text"].startswith("out "):
            order[record["from_number"], record["to"]].append(int(record["text"].rpartition(".")[2]))
    for chat, numbers in order.items():
        if numbers != sorted(numbers):
            fire.record.find(f"the order of {chat} is {numbers}")


def _short(message: dict[str, Any]) -> dict[str, Any]:
    return {name: message.get(name) for name in ("id", "status", "stage", "whatsapp_id", "error", "may_have_been_delivered",
                                                 "attempts")} if "status" in message else message


# ------------------------------------------------------------------ who listened


async def witnesses(fire: Fire) -> None:
    """Readers and receiver get what there still is to get; a delivery that failed four times has its next try after two minutes."""
    head = 0
    for tries in range(1500):
        async with fire.world.client.stream("/api/v1/events") as events:
            async for number, _, _ in events:
                head = int(number)
                break
        counts = (await fire.world.client.get(f"/api/v1/webhooks/{fire.webhook}")).body
        if all(reader.seen and reader.seen[-1] >= head for reader in fire.readers[:2]) and counts["waiting"] == 0:
            break
        if tries % 50 == 49:
            fire.say(f"events up to {head}; the readers are at {[reader.seen[-1:] for reader in fire.readers]}, for the webhook "
                     f"{counts['waiting']} deliveries wait")
        await asyncio.sleep(0.2)
    if counts["waiting"] or counts["parked"]:
        fire.record.find(f"the webhook still has {counts['waiting']} waiting and {counts['parked']} parked deliveries")


def _heard(fire: Fire, journal: list[Event]) -> None:
    """Codes are left out: they are not told again once they cannot be scanned any more."""
    told = [event for event in journal if event.type not in ("qr", "pairing_code")]
    for name, reader, wanted in (("a reader of all", fire.readers[0], told), ("another reader", fire.readers[1], told), (
            "a session's reader", fire.readers[2], [event for event in told if event.session_id == fire.sessions[0]])):
        _read_once(fire, name, reader, {event.seq for event in journal} - {event.seq for event in told},
                   [event.seq for event in wanted])
    first: dict[int, int] = {}
    for place, delivery in enumerate(fire.receiver.taken):
        first.setdefault(delivery["seq"], place)
    born = min((event.seq for event in told if event.seq in first), default=0)
    missing = [event.seq for event in told if event.seq >= born and event.seq not in first]
    if missing:
        fire.record.find(f"{len(missing)} events never reached the webhook, the first is {missing[0]}")
    if fire.receiver.forged:
        fire.record.find(f"{fire.receiver.forged} deliveries had a wrong signature")
    chats: dict[str, list[int]] = defaultdict(list)
    for event in told:
        if event.seq in first:
            chats[chat_of(event)].append(first[event.seq])
    for chat, places in chats.items():
        if places != sorted(places):
            events = [event for event in told if event.seq in first and chat_of(event) == chat]
            late = next(n for n in range(1, len(places)) if places[n] < places[n - 1])
            tries = [(place, delivery["seq"]) for place, delivery in enumerate(fire.receiver.taken)
                     if delivery["seq"] in (events[late - 1].seq, events[late].seq)]
            fire.record.find(f"the webhook heard {chat} out of order: event {events[late].seq} before {events[late - 1].seq}, "
                             f"which came (place, event): {tries}")


def _read_once(fire: Fire, name: str, reader: Reader, codes: set[int], wanted: list[int]) -> None:
    seen = [number for number in reader.seen if number not in codes]
    twice = [number for number, count in Counter(seen).items() if count > 1]
    missed = sorted(set(wanted) - set(seen))
    if twice or missed or seen != sorted(seen):
        at = (missed or twice or seen)[0]
        near = [came for came in reader.came if abs(came[1] - at) < 50 or abs(came[2] - at) < 50]
        fire.record.find(f"{name} saw {len(seen)} of {len(wanted)} events, missed {missed[:5]}, saw twice {twice[:5]}; "
                         f"it came back thereabouts (when, after, first): {near[:5]}")
    if reader.comings < 2:
        fire.record.find(f"{name} never had to come back: this proves nothing")


# ------------------------------------------------------------------ what lies there


async def remains(fire: Fire) -> None:
    """The state folder after the last stop."""
    state = fire.world.state
    async with open_store(state, Vault.load(state)) as store:
        journal: list[Event] = []
        while page := await store.journal.after(journal[-1].seq if journal else 0, 1000):
            journal += page
    _journal(fire, journal)
    await arrivals(fire, journal)
    _heard(fire, journal)
    _costs(fire)
    with sqlite3.connect(state / "gateway.db") as database:
        if (said := database.execute("PRAGMA integrity_check").fetchall()) != [("ok",)]:
            fire.record.find(f"gateway.db: {said}")
    database.close()
    await _session_files(fire)
    log = fire.world.log.read_text(errors="replace")
    for line in log.splitlines():
        if "Traceback" in line or '"level":"critical"' in line or "fatal error" in line:
            fire.record.find(f"the log has a surprise: {line[-1500:]}")


def _journal(fire: Fire, journal: list[Event]) -> None:
    find = fire.record.find
    numbers = [event.seq for event in journal]
    if numbers != list(range(1, len(numbers) + 1)):
        holes = [after for before, after in itertools.pairwise(numbers) if after != before + 1]
        find(f"the journal has holes before {holes[:5]}")
    of: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in journal:
        if event.type == "receipt":
            of[event.data["id"]].append(event.data)
    for accepted in fire.record.accepted:
        told = of[accepted.id]
        statuses = [data["status"] for data in told]
        if not told or (statuses[0], told[0]["stage"]) != ("pending", "queued"):
            find(f"the journal does not begin {accepted.text} with its acceptance: {statuses}")
        if any(RANK[after] < RANK[before] for before, after in itertools.pairwise(statuses)
               if not (before == "pending" and after == "failed")):
            find(f"{accepted.text} goes backwards in the journal: {statuses}")
        if len(told) > 1 and told[-1]["at"] is None:
            find(f"{accepted.text} has no time: {told[-1]}")


def held(fire: Fire) -> list[str]:
    """What the process holds at the end that it did not hold when it was young."""
    baseline, final = fire.record.baseline, fire.record.final
    now = {"threads": final["threads"], "rss_mb": final["rss_mb"], "fds but those of sessions": final["fds"] - final["session_fds"]}
    before = {"threads": baseline["threads"], "rss_mb": baseline["rss_mb"],
              "fds but those of sessions": baseline["fds"] - baseline["session_fds"]}
    found = [f"{name} went from {before[name]:g} to {now[name]:g}"
             for name, slack in zip(now, (SLACK_THREADS, SLACK_MB, SLACK_FDS), strict=True) if now[name] > before[name] + slack]
    live = fire.plan.sessions - len(fire.plan.ends)
    if final["session_fds"] > FDS_OF_SESSION * live:
        found.append(f"{live} sessions hold {final['session_fds']:g} descriptors of their files, after {final['openings']:g} openings")
    return found


def _costs(fire: Fire) -> None:
    if fire.record.final:
        fire.record.findings += held(fire)
    for sample in fire.record.samples:                      # and meanwhile; all that were opened may still be coming to rest
        if sample["session_fds"] > FDS_OF_SESSION * max(sample["openings"], fire.plan.sessions):
            fire.record.find(f"too many descriptors of sessions' files: {sample}")
            break


# Run in a process of its own: the library's SQLite, with the sealed store. For each session its integrity and its secrets.
_READ = """
import json, sqlite3, sys
from pathlib import Path
from gateway.link import session_sqlite
from gateway.link.sealed_store import SealedStore
from gateway.store.vault import Vault
state = Path(sys.argv[1])
vault, store, out = Vault.load(state), SealedStore.install(), {}
for id_, wrapped, jid in sqlite3.connect(state / "gateway.db").execute("SELECT id, wrapped_key, jid FROM sessions"):
    path = state / "sessions" / f"{id_}.db"
    data_key = vault.unwrap(wrapped, f"session/{id_}")
    store.add(path, data_key)
    keys = [data_key.hex()]
    try:
        with session_sqlite.connect(path) as c:
            said = c.one("PRAGMA integrity_check")
            rows = c.query("SELECT noise_key, identity_key, adv_key FROM whatsmeow_device")
            rows += c.query("SELECT key FROM whatsmeow_pre_keys ORDER BY key_id DESC LIMIT 3")
            rows += [(record[40:80],) for (record,) in c.query("SELECT session FROM whatsmeow_sessions LIMIT 3")]
            keys += [key.hex() for row in rows for key in row]
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
    out[id_] = [said, keys]
print(json.dumps(out))
"""


async def _session_files(fire: Fire) -> None:
    """They are whole, and nothing in them was ever readable: not now, and not in what a kill had left."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _READ, str(fire.world.state), env=fire.world.environment,
                                                   stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    needles: list[bytes] = [b"whatsmeow_", b"out 0.", b"in 0."]
    for id_, (said, keys) in json.loads(out or b"{}").items():
        if said != "ok":
            fire.record.find(f"session {fire.sessions.index(id_)}'s file: {said}")
        needles += [bytes.fromhex(key) for key in keys]
    if len(needles) < 4:
        fire.record.find("no session's file could be read")
    for folder in (fire.world.state, *fire.snapshots):
        await asyncio.to_thread(_search, fire, folder, needles)
    _search(fire, fire.world.folder, needles, only="daemon.log")


def _search(fire: Fire, folder: Path, needles: list[bytes], only: str = "**/*") -> None:
    for file in folder.glob(only):
        if not file.is_file() or file.is_symlink():
            continue
        content = file.read_bytes()
        for needle in needles:
            if needle in content and not (needle == b"whatsmeow_" and file.name == "daemon.log"):
                fire.record.find(f"{needle[:12]!r}… is readable in {file.relative_to(fire.world.folder)}")
