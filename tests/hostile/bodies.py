"""Requests that nobody meant, for every call of an API: good ones changed in their fields, their bytes, their form."""

from __future__ import annotations

import copy
import http.client
import json
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from gateway.api.http import Endpoint
from tests.hostile.parsers import changed

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1 << 31, 1 << 63, 1 << 64, 10**40, -0.0, 1.5, 1e308,
    "", " ", "0", "true", "null", "NaN", "\x00", "a\x00b", "\r\nX: y", "é" * 300, "\u202e\ufeff", "\U0001f3a4" * 20, "x" * 5000, "%00",
    "../../etc/passwd", "'; DROP TABLE messages; --", "{{7*7}}", "<script>", "2026-01-01",
    "data:,", "data:;base64,!!!!", "http://10.0.0.1/", "http://[::1", "file:///etc/passwd", "javascript:1",
    "+237612345678", "1@g.us", "1@broadcast", "status@broadcast", "123@lid", "120363000000000000@newsletter",
    [], [[]], [None], ["x"] * 1000, {}, {"": ""}, {"url": None}, {"url": {"url": {}}}, {"id": "x" * 3000}, {"key": {"id": 5}},
    {"__proto__": 1}, {"a": {"b": {"c": {"d": {}}}}},
)  # fmt: skip
NAMES = ("", "to", "text", "file", "url", "session", "ptt", "file[url]", "file[", "chatId", "access_token", "\x00", "é", "a" * 300,
         "__class__")
FORM, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"
TYPES = ("application/json", "application/json; charset=utf-16", FORM, MULTIPART, "multipart/form-data",
         f"{MULTIPART}; charset=punycode", "text/plain", "", "application/problem+json", "\xff")


@dataclass
class Found:
    """What a run saw: statuses, the slowest answer in seconds, and what is a failure of ours."""

    statuses: Counter[int] = field(default_factory=Counter)
    slowest: float = 0.0
    failures: list[str] = field(default_factory=list)


def fields_of(example: Any, dice: random.Random) -> Any:
    """An example with some of its fields, or what is within them, replaced, left out, doubled or added."""
    whole = copy.deepcopy(example)
    for _ in range(dice.choice((0, 1, 1, 1, 2, 4))):
        place = whole
        while isinstance(place, dict) and place:
            name = dice.choice(list(place))
            if isinstance(place[name], dict) and dice.random() < 0.7:
                place = place[name]
                continue
            match dice.randrange(4):
                case 0:
                    del place[name]
                case 1:
                    place[dice.choice((*NAMES, name.upper(), name + " "))] = place[name]
                case _:
                    place[name] = copy.deepcopy(dice.choice(VALUES))
            break
    return whole


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def multipart(fields: dict[str, Any], dice: random.Random) -> bytes:
    parts = []
    for name, value in fields.items():
        more = dice.choice(("", "", "", '; filename="x"', "; filename*=utf-8''%ff", '; filename="'))
        part = f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n{_text(value)}\r\n'
        parts.append(part.encode("utf-8", "replace"))
    return b"".join(parts) + b"--b--\r\n"


def body_of(call: Endpoint, example: Any, dice: random.Random) -> tuple[str, bytes]:
    """A content type and bytes, which mostly belong together."""
    fields = fields_of(example, dice) if isinstance(example, dict) else example
    way = dice.randrange(10)
    if way < 5 or not isinstance(fields, dict):
        return TYPES[0], json.dumps(fields).encode()
    if way == 5:
        return FORM, urlencode({name: _text(value) for name, value in fields.items()}).encode()
    if way == 6:
        return MULTIPART, multipart(fields, dice)
    if way == 7:
        return MULTIPART, changed([multipart(fields, dice)], dice)
    if way == 8:
        return TYPES[0], changed([json.dumps(fields).encode()], dice)
    return dice.choice(TYPES), changed([json.dumps(fields).encode()], dice)


def requests(calls: Sequence[Endpoint], prefix: str, count: int, seed: int, ids: Sequence[str],
             examples: dict[str, Any]) -> Iterator[tuple[str, str, str, bytes]]:
    """(method, path, content type, body): so many for each call."""
    dice = random.Random(seed)
    for call in calls:
        for _ in range(count if call.body is not None else count // 4):
            path = "/".join(_id(ids, dice) if part[:1] == "{" else part for part in call.path.split("/"))
            if dice.random() < 0.3 or call.query is not None:
                known = list(getattr(call.query, "__struct_fields__", ()))
                chosen = {dice.choice((*known, *NAMES)): str(dice.choice(VALUES))[:500] for _ in range(dice.randint(1, 3))}
                path += "?" + urlencode(chosen)
            example = examples.get(call.path, call.example)
            kind, body = body_of(call, example if example is not None else {}, dice) if call.method != "GET" else ("", b"")
            yield call.method, prefix + path, kind, body


def _id(ids: Sequence[str], dice: random.Random) -> str:
    """Mostly one that there is."""
    return quote(dice.choice(ids) if dice.random() < 0.8 else str(dice.choice(VALUES)), safe="")[:2000] or "x"


def ask(url: str, headers: dict[str, str], what: Iterator[tuple[str, str, str, bytes]], ours: Any) -> Found:
    """Blocks. `ours(status, body)` says whether an answer is a failure of ours."""
    found, at = Found(), urlsplit(url)
    connection = http.client.HTTPConnection(at.hostname or "", at.port or 80, timeout=40)
    for method, path, kind, body in what:
        began = time.monotonic()
        try:
            connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in {**headers, **({"Content-Type": kind} if kind else {}), "Content-Length": str(len(body))}.items():
                connection.putheader(name, value.encode("latin-1"))
            connection.endheaders(body)
            answer = connection.getresponse()
            said = answer.read()
        except (http.client.HTTPException, OSError) as error:
            found.failures.append(f"{method} {path} {kind} {body[:300]!r}: {type(error).__name__} {error}")
            connection.close()
            continue
        found.statuses[answer.status] += 1
        found.slowest = max(found.slowest, time.monotonic() - began)
        if ours(answer.status, said):
            found.failures.append(f"{method} {path} {kind} {body[:300]!r}: {answer.status} {said[:300]!r}")
    connection.close()
    return found
