from __future__ import annotations

import asyncio
import json
import platform
import subprocess
import sys

import pytest

from gateway.services.memory import ARENAS, EVERY_SECONDS, LARGE, give_back, trimmer

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
THREADS = """
import ctypes, json, os, re, sys, tempfile, threading
from gateway.services.memory import keep_small

assert not int(sys.argv[1]) or keep_small()
c = ctypes.CDLL(None)
c.malloc.restype, c.malloc.argtypes, c.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
c.fdopen.restype, c.malloc_info.argtypes, c.fclose.argtypes = ctypes.c_void_p, [ctypes.c_int, ctypes.c_void_p], [ctypes.c_void_p]
together = threading.Barrier(12)

def work():
    together.wait()
    mine = [c.malloc(5000) for _ in range(100)]
    together.wait()
    for one in mine:
        c.free(one)

threads = [threading.Thread(target=work) for _ in range(12)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
LARGE = int(sys.argv[2])
c.free(c.malloc(40 * LARGE))      # as it is, glibc learns from it to put such blocks into an arena
large = [c.malloc(16 * LARGE) for _ in range(20)]           # more than an arena may have left
file = os.memfd_create("info")
out = c.fdopen(os.dup(file), b"w")
c.malloc_info(0, out)
c.fclose(out)
info = os.pread(file, 1 << 20, 0).decode()
mapped = int(re.findall(r'<total type="mmap" count="(\\d+)"', info)[-1])
print(json.dumps({"arenas": info.count("<heap nr="), "mapped": mapped}))
"""


async def test_it_is_given_back_every_few_minutes_until_cancelled() -> None:
    waited: list[float] = []
    trimmed: list[int] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 4:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await give_back(lambda: trimmed.append(1), sleep)
    assert waited == [EVERY_SECONDS] * 4 and len(trimmed) == 3


@glibc
def test_glibc_knows_how() -> None:
    trim = trimmer()
    assert trim is not None and trim() in (0, 1)


@glibc
@pytest.mark.parametrize("small", [False, True])
def test_there_are_few_arenas_and_large_blocks_are_mapped_by_themselves(small: bool) -> None:
    told = subprocess.run([sys.executable, "-c", THREADS, str(int(small)), str(LARGE)], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    seen = json.loads(told.stdout)
    assert (seen["arenas"] <= ARENAS) is small, seen
    assert (seen["mapped"] >= 20) is small, seen
