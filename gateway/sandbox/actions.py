"""What happens to a linked device from outside: logged out, dropped, muted, replaced, fed nonsense."""

from __future__ import annotations

from collections.abc import Callable

from .login import end, log_out, replace
from .node import SERVER, Node
from .people import LinkedDevice
from .stamps import stanza_id
from .world import World

Action = Callable[[World, LinkedDevice], None]


def drop(world: World, device: LinkedDevice) -> None:
    """Cut the TCP connection without a goodbye."""
    if device.connection is not None:
        device.connection.drop()


def close(world: World, device: LinkedDevice) -> None:
    """Close the connection in good order, without a reason."""
    if device.connection is not None:
        device.connection.close()


def mute(world: World, device: LinkedDevice) -> None:
    """Keep the connection and answer nothing on it, ever."""
    if device.connection is not None:
        device.connection.muted = True


def unmute(world: World, device: LinkedDevice) -> None:
    """Answer again and send what is queued; what was asked meanwhile stays unanswered."""
    if device.connection is not None:
        device.connection.muted = False
        for key in list(device.pending):
            device.send(key)


def replaced(world: World, device: LinkedDevice) -> None:
    """Another program has connected with this device's keys."""
    replace(device)


def restart(world: World, device: LinkedDevice) -> None:
    """The server restarts: stream error 503, and the connection ends."""
    end(device, Node("stream:error", {"code": 503}))


def reconnect(world: World, device: LinkedDevice) -> None:
    """The server wants the device to connect again: stream error 515, and the connection ends."""
    end(device, Node("stream:error", {"code": 515}))


def stream_error(world: World, device: LinkedDevice) -> None:
    """A stream error nobody has heard of: code 500."""
    end(device, Node("stream:error", {"code": 500}))


def malformed(world: World, device: LinkedDevice) -> None:
    """Frames that are no node: cut off, of unknown tokens, nested, and a well-formed stanza that makes no sense."""
    if device.connection is not None:
        for frame in (
            b"\x00",
            b"\x00\xf8\x02\x13",
            b"\x00\xf8\x01\xeb\xff\xff",
            b"\x02not zlib",
            b"\x00" + b"\xf8\x01" * 40,
        ):
            device.connection.send_raw(frame)
        device.connection.send(Node("message", {"from": SERVER, "id": stanza_id()}))
        device.connection.send(Node("receipt", {"id": stanza_id()}))


ACTIONS: dict[str, Action] = {
    "logout": log_out,
    "drop": drop,
    "close": close,
    "mute": mute,
    "unmute": unmute,
    "replace": replaced,
    "restart": restart,
    "reconnect": reconnect,
    "stream-error": stream_error,
    "malformed": malformed,
}
