"""What goes wrong on purpose: rules that say where, for whom, how often and how."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

KINDS: dict[str, str] = {
    "ack": "after a sent message: mode hold (never), delay (seconds), error (code); deliver true|false; chats new|known",
    "upload": "media uploads: status, and/or seconds of delay",
    "download": "media downloads: status, and/or seconds of delay",
    "login": "logins are refused: reason 401|402|403|405|409|500|503, code and expire (with 402)",
    "connect": "new connections: mode refuse (HTTP 503) or mute (accepted, never answered)",
    "pairing": "linking: mode passkey (asked for at the scan), passkey-at-start, outdated, no-multidevice, code-refused",
    "receipt": "receipts of recipients: mode drop, or seconds of delay; type delivered|read|played",
    "decrypt": "recipients fail to decrypt and ask for a retry",
    "iq": "requests: mode hold, error (code) or delay (seconds); xmlns chooses which",
}


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _seconds(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LONGEST


def _one_of(*names: str) -> Callable[[Any], bool]:
    return lambda value: value in names


LONGEST = 86_400.0              # seconds; also keeps nan and inf out of the loop's clock
_ANSWER: dict[str, Callable[[Any], bool]] = {"status": _whole, "seconds": _seconds}
_OPTIONS: dict[str, dict[str, Callable[[Any], bool]]] = {
    "ack": {"mode": _one_of("hold", "delay", "error"), "seconds": _seconds, "code": _whole,
            "deliver": lambda value: isinstance(value, bool), "chats": _one_of("new", "known")},
    "upload": _ANSWER,
    "download": _ANSWER,
    "login": {"reason": _whole, "code": _whole, "expire": _whole},
    "connect": {"mode": _one_of("refuse", "mute")},
    "pairing": {"mode": _one_of("passkey", "passkey-at-start", "outdated", "no-multidevice", "code-refused"), "code": _whole},
    "receipt": {"mode": _one_of("drop"), "seconds": _seconds, "type": _one_of("delivered", "read", "played")},
    "decrypt": {},
    "iq": {"mode": _one_of("hold", "error", "delay"), "code": _whole, "seconds": _seconds,
           "xmlns": lambda value: isinstance(value, str)},
}


def _check(kind: str, options: Mapping[str, Any]) -> None:
    """A misspelt rule would break nothing, and its test would pass. Raises ValueError."""
    if kind not in KINDS:
        raise ValueError(f"unknown fault {kind!r}; known: {', '.join(KINDS)}")
    for name, value in options.items():
        good = _OPTIONS[kind].get(name)
        if good is None or not good(value):
            what = f"there is no {name}" if good is None else f"{name} cannot be {value!r}"
            raise ValueError(f"{kind}: {what}. {KINDS[kind]}")


@dataclass(slots=True)
class Fault:
    """One rule. `device` is a number or a device JID, `to` a recipient's number; None means any.

    `times` is how often it still applies; None: until it is cleared.
    """

    id: int
    kind: str
    device: str | None = None
    to: str | None = None
    times: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    hits: int = 0

    @property
    def mode(self) -> str:
        return str(self.options.get("mode", ""))

    @property
    def seconds(self) -> float:
        return float(self.options.get("seconds", 0.0))

    def describe(self) -> dict[str, Any]:
        """JSON of the rule and how often it applied."""
        return {"id": self.id, "kind": self.kind, "device": self.device, "to": self.to, "times": self.times} | {
            **self.options,
            "hits": self.hits,
        }


class Faults:
    """The rules in force, oldest first; the first that matches is the one that applies."""

    def __init__(self) -> None:
        self._rules: list[Fault] = []
        self._ids = itertools.count(1)

    def add(
        self, kind: str, *, device: str | None = None, to: str | None = None, times: int | None = None, **options: Any
    ) -> Fault:
        """Put a rule in force. Raises ValueError for an unknown kind or option."""
        _check(kind, options)
        if times is not None and not _whole(times):
            raise ValueError(f"times is a whole number, not {times!r}")
        rule = Fault(next(self._ids), kind, _plain(device), _plain(to), times, options)
        self._rules.append(rule)
        return rule

    def take(
        self, kind: str, *, device: frozenset[str] = frozenset(), to: frozenset[str] = frozenset(), **options: str
    ) -> Fault | None:
        """The rule for this occasion, counted as used. `device` and `to` are all the names it goes by."""
        for rule in self._rules:
            if rule.kind != kind or rule.times == 0:
                continue
            if (rule.device is not None and rule.device not in device) or (rule.to is not None and rule.to not in to):
                continue
            if any(rule.options.get(name, value) != value for name, value in options.items()):
                continue
            rule.hits += 1
            if rule.times is not None:
                rule.times -= 1
            return rule
        return None

    def clear(self, kind: str | None = None, id: int | None = None) -> int:
        """Take rules out of force, all or those of one kind or the one of an id; how many."""
        before = len(self._rules)
        self._rules = [rule for rule in self._rules if kind not in (None, rule.kind) or id not in (None, rule.id)]
        return before - len(self._rules)

    def describe(self) -> list[dict[str, Any]]:
        return [rule.describe() for rule in self._rules]


def _plain(name: str | None) -> str | None:
    if name is not None and not isinstance(name, str):
        raise ValueError(f"a number or a device is a string, not {name!r}")
    return name.strip().lstrip("+") if name else None


def from_json(faults: Faults, body: Mapping[str, Any]) -> Fault:
    """Add the rule a JSON object describes: `kind`, `device`, `to`, `times` and the kind's own options."""
    options = {name: value for name, value in body.items() if name not in ("kind", "device", "to", "times")}
    return faults.add(
        str(body.get("kind", "")),
        device=body.get("device"),
        to=body.get("to"),
        times=body.get("times"),
        **options,
    )
