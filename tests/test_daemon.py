"""Putting the program together: what is refused before anything is touched, and what is kept going."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from gateway import daemon
from gateway.config import Server, Settings
from gateway.errors import ConfigError


def test_a_second_daemon_on_one_state_folder_is_refused(tmp_path: Path) -> None:
    with daemon.state_folder(tmp_path / "s"), pytest.raises(daemon.AlreadyRunning, match="another wagateway runs on"), \
            daemon.state_folder(tmp_path / "s"):
        raise AssertionError
    with daemon.state_folder(tmp_path / "s") as state:
        assert state.stat().st_mode & 0o777 == 0o700


def test_a_port_in_use_is_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = replace(Settings(), server=Server(port=taken.getsockname()[1]))
        with pytest.raises(ConfigError, match=r"cannot listen on 127\.0\.0\.1"):
            daemon.listen(settings)


@pytest.mark.parametrize("server", [Server(host="x" * 64), Server(host="a..b"), Server(host="é" * 300), Server(host="256.1.1.1"),
                                    Server(port=0, unix_socket="/" + "x" * 200), Server(port=0, unix_socket="/none/x.sock")])
def test_an_address_that_is_none_is_one_sentence(server: Server) -> None:
    with pytest.raises(ConfigError, match=r"^cannot listen on .+: \S+"):
        daemon.listen(replace(Settings(), server=server))


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_ipv6_is_taken_with_and_without_brackets(host: str) -> None:
    opened, = daemon.listen(replace(Settings(), server=Server(host=host, port=0)))
    with opened:
        assert daemon.url_of([opened]).startswith("http://[::1]:")


def test_a_unix_socket_somebody_listens_on_is_left_to_him(tmp_path: Path) -> None:
    """One that nobody listens on is what a killed daemon left."""
    path = tmp_path / "s"
    settings = replace(Settings(), server=Server(port=0, unix_socket=str(path)))
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(path))
        taken.listen()
        with pytest.raises(ConfigError, match=f"cannot listen on {path}: another program listens there"):
            daemon.listen(settings)
    assert path.exists()
    for opened in daemon.listen(settings):
        opened.close()


async def test_background_work_that_fails_is_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "RESTART_SECONDS", 0.0)
    begun, third = [], asyncio.Event()

    async def work() -> None:
        begun.append(1)
        if len(begun) == 3:
            third.set()
            await asyncio.Event().wait()
        raise RuntimeError("boom")

    async with daemon.in_background(work):
        await asyncio.wait_for(third.wait(), 5)
    assert len(begun) == 3
