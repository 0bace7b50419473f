"""What a stranger's URL must not make the gateway do: talk to itself, its neighbours, or a cloud's metadata service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.media.fetch import Fetcher, FetchError

METADATA = "169.254.169.254"

FORBIDDEN = [
    # loopback and its names
    "http://127.0.0.1:{port}/", "http://127.0.0.1:{port}", "https://127.0.0.1:{port}/", "http://127.127.127.127:{port}/",
    "http://[::1]:{port}/", "http://[0:0:0:0:0:0:0:1]:{port}/", "http://localhost:{port}/", "http://LOCALHOST:{port}/",
    "http://localhost.:{port}/", "http://localhost.localdomain:{port}/", "http://127.0.0.1.nip.example:{port}/",
    "http://ⅼocalhost:{port}/", "http://ｌｏｃａｌｈｏｓｔ:{port}/",
    # unspecified, broadcast, multicast, reserved
    "http://0.0.0.0:{port}/", "http://[::]:{port}/", "http://255.255.255.255/", "http://224.0.0.1/", "http://[ff02::1]/",
    "http://240.0.0.1/", "http://0.1.2.3/",
    # private, carrier-grade NAT, link-local, site-local, documentation
    "http://10.0.0.1/", "http://172.16.0.1/", "http://172.31.255.255/", "http://192.168.1.1/", "http://100.64.0.1/",
    "http://198.18.0.1/", "http://192.0.2.1/", "http://[fd00::1]/", "http://[fe80::1]/", "http://[fec0::1]/",
    # metadata services
    f"http://{METADATA}/latest/meta-data/", "http://100.100.100.200/", "http://168.63.129.16/", "http://192.0.0.192/",
    "http://[fd00:ec2::254]/", "http://[::ffff:a9fe:a9fe]/", "http://[64:ff9b::a9fe:a9fe]/", "http://[2002:a9fe:a9fe::]/",
    # IPv4 in IPv6
    "http://[::ffff:127.0.0.1]:{port}/", "http://[::ffff:7f00:1]:{port}/", "http://[0:0:0:0:0:ffff:127.0.0.1]:{port}/",
    "http://[::127.0.0.1]:{port}/", "http://[::ffff:0:127.0.0.1]/", "http://[64:ff9b::127.0.0.1]/",
    "http://[64:ff9b:1::7f00:1]/", "http://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/", "http://[::ffff:8.8.8.8]/",
    # digits that are not ASCII but mean ASCII digits and dots
    "http://１２７.0.0.1:{port}/", "http://①②⑦.⓪.⓪.①:{port}/", "http://127。0。0。1:{port}/", "http://127．0．0．1:{port}/",
    "http://127.0.0.1\u2044x.example/",  # a fraction slash; IDNA makes a name of it, which is looked up
]  # fmt: skip

MALFORMED = [
    # inet_aton's other spellings of 127.0.0.1 and 169.254.169.254
    "http://2130706433:{port}/", "http://0x7f000001:{port}/", "http://017700000001:{port}/", "http://0x7f.1:{port}/",
    "http://127.1:{port}/", "http://127.0.1:{port}/", "http://0177.0.0.1:{port}/", "http://0x7f.0x0.0x0.0x1:{port}/",
    "http://00127.0.0.1:{port}/", "http://127.0.0.1.:{port}/", "http://127.0.0.01:{port}/", "http://0:{port}/",
    "http://0x:{port}/", "http://2852039166/", "http://0xA9FEA9FE/", "http://425.510.425.510/", "http://4294967295/",
    "http://127.0.0.1..:{port}/", "http://127..0.1:{port}/", "http://.127.0.0.1:{port}/", "http://0X7F.1:{port}/",
    # user info
    "http://user@127.0.0.1:{port}/", "http://example.com@127.0.0.1:{port}/", "http://example.com:80@127.0.0.1:{port}/",
    "http://@127.0.0.1:{port}/", "http://127.0.0.1:{port}@example.com/", "http://a@b@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}\\@example.com/", "http://example.com\\@127.0.0.1:{port}/", "http://１２７.0.0.1＠example.com/",
    # percent-encoding, backslashes, white space, control characters, invisible characters
    "http://%31%32%37.0.0.1:{port}/", "http://127%2e0.0.1:{port}/", "http://localhos%74:{port}/",
    "http://example.com%00.127.0.0.1/", "http:\\\\127.0.0.1:{port}\\", "http:/\\127.0.0.1:{port}/",
    "http:/127.0.0.1:{port}/",
    "http:127.0.0.1:{port}/", "//127.0.0.1:{port}/", "http:///127.0.0.1:{port}/", "http://127.0.0.1\\.example.com:{port}/",
    "http://127.0.\t0.1:{port}/", "http://127.0.0.1\n:{port}/", "ht\ntp://127.0.0.1:{port}/", "\x00http://127.0.0.1:{port}/",
    " http://127.0.0.1:{port}/", "http:// 127.0.0.1:{port}/", "http://127.0.0.1 :{port}/",
    "http://127.0.0.1:{port}/\r\nX: y",
    "http://local\u00adhost:{port}/", "http://local\u200bhost:{port}/",
    # brackets, zones, ports
    "http://[127.0.0.1]:{port}/", "http://[::1%25lo]:{port}/", "http://[::1%lo]:{port}/", "http://[fe80::1%251]/",
    "http://::1:{port}/", "http://[::1/", "http://[::1]x:{port}/", "http://[v1.x]/", "http://[]/", "http://[::1]@x/",
    "http://127.0.0.1:0/", "http://127.0.0.1:65536/", "http://127.0.0.1:-1/", "http://127.0.0.1:１/", "http://x:0x50/",
    "http://127.0.0.1:{port}:{port}/", "http://127.0.0.1;x:{port}/", "http://(127.0.0.1):{port}/",
    "http://127.0.0.1,1.1.1.1/",
    # other schemes, no host
    "ftp://127.0.0.1:{port}/", "file:///etc/passwd", "gopher://127.0.0.1:{port}/_", "dict://127.0.0.1:{port}/",
    "unix:///run/x.sock", "jar:http://127.0.0.1!/", "javascript:alert(1)", "data:,x",
    "http+unix://x/", "", "http://", "https:///",
    "http://..:{port}/", "http://-x.example/", "http://" + "a" * 64 + ".example/", "http://" + "a." * 150 + "example/",
]  # fmt: skip


class Canary:
    """A listener on loopback that counts who comes."""

    def __init__(self) -> None:
        self.visits = 0
        self.port = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.visits += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret")
        writer.close()


@pytest.fixture
async def canary() -> AsyncIterator[Canary]:
    canary = Canary()
    server = await asyncio.start_server(canary, "127.0.0.1", 0)
    canary.port = server.sockets[0].getsockname()[1]
    yield canary
    server.close()
    await server.wait_closed()


async def resolve_to_loopback(host: str, port: int) -> list[str]:
    """The worst name server: whatever is asked, the answer is this machine."""
    return ["127.0.0.1"]


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize(
    ("form", "code"),
    [(form, "fetch_forbidden") for form in FORBIDDEN] + [(form, "fetch_bad_url") for form in MALFORMED],
)
async def test_no_spelling_reaches_an_address_that_is_not_public(canary: Canary, form: str, code: str, method: str) -> None:
    url = form.format(port=canary.port)
    async with Fetcher(resolve=resolve_to_loopback, total_seconds=5) as fetcher:
        with pytest.raises(FetchError) as caught:
            await (fetcher.get(url, max_bytes=100) if method == "get" else fetcher.post(url, b"{}", {}, timeout=5))
    assert caught.value.code == code
    assert canary.visits == 0


def test_the_corpus_is_of_a_respectable_size() -> None:
    assert len(set(FORBIDDEN)) + len(set(MALFORMED)) >= 60


async def test_the_operating_systems_resolver_is_checked_too(canary: Canary) -> None:
    async with Fetcher() as fetcher:
        with pytest.raises(FetchError) as caught:
            await fetcher.get(f"http://localhost:{canary.port}/", max_bytes=100)
    assert caught.value.code == "fetch_forbidden"
    assert caught.value.text == "localhost leads to a loopback address, which may not be fetched."
    assert canary.visits == 0


async def test_an_allowed_network_is_reached_by_literal_and_by_name(canary: Canary) -> None:
    async with Fetcher(allow_networks=("127.0.0.0/8",)) as fetcher:
        for host in ("127.0.0.1", "localhost"):
            assert (await fetcher.get(f"http://{host}:{canary.port}/", max_bytes=100)).data == b"secret"
    assert canary.visits == 2


async def test_a_name_is_looked_up_once_and_the_connection_goes_to_that_answer(canary: Canary) -> None:
    """DNS rebinding: the second answer of this name server would be forbidden, and nobody asks for it."""
    answers = iter([["127.0.0.1"], ["10.0.0.1"]])
    asked = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return next(answers)

    async with Fetcher(allow_networks=("127.0.0.1/32",), resolve=resolve) as fetcher:
        assert (await fetcher.get(f"http://rebind.example:{canary.port}/", max_bytes=100)).data == b"secret"
    assert asked == [("rebind.example", canary.port)]
    assert canary.visits == 1


async def test_a_public_answer_is_not_exchanged_for_a_loopback_one(canary: Canary, monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding the dangerous way round: checked while public, connected to when loopback."""
    answers = iter([["93.184.215.14"], ["127.0.0.1"]])
    connected = []

    async def resolve(host: str, port: int) -> list[str]:
        return next(answers)

    async def sock_connect(sock: object, address: object) -> None:
        connected.append(address)
        raise ConnectionRefusedError

    async with Fetcher(resolve=resolve) as fetcher:
        monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", sock_connect)
        with pytest.raises(FetchError) as caught:
            await fetcher.get(f"http://rebind.example:{canary.port}/", max_bytes=100)
    assert caught.value.code == "fetch_failed"
    assert connected == [("93.184.215.14", canary.port)]
    assert list(answers) == [["127.0.0.1"]]
    assert canary.visits == 0


