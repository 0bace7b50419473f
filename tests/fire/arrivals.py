"""What became of the messages that contacts wrote. Each is told once, or it is one of these three, which are counted:

* WhatsApp still has it, because its session came to an end before it was fetched;
* `kill -9` fell between the core's reading it and our commit. The core acknowledges before it tells us, so there is such a
  moment, and it is looked at closely: the kill follows the acknowledgement (or, if the core had not got that far, the sending)
  within `MOMENT`, longer only while the store could not be written, and nothing that came after it was stored before the kill.
  A graceful stop waits for the store, but not for ever: one that ends while the disk is full counts as a kill;
* the disk was full when the core tried to store the keys it needed to read it, and the gateway said so.

Everything else is a finding.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.store.journal import Event

if TYPE_CHECKING:
    from tests.fire.harness import Fire

MOMENT = 2.0            # seconds between reading and commit that a busy machine may take
SLOP = 0.5              # the sandbox sees what a process wrote before its death only after that
AGAIN = 10.0            # the longest pause before the gateway tries a store again that could not be written (services/storing.py)
TOGETHER = 0.3          # seconds within which the order of two acknowledgements says nothing


@dataclass(frozen=True, slots=True)
class Taken:
    """The core has acknowledged a message: when, and when it had been sent to it. Unix seconds."""

    at: float
    sent: tuple[float, ...]


async def arrivals(fire: Fire, journal: list[Event]) -> None:
    told: dict[str, list[Event]] = defaultdict(list)
    for event in journal:
        if event.type == "message":
            told[event.data["text"]].append(event)
    unreadable = {event.data["id"] for event in journal if event.type == "warning" and event.data["code"] == "undecryptable"}
    taken = await takings(fire, "message")
    asked_again = {id_: event["at"] for event in await seen(fire, "receipt") if event["type"] == "retry" for id_ in event["ids"]}
    stored = [(session, taken[id_].at, told[text][0].at) for text, (session, _, id_) in fire.record.written.items()
              if told[text] and id_ in taken]
    for text, (session, at, id_) in fire.record.written.items():
        if len(told[text]) > 1:
            fire.record.find(f"'{text}' is in the journal {len(told[text])} times")
        if told[text]:
            continue
        it = taken.get(id_)
        if it is None and session in fire.plan.ends:
            fire.record.left_at_whatsapp += 1
        elif id_ in unreadable and any(start <= asked_again.get(id_, 0) <= end + SLOP for start, end in fire.record.disk_full):
            fire.record.told_unreadable.append(text)
        elif it is not None and _fell_to_a_kill(fire, it, [(seen, kept) for whose, seen, kept in stored if whose == session]):
            fire.record.lost_to_kills.append(text)
        else:
            fire.record.find(f"'{text}' was written by a contact at {at:.2f} and never came; acknowledged: {it}, "
                             f"asked for again: {asked_again.get(id_)}, told as undecryptable: {id_ in unreadable}, "
                             f"the daemon's ends: {[end for end in fire.record.lives if abs(end[0] - at) < 30]}")


def _fell_to_a_kill(fire: Fire, it: Taken, others: list[tuple[float, float]]) -> bool:
    """`others`: of the same session's messages that were stored, when the core had acknowledged them and when they were."""
    for ended, how in fire.record.lives:
        if how != "kill" and not any(start <= ended <= end + SLOP for start, end in fire.record.disk_full):
            continue                                    # a stop that could write stored everything
        if it.at > ended + SLOP:                        # acknowledged by the next process, which no longer knew what to do with it
            if any(ended - MOMENT <= sent <= ended + SLOP for sent in it.sent):
                return True
            continue
        if any(it.at < other <= ended for other, _ in fire.record.lives if other != ended):
            continue                                    # another process's end, and not the one that this message met
        overtaken = any(seen > it.at + TOGETHER and kept < ended for seen, kept in others)
        if ended <= _stored_by(it.at, fire.record.store_down()) and not overtaken:
            return True
    return False


def _stored_by(acknowledged: float, down: list[tuple[float, float]]) -> float:
    """When it should have been stored at the latest."""
    latest = acknowledged + MOMENT
    for start, end in sorted(down):
        if start <= latest and end >= acknowledged:
            latest = max(latest, end + AGAIN + MOMENT)
    return latest


async def lost_receipt(fire: Fire, session: int, message: dict[str, Any]) -> bool:
    """A message of ours for which the core has acknowledged a receipt that fell to a kill, or whose receipt waits at WhatsApp for
    a session that came to an end: it stays as it is."""
    receipt = (await takings(fire, "receipt")).get(message["whatsapp_id"])
    return session in fire.plan.ends if receipt is None else _fell_to_a_kill(fire, receipt, [])


async def takings(fire: Fire, what: str) -> dict[str, Taken]:
    """By id; of several for one id, the last."""
    return {event["id"]: Taken(event["at"], tuple(event["sent"])) for event in await seen(fire, "taken") if event["what"] == what}


async def seen(fire: Fire, kind: str) -> list[dict[str, Any]]:
    """What the sandbox saw the devices do, oldest first."""
    events: list[dict[str, Any]] = await fire.world.whatsapp("GET", f"/events?kind={kind}")
    return events

