"""The virtual phone's hand, with the standard library only: `scan CONTROL API KEY SESSION`, or `people CONTROL`."""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from typing import Any

OWNER, FRIEND = "15550001111", "15550002222"


def ask(method: str, url: str, body: Any = None, key: str = "") -> Any:
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), method=method)
    request.add_header("Content-Type", "application/json")
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read() or b"null")


def people(control: str) -> None:
    ask("POST", f"{control}/phones", {"number": OWNER, "name": "Owner"})
    ask("POST", f"{control}/contacts", {"number": FRIEND, "name": "Friend", "deliver": 0.1, "read": 0.2, "play": 0.3})


def scan(control: str, api: str, key: str, session: str) -> None:
    for _ in range(100):
        try:
            code = ask("GET", f"{api}/api/v1/sessions/{session}/qr", key=key)["code"]
            break
        except urllib.error.HTTPError:      # `wagateway link` has not made the session yet
            time.sleep(0.1)
    else:
        raise SystemExit("no code was shown")
    ask("POST", f"{control}/scan", {"qr": code, "phone": OWNER})


{"people": people, "scan": scan}[sys.argv[1]](*sys.argv[2:])
