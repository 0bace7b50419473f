"""Every parser of ours under bytes that nobody meant: `python -m tests.hostile.parsers NAME COUNT SEED`.

A process of its own, with a limit on its memory: what it prints is how long the slowest input took and by how much it grew after
a third of them. Inputs are good ones that were changed, and noise. Whatever a parser is allowed to say of a bad one stands in the
table; anything else ends the process and shows the input.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import random
import resource
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec

from gateway import config
from gateway.api import http, sessions, stream
from gateway.audio import ogg, opus
from gateway.audio.waveform import Waveform, rectify
from gateway.dialects import wawp, wuzapi
from gateway.dialects.mount import DIALECTS
from gateway.errors import ConfigError, GatewayError, InvalidField
from gateway.jid import JID, parse_recipient
from gateway.media import sniff, urls
from gateway.media.data_uri import parse_data_uri
from gateway.media.fetch import FetchError
from gateway.sandbox import codec
from gateway.sandbox.node import USER, Address, Node
from gateway.times import parse_iso

MEMORY = 3 << 30                # address space; what is mapped and not used counts
SPICE = (
    *(bytes([one]) for one in b"\0\t '\"\\=;,@:/<%\xff"), b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\r\n", b"\n\n", b"--", b"%00",
    b"%ff", b"\xc3\x28", b"\xed\xa0\x80", b"\\ud800", "é\u202e\ufeff\U0001f3a4".encode(), b"9" * 400, b"-1", b"1e999", b"nan", b"inf",
    b"null", b"true", b"[" * 200, b"{" * 200, b"a" * 3000, b"\x1b[2J", b"..",
)  # fmt: skip


def changed(seeds: list[bytes], dice: random.Random) -> bytes:
    """A good input with some damage, or noise."""
    if dice.random() < 0.1:
        return dice.randbytes(dice.choice((0, 1, 2, 7, 64, 700)))
    data = bytearray(dice.choice(seeds))
    for _ in range(dice.choice((0, 1, 1, 2, 3, 8))):
        at = dice.randrange(len(data) + 1)
        match dice.randrange(6):
            case 0 if at < len(data):
                data[at] ^= 1 << dice.randrange(8)
            case 1:
                del data[at:at + dice.choice((1, 1, 4, 50))]
            case 2:
                data[at:at] = dice.choice(SPICE)
            case 3:
                data[at:at + dice.choice((0, 1, 4))] = dice.randbytes(dice.randint(1, 8))
            case 4:
                other = dice.choice(seeds)
                data[at:at] = other[dice.randrange(len(other) + 1):][:300]
            case _:
                data[at:at] = data[dice.randrange(len(data) + 1):][:dice.choice((1, 20, 400))] * dice.choice((1, 1, 3))
    return bytes(data)


@dataclass(frozen=True)
class Parser:
    """`read` may raise one of `refusals`, which are told to whoever sent the input; a GatewayError only with a status below 500."""

    read: Callable[[bytes], Any]
    seeds: list[bytes]
    refusals: tuple[type[Exception], ...]


def text(read: Callable[[str], Any]) -> Callable[[bytes], Any]:
    """For parsers that are given what was decoded before, by HTTP or JSON, lone surrogates among it."""
    return lambda data: read(data.decode("utf-8", "surrogatepass" if b"\xed" in data and _decodes(data) else "replace"))


def _decodes(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


# ------------------------------------------------------------------ what is read in which way


def _config(data: bytes) -> Any:
    file = Path(tempfile.gettempdir()) / f"hostile-{os.getpid()}.toml"
    file.write_bytes(data)
    try:
        return config.load(file, {})
    finally:
        file.unlink()


def _environment(data: bytes) -> Any:
    name, _, value = data.decode("utf-8", "replace").partition("=")
    return config.load(None, {f"WAGATEWAY_{name}": value})


def _settings_seeds() -> list[bytes]:
    """The whole example with its options in force, and each of its lines under its section."""
    lines = [line.removeprefix("# ") for line in config.example().splitlines()]
    kept = [line for line in lines if line[:1] == "[" or line.partition(" = ")[0].replace("_", "").isalnum()]
    seeds, section = ["\n".join(kept)], ""
    for line in kept:
        if line.startswith("["):
            section = line
        else:
            seeds.append(f"{section}\n{line}")
    return [seed.encode() for seed in seeds]


class _Request:
    """As much of Starlette's as the body's reader looks at."""

    def __init__(self, headers: dict[str, str], body: bytes, dice: random.Random, steps: tuple[int, ...] = (1, 7, 100, 4096)) -> None:
        from starlette.datastructures import Headers

        self.headers = Headers(headers)
        self._body, self._dice, self._steps = body, dice, steps

    async def stream(self) -> Any:
        at = 0
        while at < len(self._body):
            step = self._dice.choice(self._steps)
            yield self._body[at:at + step]
            at += step
        yield b""


LOOP = asyncio.new_event_loop()


def _body(kind: str, data: bytes) -> Any:
    """What stands before the first empty line goes behind the content type."""
    more, _, body = data.partition(b"\n\n")
    headers = {"content-type": kind + more.decode("latin-1").replace("\n", " ").replace("\r", " ")}
    request: Any = _Request(headers, body, random.Random(len(data)))
    return LOOP.run_until_complete(http.read_body(request, 200_000, files=True, forms=True))


def _multipart_seeds() -> list[bytes]:
    def part(name: str, value: bytes, more: str = "") -> bytes:
        return f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + value + b"\r\n"

    upload = part("file", bytes(range(256)) * 4, '; filename="a.mp3"\r\nContent-Type: audio/mpeg')
    whole = part("to", b"+237612345678") + upload + b"--b--\r\n"
    return [b"; boundary=b\n\n" + whole, b'; boundary="b"; charset=latin-1\n\n' + whole,
            b"; boundary=b\n\n" + part("a", b"1", "; filename*=utf-8''%e2%82%ac") * 3 + b"--b--",
            b"; boundary=b\n\n" + b"".join(part(f"f{i}", b"x") for i in range(70)) + b"--b--"]


def _dialect(data: bytes) -> Any:
    """Every dialect's bodies are tried on the same object."""
    fields = msgspec.json.decode(data)
    if not isinstance(fields, dict):
        return None
    for dialect in DIALECTS:
        for call in dialect.calls:
            if call.body is not None:
                with contextlib.suppress(InvalidField):
                    http.convert(wuzapi._named(fields) if dialect.name == "wuzapi" else fields, call.body, strict=True)
    query = {str(name)[:50]: str(value)[:50] for name, value in list(fields.items())[:3]}
    call_: Any = type("Call", (), {"request": type("R", (), {"query_params": query}), "body": http.Body(fields)})
    return http.convert(wawp.fields_of(call_), wawp.SendVoice, strict=True)


