"""A life in a few hours: who says what, what breaks, who comes and goes. Drawn from a seed, spread evenly over the run."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

PAIRINGS_AN_HOUR = 150.0                # 300 in two hours
WARM_UP = 0.15                          # of the run; what is there afterwards is what growth is measured from
# Then every link is cut this often in an hour besides: Go's runtime has a thread for each call out of Go that lasts, makes more
# when more wait at once than ever before, as when all sessions come back together, and keeps them.
CUTS_WHILE_WARMING = 150.0

# What becomes of a pairing that nobody scans, and how often.
ENDS = {"deleted": 35, "left-a-while": 20, "run-out": 22, "asked-again": 5, "code": 12, "left-for-good": 6}
# What happens to the world, and how often in an hour.
RATES = {"drop": 60.0, "close": 40.0, "stream-503": 20.0, "stream-500": 20.0, "malformed": 10.0, "mute": 10.0, "cut": 6.0,
         "refused": 4.0, "receipts-late": 10.0, "ack-late": 10.0, "recipient-cannot-decrypt": 10.0,
         "reconnect": 20.0, "relink": 4.0, "logout": 3.0,
         "reader": 500.0, "looker": 240.0, "doctor": 20.0, "receiver-down": 6.0}
# Kinds of messages: out, and in.
OUT = {"text": 74, "voice": 14, "mp3": 6, "image": 6}
IN = {"text": 74, "voice": 10, "image": 8, "reaction": 3, "corrupt": 2, "own": 3}


@dataclass(frozen=True, slots=True)
class Happening:
    at: float                   # seconds after the start
    kind: str                   # of RATES, or `pairing` with one of ENDS
    session: int = 0
    how: str = ""
    seconds: float = 0.0


def draw(seed: int, sessions: int, seconds: float) -> list[Happening]:
    """In order of time. Whatever its rate, each kind happens once at least."""
    chance = random.Random(seed)
    drawn: list[Happening] = []
    for at in _times(chance, PAIRINGS_AN_HOUR, seconds):
        drawn.append(Happening(at, "pairing", how=chance.choices(list(ENDS), list(ENDS.values()))[0], seconds=chance.uniform(2, 45)))
    for kind, rate in RATES.items():
        for at in _times(chance, rate, seconds):
            drawn.append(Happening(at, kind, chance.randrange(sessions), seconds=chance.uniform(2, 20)))
    drawn += [Happening(at, "cut") for at in _times(chance, CUTS_WHILE_WARMING, seconds * WARM_UP)]
    return sorted(drawn, key=lambda happening: happening.at)


def _times(chance: random.Random, rate: float, seconds: float) -> list[float]:
    count = max(1, round(rate * seconds / 3600))
    return [round((place + chance.random()) * seconds / count, 2) for place in range(count)]


@dataclass(frozen=True, slots=True)
class Utterance:
    pause: float                # seconds before it
    way: str                    # out, in
    kind: str
    contact: int


def conversation(seed: int, session: int, gap: float, contacts: int) -> Iterator[Utterance]:
    """Without end, `gap` seconds apart on average."""
    chance = random.Random(f"{seed}/{session}")
    while True:
        kinds = (OUT, IN)[inwards := chance.random() < 0.35]
        yield Utterance(chance.uniform(0.2, 1.8) * gap, ("out", "in")[inwards],
                        chance.choices(list(kinds), list(kinds.values()))[0], chance.randrange(contacts))
