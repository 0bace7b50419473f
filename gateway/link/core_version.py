"""Which core is inside neonize's library, and how old it is, read from what Go's linker left in the file.

whatsmeow has no release numbers: its version is the time of a commit. WhatsApp refuses clients that are too old (405,
"client outdated"), so the age of that commit is what to watch.
"""

from __future__ import annotations

import mmap
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_MAGIC = b"\xff Go buildinf:"
_INLINE = 0x2                   # flags: the strings follow, as uvarint length and bytes (debug/buildinfo, Go 1.18)
_HEADER = 32
_SENTINEL = 16                  # bytes around the module information
_PSEUDO_VERSION = re.compile(r"[-.](\d{14})-([0-9a-f]{12})$")


@dataclass(frozen=True, slots=True)
class CoreVersion:
    """`go` is the compiler; `committed` is unix seconds; both versions are as Go's modules name them."""

    go: str
    whatsmeow: str
    committed: float | None

    def age_days(self, now: float) -> float | None:
        return None if self.committed is None else (now - self.committed) / 86_400


def read_core_version(library: Path) -> CoreVersion | None:
    """None when the library has no build information (it was stripped of it). Raises OSError."""
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = content.find(_MAGIC)
        if start < 0 or not content[start + 15] & _INLINE:
            return None
        go, at = _string(content, start + _HEADER)
        modules, _ = _string(content, at)
    text = modules[_SENTINEL:-_SENTINEL].decode("utf-8", "replace")
    for line in text.splitlines():
        kind, _, rest = line.partition("\t")
        name, _, version = rest.partition("\t")
        if kind == "dep" and name == "go.mau.fi/whatsmeow":
            version = version.partition("\t")[0]
            return CoreVersion(go.decode(), version, _time_of(version))
    return None


def _string(content: mmap.mmap, at: int) -> tuple[bytes, int]:
    size = shift = 0
    while True:
        byte = content[at]
        at += 1
        size |= (byte & 0x7F) << shift
        if byte < 0x80:
            return content[at:at + size], at + size
        shift += 7


def _time_of(version: str) -> float | None:
    """v0.0.0-20260921121126-35ae40906e74 is a commit of 2026-09-21 12:11:26 UTC."""
    match = _PSEUDO_VERSION.search(version)
    try:
        return datetime.strptime(match.group(1), "%Y%m%d%H%M%S").replace(tzinfo=UTC).timestamp() if match else None
    except ValueError:
        return None
