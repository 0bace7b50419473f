"""A daemon with many sessions under mixed traffic, while whatever can go wrong does; then everything is counted.

The sandbox WhatsApp and the daemon are processes of their own. `run` does it all and returns what it found; `verdict` holds
the questions that are asked when it is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from gateway.audio.voice_note import make_voice_note
from tests.e2e.world import World
from tests.e2e.world import world as open_world
from tests.fire.plan import LASTING, UNTIL_RESTART, Plan, Strike, Utterance, conversation
from tests.fire.witness import Reader, Receiver
from tests.running import Client

HELLO = Path(__file__).parents[2] / "gateway" / "examples" / "hello.mp3"
DISK_BYTES = 400 << 20
SNAPSHOTS = 3
SHORT_SECONDS = 300
STOP_SECONDS = 45           # as the service manager is told (cli/systemd)


def phone_of(session: int) -> str:
    return str(15551000001 + session * 10)


def contact_of(session: int, contact: int) -> str:
    return str(15553000001 + session * 1000 + contact * 10)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A message the gateway answered 202."""

    id: str
    session: int
    to: str
    kind: str
    text: str


@dataclass
class Record:
    """What happened, for the verdict and the report."""

    accepted: list[Accepted] = field(default_factory=list)
    written: dict[str, tuple[int, float, str]] = field(default_factory=dict)    # inbound: its text -> session, when, id
    lives: list[tuple[float, str]] = field(default_factory=list)    # how each daemon ended: when, "kill" or "stop"
    disk_full: list[tuple[float, float]] = field(default_factory=list)      # from when to when
    locked: list[tuple[float, float]] = field(default_factory=list)         # the database, by somebody else
    lost_to_kills: list[str] = field(default_factory=list)          # inbound, acknowledged by the core and not stored yet
    not_repeated: list[str] = field(default_factory=list)           # ours, which the core had no room to encrypt once more
    told_unreadable: list[str] = field(default_factory=list)        # inbound, which the core could not store the keys of
    receipts_lost: set[str] = field(default_factory=set)            # messages of ours whose receipt was, in one of these ways
    left_at_whatsapp: int = 0                                       # inbound, of a session that ended before it fetched them
    answers: Counter[str] = field(default_factory=Counter)          # to sends: status and code
    struck: Counter[str] = field(default_factory=Counter)
    hit: Counter[str] = field(default_factory=Counter)              # faults that met something, by kind of trouble
    struck_on: Counter[tuple[str, int]] = field(default_factory=Counter)    # kind and session
    starts: int = 0
    failed_starts: int = 0
    ready_seconds: list[float] = field(default_factory=list)        # from the start to listening, after a kill
    samples: list[dict[str, float]] = field(default_factory=list)   # of the process: at, pid, and what `measure` says
    baseline: dict[str, float] = field(default_factory=dict)
    final: dict[str, float] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)

    def find(self, what: str) -> None:
        self.findings.append(what)

    def store_down(self) -> list[tuple[float, float]]:
        return [*self.disk_full, *self.locked]


def measure(pid: int) -> dict[str, float]:
    """What a process holds now. `session_fds`: descriptors of sessions' files."""
    status = Path(f"/proc/{pid}/status").read_text()
    number = {name: float(rest.split()[0]) for name, _, rest in (line.partition(":") for line in status.splitlines())
              if name in ("VmRSS", "Threads")}
    targets = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            targets.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return {"rss_mb": round(number["VmRSS"] / 1024, 1), "threads": number["Threads"], "fds": len(targets),
            "session_fds": sum("/state/sessions/" in target for target in targets)}


@contextlib.contextmanager
def small_disk(folder: Path) -> Any:
    """A disk of its own for the state folder, so that it can be filled. False where that is not allowed."""
    folder.mkdir(parents=True)
    mounted = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=700", "tmpfs", str(folder)], capture_output=True, check=False,
    ).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=False)