async def test_every_request_looks_its_name_up_afresh(canary: Canary) -> None:
    """A name that was public once is not trusted the next time: no cached answer, no kept connection."""
    answers = iter([["127.0.0.1"], ["127.0.0.2"]])

    async def resolve(host: str, port: int) -> list[str]:
        return next(answers)

    async with Fetcher(allow_networks=("127.0.0.1/32",), resolve=resolve) as fetcher:
        url = f"http://rebind.example:{canary.port}/"
        assert (await fetcher.get(url, max_bytes=100)).data == b"secret"
        with pytest.raises(FetchError) as caught:
            await fetcher.get(url, max_bytes=100)
    assert caught.value.code == "fetch_forbidden"
    assert canary.visits == 1


async def test_of_a_mixed_answer_only_the_permitted_addresses_are_tried(canary: Canary) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["10.0.0.1", "::1", "fe80::1%lo", "127.0.0.1", "nonsense"]

    async with Fetcher(allow_networks=("127.0.0.1/32",), resolve=resolve) as fetcher:
        assert (await fetcher.get(f"http://mixed.example:{canary.port}/", max_bytes=100)).data == b"secret"


async def test_a_request_that_went_past_the_checks_still_gets_no_socket(canary: Canary) -> None:
    async with Fetcher() as fetcher:
        with pytest.raises(OSError, match="forbidden address"):
            await fetcher._http().get(f"http://127.0.0.1:{canary.port}/")
    assert canary.visits == 0


