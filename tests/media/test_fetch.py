"""Fetching and posting against servers on loopback that behave, and against those that lie, stall, drip and flood."""

from __future__ import annotations

import asyncio
import datetime
import gzip
import ssl
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from gateway.media.fetch import Fetched, Fetcher, FetchError, clean_filename, media_type

LOOPBACK = ("127.0.0.0/8",)
Answer = Callable[[bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""(request head, reader, writer): writes what it likes; the connection is closed after it."""


@asynccontextmanager
async def serving(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server on loopback; the port it listens on."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await answer(await reader.readuntil(b"\r\n\r\n"), reader, writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def saying(raw: bytes) -> Answer:
    async def answer(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)

    return answer


def ok(body: bytes, *headers: str) -> Answer:
    head = "\r\n".join(("HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers))
    return saying(head.encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body)


async def fetch(answer: Answer, path: str = "/", *, max_bytes: int = 1000, **limits: float) -> Fetched:
    options = {"total_seconds": 5.0, "idle_seconds": 5.0, **limits}
    async with serving(answer) as port, Fetcher(LOOPBACK, **options) as fetcher:
        return await fetcher.get(f"http://127.0.0.1:{port}{path}", max_bytes=max_bytes)


async def refusal(answer: Answer, path: str = "/", *, max_bytes: int = 1000, **limits: float) -> FetchError:
    with pytest.raises(FetchError) as caught:
        await fetch(answer, path, max_bytes=max_bytes, **limits)
    return caught.value


# -- what is asked and what is given back


async def test_a_file_comes_with_its_type_final_url_and_name() -> None:
    fetched = await fetch(ok(b"OggS", "Content-Type: Audio/Ogg; codecs=opus"), "/a/note%20one.ogg?signature=s")
    assert fetched.data == b"OggS"
    assert fetched.content_type == "audio/ogg"
    assert fetched.url.endswith("/a/note%20one.ogg?signature=s")
    assert fetched.filename == "note one.ogg"


async def test_the_request_is_plain_and_carries_nothing_of_ours() -> None:
    heads = []

    async def answer(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(head.decode().split("\r\n"))
        await saying(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n")(head, reader, writer)

    async with serving(answer) as port, Fetcher(LOOPBACK, user_agent="tester/1") as fetcher:
        for _ in range(2):
            await fetcher.get(f"http://127.0.0.1:{port}/x%2Fy?q=%2C|#part", max_bytes=0, accept="audio/*")
    assert heads[0] == heads[1]
    assert heads[0][0] == "GET /x%2Fy?q=%2C| HTTP/1.1"
    assert sorted(heads[0][1:-2]) == [
        "Accept-Encoding: identity",
        "Accept: audio/*",
        "Connection: close",
        f"Host: 127.0.0.1:{port}",
        "User-Agent: tester/1",
    ]


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('attachment; filename="a b.ogg"', "a b.ogg"),
        ("attachment; filename=a.ogg", "a.ogg"),
        ("attachment; filename=\"x.ogg\"; filename*=UTF-8''b%C3%A9.ogg", "bé.ogg"),
        ('inline; filename="../../etc/passwd"', "passwd"),
        (r'inline; filename="C:\\Windows\\evil.exe"', "evil.exe"),
        ('attachment; filename="bé.ogg"', "bé.ogg"),
        ('attachment; filename=".."', "path.bin"),
        ("attachment; filename*=no-such-charset''x%ff.ogg", "xÿ.ogg"),
        ("attachment; FileName*=utf-8''%e2%80%aegnp.exe", "gnp.exe"),
        ("attachment", "path.bin"),
        ("attachment; filename=", "path.bin"),
        ("\udcff\udcfe; =;;\"filename*=''", "path.bin"),
    ],
)
async def test_the_file_name_is_the_servers_made_safe_or_else_the_paths(disposition: str, name: str) -> None:
    fetched = await fetch(ok(b"", f"Content-Disposition: {disposition}"), "/some/path.bin")
    assert fetched.filename == name


@given(st.text(max_size=300))
def test_a_clean_file_name_is_one_visible_path_component(name: str) -> None:
    clean = clean_filename(name)
    if clean is not None:
        assert clean not in ("", ".", "..")
        assert not set(clean) & set("/\\\0\n\r\t\u202e\u2066")
        assert len(clean) <= 150


def test_a_long_file_name_keeps_its_suffix() -> None:
    assert clean_filename("a" * 500 + ".ogg") == "a" * 146 + ".ogg"


@pytest.mark.parametrize(
    ("header", "type_"),
    [("audio/ogg", "audio/ogg"), (" AUDIO/MPEG ;x=y", "audio/mpeg"), ("image/svg+xml", "image/svg+xml"),
     ("", None), (None, None), ("audio", None), ("a b/c", None), ("text/html, x", None)],
)  # fmt: skip
def test_a_media_type_is_bare_and_lower_case(header: str | None, type_: str | None) -> None:
    assert media_type(header) == type_


async def test_a_body_of_exactly_the_limit_is_taken_and_one_byte_more_is_not() -> None:
    assert (await fetch(ok(b"x" * 1000))).data == b"x" * 1000
    assert (await refusal(ok(b"x" * 1001))).code == "fetch_too_large"


async def test_a_body_without_a_length_ends_with_the_connection() -> None:
    assert (await fetch(saying(b"HTTP/1.0 200 OK\r\n\r\nabc"))).data == b"abc"
    chunked = saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    assert (await fetch(chunked)).data == b"abc"


async def test_two_fetches_at_once_do_not_wait_for_each_other() -> None:
    both = asyncio.Barrier(2)

    async def answer(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await both.wait()
        await ok(b"x")(head, reader, writer)

    async with serving(answer) as port, Fetcher(LOOPBACK, total_seconds=5) as fetcher:
        url = f"http://127.0.0.1:{port}/"
        fetched = await asyncio.gather(*(fetcher.get(url, max_bytes=10) for _ in range(2)))
    assert [one.data for one in fetched] == [b"x", b"x"]


async def test_a_fetcher_that_is_not_open_says_so() -> None:
    fetcher = Fetcher(LOOPBACK)
    with pytest.raises(RuntimeError, match="async with"):
        await fetcher.get("http://127.0.0.1/", max_bytes=1)


# -- redirects


def redirecting(hops: int, status: int = 302) -> Answer:
    """Leads from /0 to /1 … to /hops, where the file is."""

    async def answer(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        at = int(head.split()[1].rpartition(b"/")[2])
        if at < hops:
            writer.write(f"HTTP/1.1 {status} Go\r\nLocation: {at + 1}\r\nContent-Length: 5\r\n\r\nmoved".encode())
        else:
            await ok(b"here")(head, reader, writer)

    return answer


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed_up_to_the_limit(status: int) -> None:
    fetched = await fetch(redirecting(5, status), "/files/0")
    assert fetched.data == b"here"
    assert fetched.url.endswith("/files/5")
    assert fetched.filename == "5"


async def test_one_redirect_too_many_is_refused() -> None:
    error = await refusal(redirecting(6), "/files/0")
    assert (error.code, error.text) == ("fetch_failed", "The URL redirects more than 5 times.")


async def test_no_redirects_at_all_can_be_asked_for() -> None:
    async with serving(redirecting(1)) as port, Fetcher(LOOPBACK, max_redirects=0) as fetcher:
        with pytest.raises(FetchError, match="more than 0 times"):
            await fetcher.get(f"http://127.0.0.1:{port}/0", max_bytes=10)


async def test_redirects_share_the_total_time() -> None:
    async def answer(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.15)
        await redirecting(5)(head, reader, writer)

    assert (await refusal(answer, "/0", total_seconds=0.3)).code == "fetch_timeout"


async def test_a_location_of_raw_bytes_is_percent_encoded() -> None:
    async def answer(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if head.startswith(b"GET /0 "):
            writer.write(b"HTTP/1.1 302 Go\r\nLocation: /caf\xe9 \xc3\xa9\r\n\r\n")
        else:
            await ok(head.split()[1])(head, reader, writer)

    assert (await fetch(answer, "/0")).data == b"/caf%E9%20%C3%A9"


# -- servers that lie, stall, drip and flood


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\nabc", "fetch_too_large"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "fetch_failed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nabc", "fetch_failed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "fetch_failed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\nabc", "fetch_failed"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "fetch_failed"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n", "fetch_failed"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffffffff\r\nabc", "fetch_failed"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n" + b"x" * 2000 + b"\r\n0\r\n", "fetch_too_large"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 2000, "fetch_too_large"),
        (b"", "fetch_failed"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "fetch_failed"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "fetch_failed"),
        (b"\x16\x03\x01\x00\x05hello", "fetch_failed"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"x" * 100_000 + b"\r\n\r\n", "fetch_failed"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 10_000 + b"\r\n", "fetch_failed"),
        (b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", "fetch_failed"),
        (b"HTTP/1.1 302 Found\r\nLocation: \r\nContent-Length: 0\r\n\r\n", "fetch_failed"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "fetch_failed"),
    ],
)
async def test_an_answer_that_lies_or_is_no_http_is_refused(raw: bytes, code: str) -> None:
    assert (await refusal(saying(raw))).code == code


async def test_more_than_the_declared_length_is_not_taken() -> None:
    """Bytes that come with the file look like a second answer nobody asked for; bytes that come after it are not read."""
    error = await refusal(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef"))
    assert error.code == "fetch_failed"

    async def answer(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ok(b"abc")(head, reader, writer)
        await reader.read()
        writer.write(b"def")

    assert (await fetch(answer)).data == b"abc"


@pytest.mark.parametrize("status", [201, 202, 204, 206, 300, 304, 305, 400, 401, 403, 404, 429, 500, 503, 999])
async def test_any_other_status_is_a_failure_that_names_it(status: int) -> None:
    error = await refusal(saying(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode()))
    assert error.code == "fetch_failed"
    assert f"HTTP status {status}" in error.text


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "x-gzip", "identity, gzip"])
async def test_a_compressed_body_is_refused_unread_so_no_bomb_goes_off(encoding: str) -> None:
    bomb = gzip.compress(bytes(1_000_000))
    error = await refusal(ok(bomb, f"Content-Encoding: {encoding}"), max_bytes=10_000_000)
    assert error.code == "fetch_failed"
    assert "compressed" in error.text


async def test_a_gzip_file_that_is_not_an_encoding_is_just_bytes() -> None:
    body = gzip.compress(b"x")
    assert (await fetch(ok(body, "Content-Type: application/gzip", "Content-Encoding: identity"))).data == body


async def test_chunks_without_end_stop_at_the_limit() -> None:
    async def answer(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
            await writer.drain()

    assert (await refusal(answer, max_bytes=100_000)).code == "fetch_too_large"


@pytest.mark.parametrize(
    ("start", "drop"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"HTTP/1.1 200 OK\r\nA: ", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"A: x\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)
async def test_a_drip_that_is_never_idle_ends_with_the_total_time(start: bytes, drop: bytes) -> None:
    async def answer(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while True:
            writer.write(drop)
            await writer.drain()
            await asyncio.sleep(0.02)

    error = await refusal(answer, total_seconds=0.25, idle_seconds=1)
    assert error.code == "fetch_timeout"
    assert error.text.endswith("did not deliver within 0.25 seconds.")


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"])
async def test_a_silence_ends_with_the_idle_time(start: bytes) -> None:
    async def answer(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        await reader.read()

    error = await refusal(answer, idle_seconds=0.1)
    assert error.code == "fetch_timeout"
    assert error.text.endswith("sent nothing for 0.1 seconds.")


async def test_a_name_server_that_does_not_answer_counts_as_connecting() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    async with Fetcher(connect_seconds=0.1, resolve=resolve) as fetcher:
        with pytest.raises(FetchError) as caught:
            await fetcher.get("http://slow.example/", max_bytes=1)
    assert (caught.value.code, caught.value.text) == ("fetch_timeout", "slow.example could not be reached in time.")


async def test_a_peer_that_never_finishes_the_tls_handshake_counts_as_connecting() -> None:
    async with serving(saying(b"")) as port, Fetcher(LOOPBACK, connect_seconds=0.1) as fetcher:
        with pytest.raises(FetchError) as caught:
            await fetcher.get(f"https://127.0.0.1:{port}/", max_bytes=1)
    assert caught.value.code == "fetch_timeout"


async def test_a_port_where_nobody_listens_is_a_failure() -> None:
    async with serving(saying(b"")) as port:
        pass
    async with Fetcher(LOOPBACK) as fetcher:
        with pytest.raises(FetchError) as caught:
            await fetcher.get(f"http://127.0.0.1:{port}/", max_bytes=1)
    assert (caught.value.code, caught.value.text) == ("fetch_failed", f"127.0.0.1:{port} could not be connected to.")


async def test_a_name_that_does_not_exist_is_a_failure() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    async with Fetcher(resolve=resolve) as fetcher:
        with pytest.raises(FetchError) as caught:
            await fetcher.get("http://nowhere.example/", max_bytes=1)
    assert (caught.value.code, caught.value.text) == ("fetch_failed", "The name nowhere.example could not be resolved.")


async def test_cancelling_a_fetch_is_not_a_time_out() -> None:
    arrived = asyncio.Event()

    async def answer(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await reader.read()

    async with serving(answer) as port, Fetcher(LOOPBACK) as fetcher:
        task = asyncio.create_task(fetcher.get(f"http://127.0.0.1:{port}/", max_bytes=1))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.parametrize(
    "raw",
    [b"", b"garbage\r\n\r\n", b"HTTP/1.1 404 No\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n",
     b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", b"HTTP/1.1 302 Go\r\nLocation: http://u:secret@x/\r\n\r\n"],
)  # fmt: skip
async def test_no_error_repeats_the_path_or_the_query_of_a_url(raw: bytes) -> None:
    error = await refusal(saying(raw), "/secret/path?token=secret")
    assert "secret" not in error.text
    assert "secret" not in repr(error)
    assert "secret" not in "".join(traceback.format_exception(error)), "the cause's text holds the whole URL"


# -- TLS


def server_tls(folder: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context with a self-signed certificate for `name`, and a client's that trusts exactly this one."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    return server, ssl.create_default_context(cadata=certificate.public_bytes(serialization.Encoding.PEM).decode())


async def everyone_is_loopback(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


async def test_tls_is_verified_against_the_name_although_the_address_is_pinned(tmp_path: Path) -> None:
    server, trusting = server_tls(tmp_path, "media.example")
    asked: list[str | None] = []
    server.sni_callback = lambda connection, name, context: asked.append(name)
    async with (
        serving(ok(b"sealed"), server) as port,
        Fetcher(LOOPBACK, resolve=everyone_is_loopback, tls=trusting) as fetcher,
    ):
        assert (await fetcher.get(f"https://media.example:{port}/", max_bytes=10)).data == b"sealed"
        with pytest.raises(FetchError) as caught:
            await fetcher.get(f"https://other.example:{port}/", max_bytes=10)
    assert asked == ["media.example", "other.example"]
    assert caught.value.code == "fetch_failed"
    assert caught.value.text == f"The TLS certificate of other.example:{port} could not be verified."


async def test_a_self_signed_server_is_refused(tmp_path: Path) -> None:
    server, _ = server_tls(tmp_path, "media.example")
    async with serving(ok(b"x"), server) as port, Fetcher(LOOPBACK, resolve=everyone_is_loopback) as fetcher:
        with pytest.raises(FetchError, match="certificate"):
            await fetcher.get(f"https://media.example:{port}/", max_bytes=10)
        with pytest.raises(FetchError, match="certificate"):
            await fetcher.post(f"https://media.example:{port}/", b"{}", {}, timeout=5)


async def test_a_server_without_tls_under_https_is_a_failure() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    async with server, Fetcher(LOOPBACK) as fetcher:
        with pytest.raises(FetchError) as caught:
            await fetcher.get(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/", max_bytes=1)
    assert caught.value.code == "fetch_failed"
    assert caught.value.text.endswith("did not complete the TLS handshake.")


async def test_a_redirect_from_https_to_http_is_refused_and_the_other_way_is_followed(tmp_path: Path) -> None:
    server, trusting = server_tls(tmp_path, "media.example")
    async with (
        serving(ok(b"tampered")) as plain,
        serving(saying(f"HTTP/1.1 302 Go\r\nLocation: http://media.example:{plain}/\r\n\r\n".encode()), server) as down,
        serving(ok(b"sealed"), server) as sealed,
        serving(saying(f"HTTP/1.1 302 Go\r\nLocation: https://media.example:{sealed}/\r\n\r\n".encode())) as up,
        Fetcher(LOOPBACK, resolve=everyone_is_loopback, tls=trusting) as fetcher,
    ):
        assert (await fetcher.get(f"http://media.example:{up}/", max_bytes=10)).data == b"sealed"
        with pytest.raises(FetchError) as caught:
            await fetcher.get(f"https://media.example:{down}/", max_bytes=10)
    assert caught.value.code == "fetch_forbidden"
    assert "from https to http" in caught.value.text


# -- posting


async def post(answer: Answer, body: bytes = b"{}", *, timeout: float = 5, **headers: str) -> object:
    async with serving(answer) as port, Fetcher(LOOPBACK) as fetcher:
        return await fetcher.post(f"http://127.0.0.1:{port}/hook?secret=1", body, headers, timeout=timeout)


async def test_a_post_carries_its_body_and_headers_and_reports_the_answer() -> None:
    received = []

    async def answer(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append((head.decode(), await reader.readexactly(13)))
        await ok("très bien".encode())(head, reader, writer)

    headers = {"Content-Type": "application/json", "X-Signature": "sha256=abc", "User-Agent": "hook/1"}
    async with serving(answer) as port, Fetcher(LOOPBACK) as fetcher:
        posted = await fetcher.post(f"http://127.0.0.1:{port}/hook?x=1", b'{"event": "1"}'[:13], headers, timeout=5)
    head, body = received[0]
    assert head.startswith("POST /hook?x=1 HTTP/1.1\r\n")
    for name, value in headers.items():
        assert f"{name}: {value}\r\n" in head
    assert body == b'{"event": "1"'
    assert (posted.status, posted.body_excerpt) == (200, "très bien")
    assert 0 < posted.seconds < 5


@pytest.mark.parametrize("status", [204, 301, 302, 307, 308, 400, 410, 429, 500, 503])
async def test_every_status_is_an_answer_and_no_redirect_is_followed(status: int) -> None:
    visits = []

    async def answer(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visits.append(head)
        writer.write(f"HTTP/1.1 {status} X\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n".encode())

    posted = await post(answer)
    assert posted.status == status
    assert len(visits) == 1


async def test_a_long_answer_is_cut_and_need_not_be_text() -> None:
    async def answer(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n\xff")
        while True:
            writer.write(b"x" * 4096)
            await writer.drain()

    posted = await post(answer)
    assert posted.body_excerpt == "\ufffd" + "x" * 2047


@pytest.mark.parametrize("raw", [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"])
async def test_a_status_counts_even_if_the_body_breaks_off_or_stalls(raw: bytes) -> None:
    async def stall(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await reader.read(-1)

    for answer in (saying(raw), stall):
        posted = await post(answer, timeout=0.5)
        assert (posted.status, posted.body_excerpt) == (200, "abc")


async def test_a_receiver_that_does_not_answer_in_time_is_a_time_out() -> None:
    async def answer(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)

    with pytest.raises(FetchError) as caught:
        await post(answer, timeout=0.1)
    assert caught.value.code == "fetch_timeout"
    assert caught.value.text.endswith("did not answer within 0.1 seconds.")
    assert "secret" not in caught.value.text


async def test_a_receiver_that_hangs_up_is_a_failure() -> None:
    with pytest.raises(FetchError) as caught:
        await post(saying(b""))
    assert caught.value.code == "fetch_failed"
    assert "secret" not in caught.value.text
