"""All of them, one after the other, on a machine that does nothing else (a quarter of an hour), then the report.

    python -m benchmarks [--baileys FOLDER] [NAME …]
"""

from __future__ import annotations

import argparse
import subprocess
import sys

NAMES = ("linking", "sending", "sessions", "streams", "voice", "sealed_store")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--baileys", help="a folder with node_modules/audio-decode, for the benchmark of voice notes")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; none: all")
    given = parser.parse_args()
    if unknown := set(given.names) - set(NAMES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    for name in given.names or NAMES:
        more = ["--baileys", given.baileys] if name == "voice" and given.baileys else []
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *more], check=True)
    subprocess.run([sys.executable, "-m", "benchmarks.report"], check=True)


if __name__ == "__main__":
    main()