async def test_an_environment_proxy_is_not_used(canary: Canary, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through a proxy, the proxy would resolve the name and nothing here would have been checked."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{canary.port}")
    async with Fetcher(allow_networks=("127.0.0.0/8",), resolve=lambda host, port: resolve_to_nothing()) as fetcher:
        with pytest.raises(FetchError) as caught:
            await fetcher.get("http://example.com/", max_bytes=100)
    assert caught.value.text == "The name example.com has no address."
    assert canary.visits == 0


async def resolve_to_nothing() -> list[str]:
    return []


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.2:{port}/", "//127.0.0.2:{port}/", "http://localhost:{port}/", "http://[::1]:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/", f"http://{METADATA}/", "http://internal.example:{port}/",
        "http://2130706433:{port}/", "http://127.0.0.1\\@x/", "http://user@127.0.0.1:{port}/", "file:///etc/passwd",
        "data:,secret", "http://[", "http://127.1:{port}/", "https://127.0.0.2:{port}/", "http://0/",
    ],
)  # fmt: skip
async def test_a_redirect_passes_the_same_door(canary: Canary, location: str) -> None:
    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: " + location.format(port=canary.port).encode() + b"\r\n\r\n")
        writer.close()

    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.1"] if host == "public.example" else ["127.0.0.2"]

    server = await asyncio.start_server(redirect, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, Fetcher(allow_networks=("127.0.0.1/32",), resolve=resolve) as fetcher:
        with pytest.raises(FetchError) as caught:
            await fetcher.get(f"http://public.example:{port}/", max_bytes=100)
    assert caught.value.code in ("fetch_forbidden", "fetch_failed")
    assert canary.visits == 0
