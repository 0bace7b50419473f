"""The soak: a daemon and the sandbox as processes of their own, a life in a few hours, and a look at what it costs every few
seconds. `run` does it; `result` tells at any time what there is so far."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from gateway.audio.voice_note import make_voice_note
from gateway.services.qr import png
from tests.e2e.world import World
from tests.e2e.world import world as open_world
from tests.fire.harness import HELLO, contact_of, phone_of
from tests.fire.witness import Receiver
from tests.machine import machine
from tests.soak import costs, plan
from tests.soak.daemon import INSIDE, OPENINGS
from tests.soak.judge import judge
from tests.soak.pairings import Abandoned
from tests.soak.visitors import BROKEN, Visitors

CONTACTS = 6
MOST_SAMPLES = 1400
MEMORY_EVERY = 6                # samples: the look at the kinds of memory is dear
QUIET_SECONDS = 20.0            # at the end, so that what is under way can end
SETTINGS = {                    # what is old goes soon, so that the store has its size within the run
    "WAGATEWAY_RETENTION_JOURNAL_DAYS": "0.007", "WAGATEWAY_RETENTION_MESSAGES_DAYS": "0.01",
    "WAGATEWAY_MEDIA_RETENTION_HOURS": "0.15", "WAGATEWAY_PACING_RECORDING_PRESENCE": "true"}


class Soak:
    def __init__(self, world: World, receiver: Receiver, *, seed: int, sessions: int, seconds: float, gap: float,
                 say: Callable[[str], None] = lambda text: None) -> None:
        self.world, self.receiver, self.say = world, receiver, say
        self.seed, self.count, self.seconds, self.gap = seed, sessions, seconds, gap
        self.plan = plan.draw(seed, sessions, seconds)
        self.stop = asyncio.Event()         # ends the run early
        self.sessions: list[str] = []
        self.samples: list[costs.Sample] = []
        self.done: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.trouble: list[str] = []        # what should not have happened
        self.final: costs.Sample = {}
        self.cpu: dict[str, float] = {}
        self.pairings, self.visitors = Abandoned(world), Visitors(world, seed)
        self._commands = [asyncio.Lock() for _ in range(sessions)]      # one thing at a time is done to a session
        self._openings, self._inside = world.folder / "openings", world.folder / "inside.json"
        self._voice, self._picture = b"", png("a picture")
        self._pid = 0
        self._began = self._ended = 0.0

    # ------------------------------------------------------------------ the run

    async def run(self) -> None:
        await self._prepare()
        self._began = time.monotonic()
        background = [asyncio.create_task(work) for work in (
            self._sample(), self._tidy(), self.visitors.attend(), *(self._talk(session) for session in range(self.count)))]
        happening = [asyncio.create_task(self._happen(it)) for it in self.plan]
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stop.wait(), self.seconds)
            self._ended = time.monotonic()
            self.say(f"ending after {self._ended - self._began:.0f} s")
            for task in background[2:] + happening:
                task.cancel()
            await self._end()
        finally:
            for task in (*background, *happening):
                task.cancel()
            for outcome in await asyncio.gather(*background, *happening, return_exceptions=True):
                if isinstance(outcome, Exception):
                    self.trouble.append(f"the harness: {type(outcome).__name__}: {outcome}"[:300])

    async def _prepare(self) -> None:
        self._voice = (await asyncio.to_thread(make_voice_note, HELLO.read_bytes())).ogg
        self.world.program = ["-m", "tests.soak.daemon"]
        self.world.environment |= {OPENINGS: str(self._openings), INSIDE: str(self._inside)}
        self._openings.touch()
        await self.world.start()
        assert self.world.process is not None
        self._pid = self.world.process.pid
        made = await self.world.client.post("/api/v1/webhooks", {"url": self.receiver.url})
        self.receiver.secret = made.body["secret"]
        for session in range(self.count):
            self.sessions.append(await self.world.link(f"s{session}", phone_of(session)))
            for contact in range(CONTACTS):
                await self.world.whatsapp("POST", "/contacts", {
                    "number": contact_of(session, contact), "deliver": 0.2, "read": 1.0 if contact % 2 else None, "play": 2.0})
        self.say(f"{self.count} sessions linked, {len(self.plan)} things will happen")

    async def _end(self) -> None:
        """Quiet, then a last look, and a last message on each session."""
        await self.world.whatsapp("DELETE", "/faults")
        await self.receiver.up()
        quiet = min(QUIET_SECONDS, (self._ended - self._began) / 4)
        await asyncio.sleep(quiet)
        for session, id_ in enumerate(self.sessions):
            try:
                await self.world.until_session(id_, "connected", 120)
                sent = await self.world.send(f"+{contact_of(session, 0)}", "the last one", session=id_)
                await self.world.until_message(sent, "sent", "delivered", "read", seconds=60)
            except AssertionError as error:
                self.trouble.append(f"session {session} at the end: {str(error).partition(';')[0]}"[:300])
        for left in (await self.world.client.get("/api/v1/sessions?limit=500")).body["sessions"]:
            if left["id"] not in self.sessions and left["status"] == "pending":
                await self.world.client.delete(f"/api/v1/sessions/{left['id']}")
        await asyncio.sleep(min(3.0, quiet))
        self.final = self.look(kinds=True)
        if self.final["children"] > 1:
            self.trouble.append(f"{self.final['children']:g} child processes are left; one that waits for the next pairing is meant")
        self.cpu = self._cpu()
        try:
            if (code := await self.world.stop()) != 0:
                self.trouble.append(f"the daemon's stop ended with {code}")
        except TimeoutError:
            self.trouble.append("the daemon did not stop within 20 s")
        for line in self.world.log.read_text(errors="replace").splitlines():
            if "Traceback" in line or '"level":"critical"' in line or "fatal error" in line:
                self.trouble.append(f"the log: {line[-400:]}")

    def _cpu(self) -> dict[str, float]:
        """Seconds of it: the daemon with the children that have ended, the sandbox, and this process."""
        spent = {"harness": round(time.process_time(), 1)}
        with contextlib.suppress(OSError):
            for pid in costs.children(os.getpid()):
                spent["daemon" if pid == self._pid else "sandbox"] = round(costs.cpu_seconds(pid, with_children=pid == self._pid), 1)
        return spent

    # ------------------------------------------------------------------ what it costs

    def look(self, *, kinds: bool) -> costs.Sample:
        sample = costs.quick(self._pid) | costs.disk(self.world.state)
        if kinds:
            sample |= costs.memory(self._pid)
            with contextlib.suppress(FileNotFoundError):
                sample |= json.loads(self._inside.read_text())
        return sample | {"openings": float(self._openings.stat().st_size),
                         "cpu_seconds": round(costs.cpu_seconds(self._pid, with_children=True), 1)}

    async def _sample(self) -> None:
        every, due, number = max(0.5, self.seconds / MOST_SAMPLES), self._began, 0
        while True:
            await asyncio.sleep(max(0.05, due - time.monotonic()))
            due += every
            try:
                sample = self.look(kinds=number % MEMORY_EVERY == 0)
            except OSError as error:
                self.trouble.append(f"the daemon cannot be looked at any more: {error}")
                self.stop.set()
                return
            self.samples.append({"at": round(time.monotonic() - self._began, 1), **sample})
            number += 1

    async def _tidy(self) -> None:
        """The sandbox keeps what it has seen, and the receiver too; theirs is not what is measured."""
        while True:
            await asyncio.sleep(60)
            with contextlib.suppress(*BROKEN):
                await self.world.whatsapp("DELETE", "/messages")
            self.done["webhook deliveries"] += len(self.receiver.taken)
            self.receiver.taken.clear()

    # ------------------------------------------------------------------ traffic

    async def _talk(self, session: int) -> None:
        for number, it in enumerate(plan.conversation(self.seed, session, self.gap, CONTACTS)):
            await asyncio.sleep(it.pause)
            try:
                if it.way == "out":
                    await self._send(session, it, number)
                else:
                    await self._write(session, it, number)
            except BROKEN as error:
                self.answers[f"broken off: {type(error).__name__}"] += 1
            except AssertionError:                  # the sandbox refuses: the session is being linked anew
                self.answers["the sandbox refused"] += 1

    async def _send(self, session: int, it: plan.Utterance, number: int) -> None:
        client, id_, to = self.world.client, self.sessions[session], f"+{contact_of(session, it.contact)}"
        headers = {"Idempotency-Key": f"{session}-{number}"} if number % 10 == 0 else {}
        if it.kind == "text":
            answer = await client.post("/api/v1/messages", {"session": id_, "to": to, "message": f"message {number} " * 5},
                                       headers=headers)
        else:
            form = aiohttp.FormData()
            form.add_field("session", id_)
            form.add_field("to", to)
            if it.kind == "image":
                form.add_field("mediaType", "image")
                form.add_field("file", self._picture, filename="a.png")
            else:
                form.add_field("file", self._voice if it.kind == "voice" else HELLO.read_bytes(), filename="a")
            path = "/api/v1/messages/media" if it.kind == "image" else "/api/v1/messages/audio"
            answer = await client("POST", path, data=form, headers=headers)
        code = answer.body.get("error", {}).get("code", "") if isinstance(answer.body, dict) and answer.status >= 400 else ""
        self.answers[f"{answer.status} {code}".strip()] += 1
        if answer.status == 202:
            self.done[f"sent {it.kind}"] += 1
        elif code != "session_not_connected":
            self.trouble.append(f"a send was answered {answer.status} {answer.body}"[:300])

    async def _write(self, session: int, it: plan.Utterance, number: int) -> None:
        body: dict[str, Any] = {"to": phone_of(session)}
        path = f"/contacts/{contact_of(session, it.contact)}/send"
        match it.kind:
            case "voice":
                body["voice"] = {"data": base64.b64encode(self._voice).decode(), "mimetype": "audio/ogg; codecs=opus", "seconds": 3}
            case "image":
                body["image"] = {"data": base64.b64encode(self._picture).decode(), "mimetype": "image/png", "caption": "look"}
            case "reaction":
                first = await self.world.whatsapp("POST", path, body | {"text": f"to react to {number}"})
                body["reaction"] = {"id": first["id"], "emoji": "🙂", "from_me": True}
            case "corrupt":
                body |= {"text": f"unreadable at first {number}", "corrupt": True}
            case "own":
                path, body = f"/phones/{phone_of(session)}/send", {"to": contact_of(session, it.contact), "text": f"typed {number}"}
            case _:
                body["text"] = f"answer {number} " * 5
        await self.world.whatsapp("POST", path, body)
        self.done[f"inbound {it.kind}"] += 1

    # ------------------------------------------------------------------ what happens

    async def _happen(self, it: plan.Happening) -> None:
        await asyncio.sleep(max(0.0, self._began + it.at - time.monotonic()))
        try:
            await self._do(it)
            self.done[it.kind] += 1
        except BROKEN as error:
            self.trouble.append(f"{it.kind} broke off: {type(error).__name__}: {error}"[:300])
        except AssertionError as error:
            self.done[f"{it.kind}: not possible then"] += 1
            if it.kind in ("relink", "logout", "reconnect"):
                self.trouble.append(f"{it.kind}: {str(error).partition(';')[0]}"[:300])

    async def _do(self, it: plan.Happening) -> None:
        whatsapp, session, device = self.world.whatsapp, self.sessions[it.session], phone_of(it.session)

        async def fault(body: dict[str, Any]) -> None:
            await whatsapp("POST", "/faults", body)
            await asyncio.sleep(it.seconds)
            await whatsapp("DELETE", f"/faults?kind={body['kind']}")

        match it.kind:
            case "pairing":
                await self.pairings.one(f"left-{it.at}", it.how, it.seconds)
            case "drop" | "close" | "malformed" | "stream-503" | "stream-500":
                action = {"stream-503": "restart", "stream-500": "stream-error"}.get(it.kind, it.kind)
                await whatsapp("POST", f"/devices/{device}/{action}", {})
            case "mute":
                await whatsapp("POST", f"/devices/{device}/mute", {})
                await asyncio.sleep(it.seconds)
                await whatsapp("POST", f"/devices/{device}/unmute", {})
            case "cut":
                await whatsapp("POST", "/cut", {})
            case "refused":
                await asyncio.gather(fault({"kind": "connect", "mode": "refuse"}), whatsapp("POST", "/cut", {}))
            case "receipts-late":
                await fault({"kind": "receipt", "device": device, "seconds": it.seconds})
            case "ack-late":
                await fault({"kind": "ack", "device": device, "mode": "delay", "seconds": 2, "times": 3})
            case "recipient-cannot-decrypt":
                await fault({"kind": "decrypt", "device": device, "times": 1})
            case "reader":
                await self.visitors.reader(session, it.seconds)
            case "looker":
                await self.visitors.looker(session)
            case "doctor":
                await self.visitors.doctor(HELLO)
            case "receiver-down":
                await self.receiver.down()
                await asyncio.sleep(it.seconds)
                await self.receiver.up()
            case "reconnect":
                await self._command(it.session, self._reconnect(session, it.seconds))
            case "relink":
                await self._command(it.session, self._relink(session, device))
            case "logout":
                await self._command(it.session, self._logout(session, device))
            case _:
                raise ValueError(it.kind)

    async def _command(self, session: int, work: Awaitable[None]) -> None:
        async with self._commands[session]:
            await asyncio.shield(asyncio.ensure_future(work))       # an end of the run does not leave it half linked

    async def _reconnect(self, session: str, seconds: float) -> None:
        await self.world.client.post(f"/api/v1/sessions/{session}/disconnect", {})
        await asyncio.sleep(seconds / 4)
        await self.world.client.post(f"/api/v1/sessions/{session}/connect", {})
        await self.world.until_session(session, "connected", 120)

    async def _relink(self, session: str, device: str) -> None:
        await self.world.until_session(session, "connected", 60)
        await self.world.client.post(f"/api/v1/sessions/{session}/relink", {})
        await self._scan(session, device)

    async def _logout(self, session: str, device: str) -> None:
        await self.world.until_session(session, "connected", 60)
        await self.world.whatsapp("POST", f"/devices/{device}/logout", {})
        await self.world.until_session(session, "logged_out", 60)
        await self.world.client.post(f"/api/v1/sessions/{session}/relink", {})
        await self._scan(session, device)

    async def _scan(self, session: str, device: str) -> None:
        """A few times, as people do: WhatsApp may just not be there."""
        for last in (False, False, False, True):
            code = (await self.world.client.get(f"/api/v1/sessions/{session}/qr")).body
            try:
                assert "code" in code, code
                await self.world.whatsapp("POST", "/scan", {"qr": code["code"], "phone": device})
                await self.world.until_session(session, "connected", 60)
                return
            except AssertionError:
                if last:
                    raise
            await asyncio.sleep(10)

    # ------------------------------------------------------------------ what came of it

    def result(self, command: str) -> dict[str, Any]:
        ran = (self._ended or time.monotonic()) - self._began if self._began else 0.0
        trends, findings = judge(self.samples)
        return {"what": "soak", "command": command, "machine": machine(), "seed": self.seed, "sessions": self.count,
                "planned_minutes": round(self.seconds / 60, 1), "ran_minutes": round(ran / 60, 1), "complete": ran >= self.seconds - 1,
                "ended": bool(self.final), "done": dict(sorted(self.done.items())), "answers": dict(sorted(self.answers.items())),
                "pairings": dict(sorted(self.pairings.outcomes.items())), "codes_shown": self.pairings.codes,
                "visitors": dict(sorted(self.visitors.seen.items())), "openings": self.samples[-1]["openings"] if self.samples else 0,
                "cpu_seconds": self.cpu or self._cpu(), "final": self.final, "trends": trends, "findings": findings + self.trouble,
                "samples": self.samples}


@asynccontextmanager
async def soak(folder: Path, *, seed: int, sessions: int, seconds: float, gap: float,
               say: Callable[[str], None] = lambda text: None) -> AsyncIterator[Soak]:
    async with open_world(folder, **SETTINGS) as world, Receiver() as receiver:
        yield Soak(world, receiver, seed=seed, sessions=sessions, seconds=seconds, gap=gap, say=say)
