"""What the daemon holds, looked at from outside.

`sessions` are descriptors of sessions' files (the core's connections), `other_fds` all else. `go_mb`, `private_mb` and `files_mb`
are resident: Go's heap, all other private memory (glibc's arenas, Python, stacks), and what is mapped from files.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from pathlib import Path

Sample = dict[str, float]
_GO_BELOW = 0x5000_0000_0000                    # Go puts its arenas at an address of its own, far below where the kernel maps
_TICKS = os.sysconf("SC_CLK_TCK")


def readable(pid: int) -> bool:
    """The daemon lets nobody of its own user look into its memory or descriptors: that takes root."""
    try:
        os.listdir(f"/proc/{pid}/fd")
    except PermissionError:
        return False
    return True


def quick(pid: int) -> Sample:
    """Raises OSError when the process is gone."""
    root = Path(f"/proc/{pid}")
    fields = dict(line.partition(":")[::2] for line in (root / "status").read_text().splitlines())
    sample: Sample = {"rss_mb": round(int(fields["VmRSS"].split()[0]) / 1024, 2), "threads": float(fields["Threads"]),
                      "children": float(len(children(pid)))}
    if readable(pid):
        kinds = Counter(_kind(f"/proc/{pid}/fd/{number}") for number in os.listdir(root / "fd"))
        sample |= {"fds": float(sum(kinds.values())), "session_fds": float(kinds["session"]),
                   "other_fds": float(sum(kinds.values()) - kinds["session"])}
    return sample


def _kind(link: str) -> str:
    with contextlib.suppress(OSError):
        if "/sessions/" in os.readlink(link):
            return "session"
    return "other"


def children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def memory(pid: int) -> Sample:
    """By kind. Walks the page tables: not for every second. Empty where that is not allowed."""
    totals: Counter[str] = Counter()
    kind = ""
    try:
        with open(f"/proc/{pid}/smaps") as lines:
            for line in lines:
                name, _, rest = line.partition(" ")
                if name.endswith(":"):
                    if name == "Rss:":
                        totals[kind] += int(rest.split()[0])
                else:
                    path = line.split(maxsplit=5)[5].strip() if len(line.split()) > 5 else ""
                    low = int(name.split("-")[0], 16) < _GO_BELOW
                    kind = "files_mb" if path.startswith("/") else "go_mb" if low and not path else "private_mb"
    except PermissionError:
        return {}
    return {name: round(totals[name] / 1024, 2) for name in ("go_mb", "private_mb", "files_mb")}


def disk(state: Path) -> Sample:
    """Sizes, in MB."""
    def size(*files: Path) -> float:
        total = 0
        for file in files:
            with contextlib.suppress(FileNotFoundError):
                total += file.stat().st_size
        return round(total / 1e6, 3)

    sessions = list((state / "sessions").glob("*"))
    return {"db_mb": size(state / "gateway.db"), "wal_mb": size(state / "gateway.db-wal"), "sessions_mb": size(*sessions),
            "session_files": float(len(sessions))}


def cpu_seconds(pid: int, *, with_children: bool = False) -> float:
    """Since it began; children count once they have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15 if with_children else 13]) / _TICKS
