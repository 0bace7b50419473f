"""What goes wrong when, and who says what to whom: drawn from a seed before anything starts, so that a run can be had again."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

# kind -> how long it lasts, in seconds (least, most)
STRIKES: dict[str, tuple[float, float]] = {
    "kill": (0, 0), "restart": (0, 0),                                          # the daemon: -9, and TERM
    "drop": (0, 0), "close": (0, 0), "cut": (0, 0), "stream-503": (0, 0), "stream-500": (0, 0), "stream-515": (0, 0),
    "mute": (2, 8), "stall": (2, 8),                                            # then it drops; then it answers again
    "connect-refused": (1, 5), "connect-mute": (1, 4), "login-503": (1, 3), "login-500": (1, 3),
    "login-402": (1, 3), "login-405": (1, 3), "login-409": (1, 3), "replaced": (1, 3),      # somebody acts after that long
    "ack-held": (1, 4), "ack-late": (1, 4), "ack-refused": (3, 6),
    "upload-500": (1, 4), "upload-slow": (1, 3), "receipts-late": (2, 6), "recipient-cannot-decrypt": (3, 6),
    "disk-full": (1, 4), "database-busy": (1, 4), "malformed": (0, 0), "undecryptable": (0, 0),
    "receiver-down": (1, 4), "receiver-refuses": (1, 3), "reader-cut": (0, 0),
}
# After a stall the core goes on waiting for what it asked meanwhile, 75 s; a short run has no time for that.
SLOW = frozenset({"stall"})
# In a long run one in ten lasts longer than that.
LONGER = {"receipts-late": (60.0, 150.0)}
LONG = (20.0, 60.0)
# How a session may come to an end, and the state it must be found in. Those of the first kind last over a restart.
LASTING = {"logout": "logged_out", "login-401": "logged_out", "login-403": "main_device_gone"}
UNTIL_RESTART = {"login-405": "client_outdated", "login-409": "bad_user_agent", "replace": "stream_replaced"}


@dataclass(frozen=True, slots=True)
class Strike:
    at: float                   # seconds after the start
    kind: str
    session: int                # where it hits one
    seconds: float


@dataclass(frozen=True, slots=True)
class Plan:
    seed: int
    sessions: int
    seconds: float
    strikes: tuple[Strike, ...]
    ends: dict[int, tuple[float, str]]          # session -> (when, how)


def draw(seed: int, sessions: int, seconds: float, *, gap: float, without: frozenset[str] = frozenset()) -> Plan:
    """Every kind comes as often as any other, in an order drawn anew each time round; `gap` seconds apart on average. A long
    run has a few long troubles, too: disks that are full for a minute, receipts that come two minutes late. Three sessions of
    ten come to an end, and at least three; each in another way, while there are some."""
    chance = random.Random(seed)
    ending = list(range(sessions))[::-1][: max(len(LASTING), sessions * 3 // 10)]
    hows = [*chance.sample(list(LASTING), len(LASTING)), *chance.sample(list(UNTIL_RESTART), len(UNTIL_RESTART))]
    ends = {session: (chance.uniform(0.2, 0.8) * seconds if how in LASTING else seconds, how)
            for session, how in zip(ending, (hows * len(ending))[: len(ending)], strict=True)}
    unharmed = [session for session in range(sessions) if session not in ends]
    strikes, at, kinds = [], gap, _rounds(chance, without)
    while at < seconds - 1:
        kind = next(kinds)
        least, most = STRIKES[kind]
        if seconds > 300 and most and chance.random() < 0.1:
            least, most = LONGER.get(kind, LONG)
        strikes.append(Strike(round(at, 2), kind, chance.choice(unharmed), round(chance.uniform(least, most), 2)))
        at += chance.uniform(0.3, 1.7) * gap
    return Plan(seed, sessions, seconds, tuple(strikes), ends)


def _rounds(chance: random.Random, without: frozenset[str]) -> Iterator[str]:
    while True:
        kinds = [kind for kind in STRIKES if kind not in without]
        chance.shuffle(kinds)
        yield from kinds


@dataclass(frozen=True, slots=True)
class Utterance:
    """One message: out to the contact, or in from it."""

    pause: float                # seconds before it
    way: str                    # out, in
    kind: str                   # text, voice, mp3
    contact: int


def conversation(seed: int, session: int, gap: float) -> Iterator[Utterance]:
    """Without end. A session's conversation does not depend on what happens to it."""
    chance = random.Random(f"{seed}/{session}")
    while True:
        way = "in" if chance.random() < 0.3 else "out"
        kind = chance.choices(("text", "voice", "mp3"), (80, 15, 5))[0] if way == "out" else "text"
        yield Utterance(chance.uniform(0.2, 1.8) * gap, way, kind, chance.randrange(4))
