"""The judge is judged: what it excuses, what it finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from gateway.store.journal import Event
from tests.fire.arrivals import arrivals, lost_receipt
from tests.fire.harness import Fire, Record
from tests.fire.plan import Plan
from tests.fire.verdict import _doubles, held, may_fail, no_room_to_repeat

KILL = 100.0
ONE = "in 0.1"


class Scene:
    """As much of a `Fire` as its judge looks at. One contact's message, written at 90, in hand at `acked`."""

    def __init__(self, *, acked: float | None, sent: Sequence[float] = (), asked_again: float | None = None, what: str = "message",
                 ends: dict[int, tuple[float, str]] | None = None) -> None:
        self.record, self.plan = Record(), Plan(1, 4, 60, (), ends or {})
        self.record.lives = [(KILL, "kill"), (200.0, "stop")]
        self.record.written = {ONE: (0, 90.0, "id1")}
        self.world = self
        self._seen: dict[str, list[dict[str, Any]]] = {
            "taken": [{"id": "id1", "what": what, "at": acked, "sent": list(sent)}] if acked is not None else [],
            "receipt": [{"type": "retry", "ids": ["id1"], "at": asked_again}] if asked_again is not None else []}

    async def whatsapp(self, method: str, path: str) -> list[dict[str, Any]]:
        return self._seen[path.removeprefix("/events?kind=")]

    def another(self, *, acked: float, stored: float) -> Event:
        """A message of the same session that was stored."""
        self.record.written["in 0.2"] = 0, acked, "id2"
        self._seen["taken"].append({"id": "id2", "what": "message", "at": acked, "sent": [acked]})
        return Event(2, "o", "s", "message", stored, {"text": "in 0.2"})

    async def judge(self, *journal: Event) -> list[str]:
        await arrivals(cast(Fire, self), list(journal))
        return self.record.findings


async def test_a_message_that_is_told_twice_or_never_is_found() -> None:
    told = Event(1, "o", "s", "message", 91.0, {"text": ONE})
    assert await Scene(acked=90.5).judge(told) == []
    assert "2 times" in (await Scene(acked=90.5).judge(told, told))[0]
    assert "never came" in (await Scene(acked=None).judge())[0]
    assert "never came" in (await Scene(acked=90.5).judge())[0]


@pytest.mark.parametrize(("acked", "sent", "full", "excused"), [
    (KILL - 0.1, (), None, True),
    (KILL + 0.2, (KILL - 0.1,), None, True),
    (KILL - 6, (), None, False),                    # there was time enough to store it
    (KILL - 6, (), (KILL - 7, KILL - 4), True),     # but not while the disk was full, and the pause before the next try
    (KILL - 6, (), (KILL - 3, KILL - 1), False),    # by then it should have been
    (KILL - 40, (), (KILL - 39, KILL - 30), False),
    (KILL + 3, (KILL - 0.1, KILL + 2.9), None, True),       # read before, acknowledged after
    (KILL + 3, (KILL - 20, KILL + 2.9), None, False),
    (199.9, (199.8,), None, False),                 # a graceful stop loses nothing,
    (190.0, (189.9,), (189.0, 201.0), True),        # unless the disk stays full
    (190.0, (189.9,), (189.0, 198.0), False),
])
async def test_only_a_kill_in_the_moment_between_reading_and_commit_excuses_a_loss(
        acked: float, sent: tuple[float, ...], full: tuple[float, float] | None, excused: bool) -> None:
    scene = Scene(acked=acked, sent=sent)
    if full is not None:
        scene.record.disk_full.append(full)
    findings = await scene.judge()
    assert (findings == []) is excused, findings
    assert len(scene.record.lost_to_kills) == excused


async def test_what_was_overtaken_did_not_fall_to_the_kill() -> None:
    scene = Scene(acked=KILL - 1)
    assert "never came" in (await scene.judge(scene.another(acked=KILL - 0.5, stored=KILL - 0.4)))[0]
    scene = Scene(acked=KILL - 1)
    assert await scene.judge(scene.another(acked=KILL - 1.5, stored=KILL - 1.4)) == []


