"""What docs/webhooks.md shows works as it stands there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gateway.services.courier import AT_ONCE, RETRY_SECONDS, SECRETS, TIMEOUT_SECONDS
from gateway.services.webhook_formats import FORMATS, native
from gateway.services.webhook_telling import Telling
from gateway.store.journal import Event
from gateway.store.webhooks import Delivery

MANUAL = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text("utf-8")
SECRET, NOW = "whsec_of-the-manual", 1_767_225_600.0
EVENT = Event(42, "o", "s", "message", NOW, {"text": "Grüße 👋", "n": 1})
DELIVERY = Delivery(1, "d", "w", 42, "s/a", "waiting", 0, NOW, None, None, NOW, None)


def code(language: str, containing: str) -> str:
    (block,) = [block for block in re.findall(rf"```{language}\n(.*?)```", MANUAL, re.DOTALL) if containing in block]
    return block


def signed(now: float = NOW) -> tuple[bytes, str]:
    body, headers = native(Telling(EVENT, DELIVERY, SECRET, now))
    return body, headers["X-Gateway-Signature"]


def test_the_manuals_python_tells_genuine_from_forged():
    names: dict = {}
    exec(code("python", "hmac.new"), names)
    check = names["is_from_gateway"]
    body, signature = signed()
    assert check(body, signature, SECRET, NOW)
    assert check(body, signature, SECRET, NOW + 299)
    assert not check(body, signature, SECRET, NOW + 301)
    assert not check(body, signature, SECRET, NOW - 301)
    assert not check(body, signature, SECRET)                       # today is another day
    assert not check(body + b" ", signature, SECRET, NOW)
    assert not check(body, signature, SECRET + "x", NOW)
    assert not check(body, signature.replace("t=1", "t=2"), SECRET, NOW)
    for nonsense in ("", "t=²,v1=00", "t=,v1=", "v1=00", "t=x,v1=00", "nonsense"):
        assert not check(body, nonsense, SECRET, NOW)


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_manuals_javascript_tells_genuine_from_forged():
    body, signature = signed()
    cases = [(signature, NOW), (signature, NOW + 301), (signature.replace("v1=", "v1=00"), NOW), (signature[:-1] + "g", NOW),
             ("", NOW), ("t=x,v1=00", NOW)]
    script = code("javascript", "createHmac") + f"""
      const body = Buffer.from({json.dumps(body.hex())}, "hex");
      for (const [signature, now] of {json.dumps(cases)}) console.log(isFromGateway(body, signature, {json.dumps(SECRET)}, now));
    """
    done = subprocess.run(["node", "-"], input=script, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["true"] + ["false"] * 5


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
@pytest.mark.parametrize(("secret", "verdict"), [(SECRET, "genuine"), ("another", "forged")])
def test_the_manuals_shell_tells_genuine_from_forged(tmp_path, secret, verdict):
    body, signature = signed()
    (tmp_path / "body").write_bytes(body)
    done = subprocess.run(["sh", "-c", code("sh", "openssl")], cwd=tmp_path, capture_output=True, text=True, check=True,
                          timeout=60, env={"PATH": "/usr/bin:/bin", "SIGNATURE": signature, "SECRET": secret})
    assert done.stdout.strip() == verdict


def test_the_manuals_numbers_are_the_programs():
    waits = [line.split("|")[2].strip() for line in MANUAL.splitlines() if re.match(r"\| [2-6] \|", line)]
    seconds = [float(n) * {"s": 1, "min": 60}[unit] for n, unit in (wait.split() for wait in waits)]
    assert tuple(seconds) == RETRY_SECONDS
    assert f"at most {AT_ONCE} of one webhook" in MANUAL
    assert f"within **{TIMEOUT_SECONDS:g} seconds**" in MANUAL
    for word in (*FORMATS, *SECRETS):
        assert f"`{word}`" in MANUAL
