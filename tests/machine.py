"""Where something was measured: without that, a number says nothing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sqlite3
import ssl
import subprocess
from pathlib import Path


def machine() -> dict[str, object]:
    """Processor, memory, load, versions, commit."""
    cpu = next((line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), platform.machine())
    memory = int(next(line.split()[1] for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal")))
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    return {"cpu": cpu, "cores": len(os.sched_getaffinity(0)), "memory_gb": round(memory / 1e6, 1),
            "load": round(os.getloadavg()[0], 1), "kernel": platform.release(), "python": platform.python_version(),
            "neonize": importlib.metadata.version("neonize"), "av": importlib.metadata.version("av"),
            "uvicorn": importlib.metadata.version("uvicorn"), "sqlite": sqlite3.sqlite_version,
            "openssl": ssl.OPENSSL_VERSION.split()[1], "commit": commit}