async def test_unreadable_is_excused_on_a_full_disk_and_if_it_was_said() -> None:
    said = Event(1, "o", "s", "warning", 91.0, {"code": "undecryptable", "id": "id1"})
    for full, journal, excused in (((89.0, 95.0), [said], True), ((93.0, 95.0), [said], False), ((89.0, 95.0), [], False)):
        scene = Scene(acked=91.0, asked_again=90.9)
        scene.record.lives = [(200.0, "stop")]
        scene.record.disk_full.append(full)
        assert (await scene.judge(*journal) == []) is excused


async def test_a_message_whose_receipt_fell_to_a_kill_stays_as_it_is_and_no_other() -> None:
    for acked, what, stays in ((KILL - 0.1, "receipt", True), (KILL - 5, "receipt", False), (KILL - 0.1, "message", False)):
        assert await lost_receipt(cast(Fire, Scene(acked=acked, what=what)), 0, {"whatsapp_id": "id1"}) is stays
    ended = cast(Fire, Scene(acked=None, ends={3: (50.0, "logout")}))
    assert [await lost_receipt(ended, session, {"whatsapp_id": "id1"}) for session in range(4)] == [False, False, False, True]


async def test_what_waits_at_whatsapp_is_excused_where_the_session_ended() -> None:
    scene = Scene(acked=None, ends={0: (50.0, "logout")})
    assert await scene.judge() == []
    assert scene.record.left_at_whatsapp == 1


def test_doubles_orphans_and_an_order_turned_round_are_found() -> None:
    def record(id_: str, text: str) -> dict[str, Any]:
        return {"id": id_, "kind": "text", "text": text, "decrypted": True, "from_number": "1", "to": "2"}

    def judge(*records: dict[str, Any]) -> list[str]:
        scene = Scene(acked=None)
        _doubles(cast(Fire, scene), list(records), {"a": "m1", "b": "m2"})
        return scene.record.findings

    assert judge(record("a", "out 0.1"), record("b", "out 0.2")) == []
    assert "arrived 2 times" in judge(record("a", "out 0.1"), record("b", "out 0.1"))[0]
    assert "nobody owns up to c" in judge(record("a", "out 0.1"), record("c", "out 0.3"))[0]
    assert "order" in judge(record("b", "out 0.2"), record("a", "out 0.1"))[0]


def test_a_failure_belongs_to_a_trouble_of_its_session() -> None:
    scene = Scene(acked=None, ends={3: (50.0, "login-401")})
    scene.record.struck_on["ack-refused", 1] = 1
    refused = {"code": "send_failed", "message": "server returned error 479"}
    fire = cast(Fire, scene)
    assert [may_fail(fire, session, refused) for session in range(4)] == [False, True, False, False]
    assert [may_fail(fire, session, {"code": "session_gone", "message": ""}) for session in range(4)] == [False, False, False, True]
    assert not may_fail(fire, 1, {"code": "upload_failed", "message": ""})


@pytest.mark.parametrize("more", [{"threads": 20.0}, {"fds": 40}, {"rss_mb": 100.0}, {"session_fds": 30, "fds": 30}])
def test_a_leak_is_found(more: dict[str, float]) -> None:
    scene = Scene(acked=None)
    scene.record.baseline = {"rss_mb": 150.0, "threads": 20, "fds": 60, "session_fds": 16, "openings": 4}
    scene.record.final = dict(scene.record.baseline)
    assert held(cast(Fire, scene)) == []
    for name, extra in more.items():
        scene.record.final[name] += extra
    assert len(held(cast(Fire, scene))) == 1


def test_what_the_core_could_not_encrypt_again_is_known_by_its_own_words() -> None:
    line = ("c09d4a52: Client: Failed to handle retry receipt for 691412345678950@lid/3EB02EED161E48CCF54FFF from 6914…50@lid: "
            "failed to encrypt message for retry: failed to process prekey bundle: failed to store session with 6914…50_1:0: {}")
    assert no_room_to_repeat(line.format("database or disk is full"), "3EB02EED161E48CCF54FFF")
    assert not no_room_to_repeat(line.format("database or disk is full"), "3EB0")
    assert not no_room_to_repeat(line.format("no such table: whatsmeow_sessions"), "3EB02EED161E48CCF54FFF")
