"""`python -m gateway.sandbox --directory DIR`: a sandbox in its own process.

Prints one line of JSON, `{"control_url", "proxy_url", "env"}`, when it is ready; ends on SIGINT or SIGTERM, or when
its standard input closes with `--until-eof`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from .server import Sandbox


async def _run(directory: Path, control_port: int, port_file: Path | None, until_eof: bool) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with Sandbox(directory, control_port=control_port) as sandbox:
        line = json.dumps({"control_url": sandbox.control_url, "proxy_url": sandbox.proxy_url, "env": sandbox.environment()})
        if port_file is not None:
            # Written aside and renamed: whoever waits for the file never reads half of it.
            partial = port_file.with_name(port_file.name + ".partial")
            await asyncio.to_thread(partial.write_text, line + "\n")
            os.replace(partial, port_file)
        print(line, flush=True)
        if until_eof:
            reader = asyncio.StreamReader()
            await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
            ended = asyncio.create_task(reader.read())
            ended.add_done_callback(lambda _: stop.set())
        await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m gateway.sandbox", description=__doc__.partition("\n")[0])
    parser.add_argument("--directory", type=Path, required=True, help="for the throw-away CA and the library's copy")
    parser.add_argument("--control-port", type=int, default=0, help="of the control API on 127.0.0.1; 0 picks one")
    parser.add_argument("--port-file", type=Path, help="also write the line of JSON into this file")
    parser.add_argument("--until-eof", action="store_true", help="end when standard input closes")
    arguments = parser.parse_args()
    asyncio.run(_run(arguments.directory, arguments.control_port, arguments.port_file, arguments.until_eof))


main()