class Fire:
    """One run. `await run()`; then look at `record`."""

    def __init__(self, world: World, plan: Plan, *, gap: float, disk: bool, receiver: Receiver,
                 say: Callable[[str], None] = lambda text: None) -> None:
        self.world, self.plan, self.gap, self.disk, self.receiver, self.say = world, plan, gap, disk, receiver, say
        self.record = Record()
        self.sessions: list[str] = []
        self.readers: list[Reader] = []
        self.snapshots: list[Path] = []
        self.webhook = ""
        self._voice = b""
        self._switching = asyncio.Lock()
        self._ended: set[int] = set()
        self._over = False
        self._loop_work: list[asyncio.Task[Any]] = []

    def client(self) -> Client:
        return self.world.client

    # ------------------------------------------------------------------ the run

    async def run(self) -> None:
        await self._prepare()
        background = [asyncio.create_task(work) for work in (*(reader.run() for reader in self.readers), self._sample())]
        began = time.monotonic()
        talking = [asyncio.create_task(self._talk(session, began)) for session in range(self.plan.sessions)]
        striking = [asyncio.create_task(self._later(began + strike.at, self._strike(strike))) for strike in self.plan.strikes]
        ending = [asyncio.create_task(self._later(began + at, self._end(session, how)))
                  for session, (at, how) in self.plan.ends.items() if how in LASTING]
        try:
            await asyncio.gather(*striking, *ending)
            await asyncio.gather(*talking)
            self.say(f"fire ended after {time.monotonic() - began:.0f} s; settling")
            await self._calm()
            await self._settle()
        finally:
            for task in (*background, *talking, *striking, *ending):
                task.cancel()
            await asyncio.gather(*background, *talking, *striking, *ending, return_exceptions=True)

    async def _prepare(self) -> None:
        self._voice = (await asyncio.to_thread(make_voice_note, HELLO.read_bytes())).ogg
        await self._revive()
        for session in range(self.plan.sessions):
            self.sessions.append(await self.world.link(f"s{session}", phone_of(session)))
            for contact in range(4):
                await self.world.whatsapp("POST", "/contacts", {"number": contact_of(session, contact), "deliver": 0.05,
                                                                "read": 0.2 if contact % 2 else None, "play": 0.2})
        made = await self.world.client.post("/api/v1/webhooks", {"url": self.receiver.url})
        assert made.status == 201, made.body
        self.webhook, self.receiver.secret = made.body["id"], made.body["secret"]
        self.readers = [Reader(self.client), Reader(self.client), Reader(self.client, f"/api/v1/sessions/{self.sessions[0]}/stream")]
        # A young process that has sent once on every session is what the end is compared with.
        await self._restart()
        await self._all_connected(range(self.plan.sessions))
        for session in range(self.plan.sessions):
            await self._send(session, Utterance(0, "out", "mp3", 0), 0)
        await self._until_nothing_waits(60)
        self.record.baseline = await self._measure()
        self.say(f"{self.plan.sessions} sessions linked; baseline {self.record.baseline}")

    async def _later(self, at: float, work: Awaitable[None]) -> None:
        try:
            await asyncio.sleep(max(0.0, at - time.monotonic()))
        except asyncio.CancelledError:
            work.close()                                # type: ignore[attr-defined]
            raise
        await work

    async def _sample(self) -> None:
        began = time.monotonic()
        while True:
            process = self.world.process
            if process is not None and process.returncode is None:
                with contextlib.suppress(aiohttp.ClientError, OSError, KeyError, TimeoutError):
                    self.record.samples.append({"at": round(time.monotonic() - began, 1), "pid": process.pid,
                                                **await self._measure()})
            await asyncio.sleep(2)

    async def _measure(self) -> dict[str, float]:
        """With `openings`, of sessions in the core, in this process's life."""
        assert self.world.process is not None
        holds = measure(self.world.process.pid)
        page = (await self.world.client.get("/metrics")).body.decode()
        openings = next(float(line.split()[1]) for line in page.splitlines() if line.startswith("wagateway_core_openings "))
        return {**holds, "openings": openings}

    # ------------------------------------------------------------------ traffic

    async def _talk(self, session: int, began: float) -> None:
        for number, utterance in enumerate(conversation(self.plan.seed, session, self.gap), 1):
            await asyncio.sleep(utterance.pause)
            if time.monotonic() - began > self.plan.seconds or session in self._ended:
                return
            if utterance.way == "out":
                await self._send(session, utterance, number)
            else:
                await self._write(session, utterance, number)

    async def _send(self, session: int, utterance: Utterance, number: int) -> None:
        """Until it is answered: a request that broke off is made again under its Idempotency-Key, so it is one message."""
        to, text = contact_of(session, utterance.contact), f"out {session}.{number}"
        key = f"{self.plan.seed}-{session}-{number}"
        while not self._over:
            try:
                status, body = await self._post(session, utterance.kind, to, text, key)
            except (aiohttp.ClientError, OSError, TimeoutError):
                self.record.answers["broken off"] += 1
                await asyncio.sleep(0.2)
                continue
            code = body.get("error", {}).get("code", "") if isinstance(body, dict) else ""
            self.record.answers[f"{status} {code}".strip()] += 1
            if status == 202:
                self.record.accepted.append(Accepted(body["id"], session, to, utterance.kind, text))
                return
            if code not in ("storage_unavailable", "stopping"):
                if code != "session_not_connected":
                    self.record.find(f"a send was answered {status} {body}")
                return
            await asyncio.sleep(0.3)

    async def _post(self, session: int, kind: str, to: str, text: str, key: str) -> tuple[int, Any]:
        client, headers = self.world.client, {"Idempotency-Key": key}
        if kind == "text":
            answer = await client.post("/api/v1/messages", {"session": self.sessions[session], "to": f"+{to}", "message": text},
                                       headers=headers)
        else:
            form = aiohttp.FormData()
            form.add_field("session", self.sessions[session])
            form.add_field("to", f"+{to}")
            audio = self._voice if kind == "voice" else HELLO.read_bytes()
            form.add_field("file", audio, filename="a.ogg" if kind == "voice" else "a.mp3")
            answer = await client("POST", "/api/v1/messages/audio", data=form, headers=headers)
        return answer.status, answer.body

    async def _write(self, session: int, utterance: Utterance, number: int, **more: Any) -> None:
        text = f"in {session}.{number}"
        at = time.time()
        sent = await self.world.whatsapp("POST", f"/contacts/{contact_of(session, utterance.contact)}/send",
                                         {"to": phone_of(session), "text": text, **more})
        self.record.written[text] = session, at, sent["id"]

    # ------------------------------------------------------------------ trouble

    async def _strike(self, strike: Strike) -> None:
        kind, seconds, device = strike.kind, strike.seconds, phone_of(strike.session)
        self.record.struck[kind] += 1
        self.record.struck_on[kind, strike.session] += 1
        whatsapp = self.world.whatsapp

        async def fault(body: dict[str, Any], *, drop: bool = False) -> None:
            made = await whatsapp("POST", "/faults", {"device": device, **body})
            if drop:
                await whatsapp("POST", f"/devices/{device}/drop", {})
            await asyncio.sleep(seconds)
            met = next((rule["hits"] for rule in await whatsapp("GET", "/faults") if rule["id"] == made["id"]), 0)
            self.record.hit[kind] += met > 0
            await whatsapp("DELETE", f"/faults?id={made['id']}")        # this one: another device may have one of its kind

        match kind:
            case "kill":
                await self._kill()
            case "restart":
                await self._restart()
            case "drop" | "close" | "malformed":
                await whatsapp("POST", f"/devices/{device}/{kind}", {})
            case "stream-503" | "stream-500" | "stream-515":
                action = {"stream-503": "restart", "stream-500": "stream-error", "stream-515": "reconnect"}[kind]
                await whatsapp("POST", f"/devices/{device}/{action}", {})
            case "cut":
                await whatsapp("POST", "/cut", {})
            case "mute" | "stall":
                await whatsapp("POST", f"/devices/{device}/mute", {})
                await asyncio.sleep(seconds)
                await whatsapp("POST", f"/devices/{device}/{'drop' if kind == 'mute' else 'unmute'}", {})
            case "connect-refused" | "connect-mute":
                await fault({"kind": "connect", "mode": kind.removeprefix("connect-").removesuffix("d"), "device": None}, drop=True)
            case "login-503" | "login-500":
                await fault({"kind": "login", "reason": int(kind[-3:])}, drop=True)
            case "login-402":           # a ban for that long
                await whatsapp("POST", "/faults", {"device": device, "kind": "login", "reason": 402, "code": 101,
                                                   "expire": round(seconds), "times": 1})
                await whatsapp("POST", f"/devices/{device}/drop", {})
            case "login-405" | "login-409" | "replaced":
                await self._end_for_now(strike.session, "replace" if kind == "replaced" else kind)
                await asyncio.sleep(seconds)
                await self._connect(strike.session)
            case "ack-held":            # a lost one keeps the session for 75 s; here its connection goes before that
                await fault({"kind": "ack", "mode": "hold", "times": 1})
                await whatsapp("POST", f"/devices/{device}/drop", {})
            case "ack-late":
                await fault({"kind": "ack", "mode": "delay", "seconds": seconds, "times": 3})
            case "ack-refused":
                await fault({"kind": "ack", "mode": "error", "code": 479, "times": 1})
            case "upload-500":
                await fault({"kind": "upload", "status": 500, "device": None})
            case "upload-slow":
                await fault({"kind": "upload", "seconds": 1.0, "device": None})
            case "receipts-late":
                await fault({"kind": "receipt", "seconds": seconds})
            case "recipient-cannot-decrypt":
                await fault({"kind": "decrypt", "times": 1})
            case "disk-full":
                await self._fill_disk(seconds)
            case "database-busy":
                await asyncio.to_thread(self._lock_database, seconds)
            case "undecryptable":
                await self._write(strike.session, Utterance(0, "in", "text", 0), 1_000_000 + self.record.struck[kind], corrupt=True)
            case "receiver-down":
                await self.receiver.down()
                await asyncio.sleep(seconds)
                await self.receiver.up()
            case "receiver-refuses":
                self.receiver.refusing = True
                await asyncio.sleep(seconds)
                self.receiver.refusing = False
            case "reader-cut":
                for reader in self.readers:
                    reader.cut()
            case _:
                raise ValueError(kind)

    async def _end(self, session: int, how: str) -> None:
        self._ended.add(session)
        self.record.struck[how if how != "replace" else "replaced"] += 1
        await self._end_for_now(session, how)

    async def _connect(self, session: int) -> None:
        """As somebody does who has looked into it."""
        await self._ask(f"/api/v1/sessions/{self.sessions[session]}/connect")

    async def _ask(self, path: str, body: Any = None) -> None:
        """Again where the daemon is just down, or its disk full."""
        answer = None
        for _ in range(200):
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                answer = await self.world.client.post(path, body)
                if answer.status < 400:
                    return
            await asyncio.sleep(0.5)
        self.record.find(f"{path} was not done: {answer}")

    async def _end_for_now(self, session: int, how: str) -> None:
        device = phone_of(session)
        if how.startswith("login-"):
            await self.world.whatsapp("POST", "/faults", {"kind": "login", "device": device, "reason": int(how[-3:]), "times": 1})
        action = "drop" if how.startswith("login-") else how
        await self.world.whatsapp("POST", f"/devices/{device}/{action}", {})

    async def _fill_disk(self, seconds: float) -> None:
        ballast = self.world.state / f"ballast{self.record.struck['disk-full']}"       # another one may still lie there
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(b"\0" * (1 << 20))
        began = time.time()
        await asyncio.sleep(seconds)
        ballast.unlink(missing_ok=True)
        self.record.disk_full.append((began, time.time()))

    def _lock_database(self, seconds: float) -> None:
        connection = sqlite3.connect(self.world.state / "gateway.db", timeout=5, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            began = time.time()
            time.sleep(seconds)
            connection.execute("ROLLBACK")
            self.record.locked.append((began, time.time()))
        except sqlite3.OperationalError:
            self.record.struck["database-busy: not got"] += 1
        finally:
            connection.close()

    # ------------------------------------------------------------------ the daemon

    async def _kill(self) -> None:
        async with self._switching:
            await self.world.kill()
            self.record.lives.append((time.time(), "kill"))
            if len(self.snapshots) < SNAPSHOTS:
                copy = self.world.folder / f"snapshot{len(self.snapshots)}"
                await asyncio.to_thread(shutil.copytree, self.world.state, copy, ignore=shutil.ignore_patterns("ballast*"))
                self.snapshots.append(copy)
            await self._revive()

    async def _restart(self) -> None:
        async with self._switching:
            await self._stop()
            await self._revive()

    async def _stop(self) -> None:
        try:
            if (code := await self.world.stop(STOP_SECONDS)) != 0:
                self.record.find(f"a graceful stop ended with {code}")
            self.record.lives.append((time.time(), "stop"))
        except TimeoutError:
            self.record.find(f"a graceful stop took more than {STOP_SECONDS} s")
            await self.world.kill()
            self.record.lives.append((time.time(), "kill"))

    async def _revive(self) -> None:
        """As a service manager does: started again until it runs."""
        began = time.monotonic()
        while True:
            try:
                await self.world.start()
                break
            except AssertionError:
                self.record.failed_starts += 1
                if time.monotonic() - began > 90:
                    raise
                await asyncio.sleep(0.5)
        self.record.starts += 1
        self.record.ready_seconds.append(round(time.monotonic() - began, 2))

    # ------------------------------------------------------------------ afterwards

    async def _calm(self) -> None:
        """No trouble any more."""
        self._over = True
        ended = {phone_of(session) for session in self._ended}      # who may still be on the way to the login that ends it
        for rule in await self.world.whatsapp("GET", "/faults"):
            if rule["device"] not in ended:
                await self.world.whatsapp("DELETE", f"/faults?id={rule['id']}")
        for device in (await self.world.whatsapp("GET", "/state"))["devices"]:
            if device["muted"]:
                await self.world.whatsapp("POST", f"/devices/{device['phone']}/unmute", {})
        self.receiver.refusing = False
        await self.receiver.up()
        if self.plan.seconds < SHORT_SECONDS:               # a delivery that has failed often waits for minutes by itself
            await self._ask("/api/v1/webhooks/deliveries/replay", {"webhook": self.webhook, "status": "waiting"})
        for _ in range(3):                      # a second trouble may have come after somebody's help, or be on its way
            for session in set(range(self.plan.sessions)) - self._ended:
                state = (await self.world.client.get(f"/api/v1/sessions/{self.sessions[session]}")).body
                if state["reason"] in UNTIL_RESTART.values():
                    await self._connect(session)
            await asyncio.sleep(0.5)
        await self._all_connected([session for session, (_, how) in self.plan.ends.items() if how not in LASTING])
        await self._until_nothing_waits(180)        # what is queued on a session that ends like this would wait for somebody
        for session, (_, how) in self.plan.ends.items():
            if how not in LASTING:
                await self._end(session, how)

    async def _all_connected(self, sessions: Any, seconds: float = 150) -> None:
        waits = [asyncio.create_task(self.world.until_session(self.sessions[session], "connected", seconds))
                 for session in sessions]
        for session, outcome in zip(sessions, await asyncio.gather(*waits, return_exceptions=True), strict=True):
            if isinstance(outcome, BaseException):
                self.record.find(f"session {session} is not connected: {str(outcome).partition(';')[0]}")

    async def _settle(self) -> None:
        from tests.fire import verdict

        await self._all_connected([session for session in range(self.plan.sessions) if session not in self.plan.ends])
        await verdict.states(self)
        self.say("every session is as it should be")
        await self._until_nothing_waits(180)
        for session in range(self.plan.sessions):           # and every one of them still works
            if session not in self.plan.ends:
                self._over = False
                await self._send(session, Utterance(0, "out", "text", 0), 2_000_000)
        self._over = True
        await self._until_nothing_waits(60)
        self.say("no message waits")
        await verdict.messages(self)
        await verdict.witnesses(self)
        self.say("everybody was told")
        for _ in range(45):                                 # idle connections are closed after a while
            self.record.final = await self._measure()
            if not verdict.held(self):
                break
            await asyncio.sleep(1)
        await self._stop()
        await verdict.remains(self)

    async def _until_nothing_waits(self, seconds: float) -> None:
        """No message is under way, and no receipt that will come."""
        began = told = time.monotonic()
        while time.monotonic() < began + seconds:
            waiting = [message for status in ("pending", "sent")
                       for message in (await self.world.client.get(f"/api/v1/messages?status={status}&limit=200")).body["messages"]]
            if not waiting:
                return
            if time.monotonic() > began + 3:
                waiting = [message for message in waiting if not await self._is_as_it_stays(message)]
                if not waiting:
                    return
                await asyncio.sleep(1)
            if time.monotonic() > told + 10:
                told = time.monotonic()
                self.say(f"{len(waiting)} messages wait, for example {waiting[0]}")
            await asyncio.sleep(0.3)
        for message in waiting[:10]:
            self.record.find(f"after {seconds:.0f} s a message is still {message['status']}: {message}")


    async def _is_as_it_stays(self, message: dict[str, Any]) -> bool:
        from tests.fire.arrivals import lost_receipt
        from tests.fire.verdict import no_room_to_repeat

        if message["status"] != "sent":
            return False
        if no_room_to_repeat(self.world.log.read_text(errors="replace"), message["whatsapp_id"]):
            return True                                         # nobody could read it: the verdict looks at that
        if not await lost_receipt(self, self.sessions.index(message["session"]), message):
            return False
        self.record.receipts_lost.add(message["id"])
        return True


@asynccontextmanager
async def fire(folder: Path, plan: Plan, *, gap: float, say: Callable[[str], None] = lambda text: None) -> AsyncIterator[Fire]:
    """Everything around a run."""
    with small_disk(folder / "world" / "state") as disk:
        async with open_world(folder / "world", WAGATEWAY_SENDING_NO_ACK_SECONDS="3",
                              WAGATEWAY_SENDING_SETTLE_SECONDS="8") as world, Receiver() as receiver:
            yield Fire(world, plan, gap=gap, disk=disk, receiver=receiver, say=say)