def _dialect_seeds() -> list[bytes]:
    examples = [msgspec.json.encode(call.example) for dialect in DIALECTS for call in dialect.calls if call.example]
    flat = {"file[url]": "https://x/y", "file": {"url": 1}, "convert": "true", "instance_id": "x", "chatId": 5}
    return [*examples, *[msgspec.json.encode(flat)] * (len(examples) // 8)]       # what Wawp's, tried last, can be made of


def _position(data: bytes) -> Any:
    given: Any = type("R", (), {"headers": {"last-event-id": data.decode("latin-1")}})
    return stream._position(given, stream.StreamQuery(last_event_id=data.decode("utf-8", "replace")), 500)


def _types(value: str) -> Any:
    return stream._types(stream.StreamQuery(types=value))


def _draw(data: bytes) -> Any:
    """Samples as the decoder gives them: 16 bit, in blocks of any length."""
    samples = struct.unpack(f"<{len(data) // 2}h", data[:len(data) // 2 * 2])
    waveform = Waveform(max(1, len(data) % 97))
    for at in range(0, len(samples), 1 + len(data) % 500):
        waveform.add(rectify(samples[at:at + 1 + len(data) % 500]))
    bars = waveform.bars()
    assert len(bars) == 64 and all(0 <= bar <= 100 for bar in bars)
    return bars


def _opus_frames(data: bytes) -> Any:
    return opus.packet_samples(data), opus.join(opus.split(data))


def _ogg_seeds() -> list[bytes]:
    writer = ogg.OggOpusWriter(pre_skip=312, input_rate=16_000, vendor=b"x" * 20)
    for size in (3, 40, 254, 255, 256, 600, 1275):
        writer.add(b"\x48" + bytes(size))
    return [writer.finish(48_000)]


def _fix_crc(data: bytes) -> bytes:
    """With the checksum of its first page made right, so that what lies behind the check is read too."""
    if len(data) < 27 or len(data) < 27 + data[26]:
        return data
    end = min(len(data), 27 + data[26] + sum(data[27:27 + data[26]]))
    page = data[:22] + bytes(4) + data[26:end]
    return data[:22] + ogg.ogg_crc(page).to_bytes(4, "little") + data[26:]


def _read_ogg(data: bytes) -> Any:
    return ogg.read_ogg_opus(data), ogg.read_ogg_opus(_fix_crc(data))


_DIGITS = [b"+237612345678", b"237612345678@s.whatsapp.net", b"447700900000:7@c.us", b"491701234567-1600000000@g.us",
           b"98765432101234@lid", b"120363000000000000@newsletter", b"status@broadcast", b"+1 (555) 000-2222", b"0044 7700 900000"]
_URLS = [b"https://user:pw@example.com:8443/a/b?c=d#e", b"http://[2606:4700::1111%251]:80/", "http://bücher.example/é".encode(),
         b"http://0x7f.1/", b"http://127.0.0.1", b"http://xn--bcher-kva.example."]
_INNER = [Node("ping", {}), Node("x", {"a": "ß" * 200}, b"\0" * 300)]
_NODES = [codec.encode(Node("iq", {"from": Address("15550001111", USER, 3), "id": "1234"}, _INNER)),
          codec.encode(Node("message", {"to": Address("123-456", "g.us", 0), "t": "1700000000"}, b"\x01" * 40))]

PARSERS = {
    "config": Parser(_config, _settings_seeds(), (ConfigError,)),
    "environment": Parser(_environment, [f"{name.removeprefix('WAGATEWAY_')}={value}".encode() for name in config._environment_names()
                                         for value in ("1", "x, y", "true")], (ConfigError,)),
    "quiet hours": Parser(text(config.parse_quiet_hours), [b"22:00-07:00", b"00:00-23:59"], (ValueError,)),
    "jid": Parser(text(JID.parse), _DIGITS, (ValueError,)),
    "recipient": Parser(text(parse_recipient), _DIGITS, (ValueError,)),
    "time": Parser(text(parse_iso), [b"2026-01-31T12:00:00Z", b"2026-01-31T12:00:00.123+01:00"], (ValueError,)),
    "url": Parser(text(urls.parse_url), _URLS, (ValueError,)),
    "redacted url": Parser(text(urls.redact_url), _URLS, ()),
    "data uri": Parser(text(lambda uri: parse_data_uri(uri, max_bytes=1000)), [
        b"data:audio/ogg;base64,T2dnUw==", b'data:audio/ogg; codecs="opus";name=a%20b.ogg,%4F%67', b"data:,x"], (FetchError,)),
    "json body": Parser(lambda data: _body("application/json", data), [
        b"\n\n" + msgspec.json.encode({"to": "+237612345678", "message": "ß", "a": [1, {"b": None}]})], (GatewayError,)),
    "form body": Parser(lambda data: _body("application/x-www-form-urlencoded", data), [
        b"\n\n" + urlencode({"chatId": "1@c.us", "file[url]": "https://x/y", "ä": "ö"}).encode()], (GatewayError,)),
    "multipart body": Parser(lambda data: _body("multipart/form-data", data), _multipart_seeds(), (GatewayError,)),
    "dialect body": Parser(_dialect, _dialect_seeds(), (GatewayError, ValueError, RecursionError)),
    "event id": Parser(_position, [b"1", b"000123", b"999999999999999999"], (GatewayError,)),
    "event types": Parser(text(_types), [b"qr,connected", b"message,receipt,"], (GatewayError,)),
    "cursor": Parser(text(sessions._cursor), [b"WzEuMCwgImEiXQ", b"W10"], (GatewayError,)),
    "accept": Parser(text(lambda header: http.accepts(header, ("application/json", "audio/ogg; codecs=opus"))), [
        b"text/html, application/json;q=0.5", b"*/*;q=0", b"audio/*"], ()),
    "ogg": Parser(_read_ogg, _ogg_seeds(), ()),
    "opus packet": Parser(_opus_frames, [b"\x48" + bytes(60), b"\x4b\x83\x02\x03" + bytes(20), b"\x49" + bytes(40),
                                         b"\x4a\x05" + bytes(30)], (ValueError,)),
    "waveform": Parser(_draw, [struct.pack("<400h", *range(-200, 200)), bytes(999), b"\xff\x7f\x00\x80" * 300], ()),
    "sniff": Parser(sniff.sniff, [*_ogg_seeds(), b"\x89PNG\r\n\x1a\n" + bytes(30), b"RIFF\0\0\0\0WEBPVP8 ", b"ID3" + bytes(9),
                                  b"%PDF-1.7"], ()),
    "node": Parser(codec.decode, _NODES, (codec.CodecError,)),
}


def rss_kb() -> int:
    return int(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS")))


def run(name: str, count: int, seed: int) -> dict[str, Any]:
    parser, outcomes, slowest, grown_from = PARSERS[name], Counter[str](), 0.0, 0
    dice = random.Random(seed)
    for number in range(count):
        if number == count // 3:
            gc.collect()
            grown_from = rss_kb()
        data = parser.seeds[number] if number < len(parser.seeds) else changed(parser.seeds, dice)
        began = time.process_time()
        try:
            parser.read(data)
            outcomes["read"] += 1
        except parser.refusals as error:
            if isinstance(error, GatewayError) and error.status >= 500:
                raise RuntimeError(f"{name}: {data!r} is told as a failure of ours") from error
            outcomes[getattr(error, "code", type(error).__name__)] += 1
        except BaseException:
            print(f"{name}: {data!r}", file=sys.stderr)
            raise
        slowest = max(slowest, time.process_time() - began)
    gc.collect()
    return {"inputs": count, "outcomes": outcomes, "slowest_ms": round(slowest * 1000, 1), "grown_kb": rss_kb() - grown_from}


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    print(json.dumps(run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
