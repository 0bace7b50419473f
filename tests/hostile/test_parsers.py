"""Every parser of ours, fed with what nobody meant: it reads it or says why not, at once, and keeps nothing of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import secrets
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.api import http
from gateway.errors import GatewayError
from gateway.media.data_uri import parse_data_uri
from gateway.media.fetch import FetchError
from tests.hostile.parsers import PARSERS, _Request

M = 1 << 20
FORM, MULTIPART, JSON = "application/x-www-form-urlencoded", "multipart/form-data; boundary=b", "application/json"
PART = b'--b\r\nContent-Disposition: form-data; name="a"'
FEW, MANY = 1_500, 100_000
SLOWEST_MS, GROWTH_KB = 250, 4_000          # of one input, of some kilobytes; of all of them together


def fuzzed(name: str, count: int, seed: int) -> None:
    run = subprocess.run([sys.executable, "-m", "tests.hostile.parsers", name, str(count), str(seed)], capture_output=True, text=True,
                         timeout=900, check=False, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}, cwd=Path(__file__).parents[2])
    assert run.returncode == 0, f"seed {seed}: {run.stderr[-3000:]}"
    said = json.loads(run.stdout)
    print(name, said)
    assert said["slowest_ms"] < SLOWEST_MS and said["grown_kb"] < GROWTH_KB, said
    assert said["outcomes"]["read"] > count / 50, "the changes leave something to read"


@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_reads_or_refuses(name: str) -> None:
    fuzzed(name, FEW, 1)


LARGE = {
    "fields": (FORM, b"&" * M), "fields with values": (FORM, b"a=b&" * (M // 4)), "no value": (FORM, b"=" * M),
    "escapes": (FORM, b"%" * M), "good escapes": (FORM, b"%41" * (M // 6)),
    "headers": (MULTIPART, b"--b\r\n" + b"A: b\r\n" * (M // 6)), "a header": (MULTIPART, b"--b\r\nA: " + b"b" * M),
    "parameters": (MULTIPART, PART + b"; a=b" * (M // 5) + b"\r\n\r\nx\r\n--b--"),
    "quotes": (MULTIPART, PART + b'; x="' + b'\\"' * (M // 2)), "dashes": (MULTIPART, b"-" * M),
    "near ends": (MULTIPART, PART + b"\r\n\r\n" + b"\r\n--" * (M // 4)),
    "parts": (MULTIPART, (PART + b"\r\n\r\n\r\n") * 20_000),
    "punycode": (f"{MULTIPART}; charset=punycode", PART + b"\r\n\r\nx-" + b"b99a" * (M // 4) + b"\r\n--b--"),
    "a type with parameters": (MULTIPART + "; a=b" * 12_000, b"--b--"),
    "a type with quotes": (MULTIPART + '; x="' + ";" * 60_000, b"--b--"),
    "lists": (JSON, b"[" * M), "objects": (JSON, b'{"a":' * (M // 5)), "digits": (JSON, b'{"a":' + b"9" * M + b"}"),
    "an exponent": (JSON, b'{"a":1e' + b"9" * M + b"}"), "escaped letters": (JSON, b'{"a":"' + b"\\u00e9" * (M // 6) + b'"}'),
    "names": (JSON, b"{" + b",".join(b'"%d":0' % i for i in range(90_000)) + b"}"),
}
URIS = {
    "parameters": ";a=b" * 5_000_000, "semicolons": ";" * 20_000_000, "spaces": "a/b;" + " " * 20_000_000,
    "a quote": 'a/b;a="' + "x" * 20_000_000, "a type": "a" * 20_000_000, "too much": ";base64," + "A" * 30_000_000,
    "no base64": ";base64," + "!" * 10_000_000, "no escapes": "," + "%" * 20_000_000,
}


@pytest.mark.parametrize("name", LARGE)
def test_a_megabyte_that_means_nothing_is_read_or_refused_at_once(name: str) -> None:
    """Everybody waits meanwhile, and some of these are read before anybody is known."""
    kind, body = LARGE[name]
    request: Any = _Request({"content-type": kind}, body, random.Random(1), (65_536,))
    began = time.process_time()
    with contextlib.suppress(GatewayError):
        asyncio.run(http.read_body(request, 2 * M, files=True, forms=True))
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize("name", URIS)
def test_a_data_uri_of_megabytes_is_refused_at_once(name: str) -> None:
    began = time.process_time()
    with pytest.raises(FetchError):
        parse_data_uri("data:" + URIS[name], max_bytes=16 << 20)
    assert time.process_time() - began < 1


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_reads_or_refuses_a_hundred_thousand_times(name: str) -> None:
    """HOSTILE_SEED repeats a run that failed."""
    fuzzed(name, MANY, int(os.environ.get("HOSTILE_SEED", "0")) or secrets.randbelow(1 << 31))
