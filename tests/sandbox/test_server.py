"""What the sandbox leaves alone, and what it does with clients that are none."""

from __future__ import annotations

import asyncio
import hashlib
import os
import ssl
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
from aiohttp import WSMsgType
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.sandbox.chat import Frames, ProtocolError
from gateway.sandbox.protobufs import package_directory
from gateway.sandbox.redirect import ROOT_KEY
from gateway.sandbox.server import Sandbox

from .conftest import SECONDS


def test_the_installed_library_is_not_changed_and_the_copy_differs_in_one_key(tmp_path: Path) -> None:
    library = next(package_directory().glob("neonize-*.so"))
    before = hashlib.sha256(library.read_bytes()).hexdigest()

    async def open_and_close() -> None:
        async with Sandbox(tmp_path):
            pass

    asyncio.run(open_and_close())
    assert hashlib.sha256(library.read_bytes()).hexdigest() == before
    [copy] = tmp_path.glob("sandbox-*.so")
    original, patched = library.read_bytes(), copy.read_bytes()
    place = original.index(ROOT_KEY)
    assert patched[:place] + ROOT_KEY + patched[place + 32 :] == original
    assert patched != original


async def test_a_child_keeps_its_own_sitecustomize_and_python_path(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.seen_by_the_child = True")
    environment = os.environ | sandbox.environment()
    environment["PYTHONPATH"] += os.pathsep + str(tmp_path)
    program = (
        "import sys, ctypes; assert sys.seen_by_the_child\n"
        "from pathlib import Path; from neonize.download import __file__ as here\n"
        "library = next(Path(here).parent.glob('neonize-*.so'))\n"
        "print(ctypes.CDLL(str(library))._name)"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, env=environment, stdout=subprocess.PIPE)
    async with asyncio.timeout(SECONDS):
        output, _ = await process.communicate()
    assert process.returncode == 0
    assert Path(output.decode().split()[-1]).name.startswith("sandbox-")


def test_protobufs_load_without_the_go_runtime_and_leave_the_real_package_whole() -> None:
    program = (
        "import sys, threading; import gateway.sandbox.protobufs as ours\n"
        "assert not [name for name in sys.modules if name.startswith('neonize')]\n"
        "assert len(open('/proc/self/maps').read().split('neonize-linux')) == 1\n"
        "import neonize.client; from neonize.proto.waE2E import WAWebProtobufsE2E_pb2 as theirs\n"
        "message = theirs.Message(conversation='x')\n"
        "assert ours.Message.FromString(message.SerializeToString()).conversation == 'x'\n"
        "print('whole')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=SECONDS, check=False)
    assert done.stdout.decode().strip().endswith("whole"), done.stderr.decode()


@given(st.lists(st.binary(max_size=40), max_size=6), st.data())
def test_frames_come_out_whole_however_they_are_cut(frames: list[bytes], data: st.DataObject) -> None:
    routing = data.draw(st.sampled_from([b"", b"ED\x00\x01\x00\x00\x03abc"]))
    stream = routing + b"WA\x06\x03" + b"".join(len(frame).to_bytes(3, "big") + frame for frame in frames)
    reader, found, place = Frames(), [], 0
    while place < len(stream):
        step = data.draw(st.integers(1, 30))
        found += reader.feed(stream[place : place + step])
        place += step
    assert found == frames


def test_a_stream_that_does_not_begin_as_whatsapps_is_refused() -> None:
    with pytest.raises(ProtocolError):
        Frames().feed(b"GET / HTTP/1.1")
    with pytest.raises(ProtocolError):
        Frames().feed(b"WA\x06\x02")


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.binary(min_size=4, max_size=300), introduced=st.booleans())
async def test_a_client_that_talks_nonsense_is_let_go(sandbox: Sandbox, data: bytes, introduced: bool) -> None:
    trust = ssl.create_default_context(cafile=sandbox.environment()["SSL_CERT_FILE"])
    async with (
        asyncio.timeout(SECONDS),
        aiohttp.ClientSession() as http,
        http.ws_connect("wss://web.whatsapp.com/ws/chat", proxy=sandbox.proxy_url, ssl=trust) as socket,
    ):
        hello = b"WA\x06\x03" + len(data).to_bytes(3, "big") if introduced else b""
        await socket.send_bytes(hello + data)
        answer = await socket.receive() if introduced or not data.startswith(b"WA") else None
        if answer is not None:
            assert answer.type is not WSMsgType.TEXT
    assert await sandbox.world.wait_until(lambda: not sandbox.world.connections, SECONDS)


async def test_the_proxy_only_makes_tunnels(sandbox: Sandbox) -> None:
    port = int(sandbox.proxy_url.rpartition(":")[2])
    for request, answer in (
        (b"GET http://example.org/ HTTP/1.1\r\n\r\n", b"HTTP/1.1 405"),
        (b"CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 200"),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(SECONDS):
            for byte in range(0, len(request), 5):
                writer.write(request[byte : byte + 5])
                await writer.drain()
            assert (await reader.readline()).startswith(answer)
        writer.close()
        await writer.wait_closed()


async def test_media_needs_a_linked_device_and_a_token_that_is_the_hash(sandbox: Sandbox) -> None:
    trust = ssl.create_default_context(cafile=sandbox.environment()["SSL_CERT_FILE"])
    async with aiohttp.ClientSession("https://mmg.whatsapp.net", proxy=sandbox.proxy_url) as http:
        async with http.post("/mms/audio/abc?auth=nobody", data=b"x", ssl=trust) as answer:
            assert answer.status == 401
        person = sandbox.world.people.person("15550001111")
        assert person is not None
        device = person.add_device(b"n" * 32, b"i" * 32)
        async with http.post(f"/mms/audio/abc?auth={device.pn}", data=b"x", ssl=trust) as answer:
            assert answer.status == 400
        async with http.get("/v/t62.7117-24/00.enc?a=b", ssl=trust) as answer:
            assert answer.status == 404
