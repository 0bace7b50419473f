"""WhatsApp's binary XML: `gateway.sandbox.node.Node` to bytes and back.

A node is a list of 1 + 2 x attributes (+ 1 with content) values. A value is a token of one byte (236 known strings) or
two (4 x 256), a byte string, digits or hex packed two to a byte, an address, or a list. `tokens.json` holds the
dictionary; its version travels in the client's first four bytes.
"""

from __future__ import annotations

import json
import zlib
from importlib import resources

from .node import LID, USER, Address, Attribute, Content, Node

_DICTIONARY = json.loads(resources.files(__package__).joinpath("tokens.json").read_text())
VERSION: int = _DICTIONARY["version"]
_SINGLE: list[str] = _DICTIONARY["single"]
_DOUBLE: list[list[str]] = _DICTIONARY["double"]
_TOKENS: dict[str, bytes] = {
    word: bytes([236 + book, index]) for book, words in enumerate(_DOUBLE) for index, word in enumerate(words)
} | {word: bytes([index]) for index, word in enumerate(_SINGLE) if word}

_EMPTY, _DICT_0, _DICT_3 = 0, 236, 239
_INTEROP_JID, _FB_JID, _AD_JID, _LIST_8, _LIST_16, _JID_PAIR = 245, 246, 247, 248, 249, 250
_HEX_8, _BYTES_8, _BYTES_20, _BYTES_32, _NIBBLE_8 = 251, 252, 253, 254, 255
_NIBBLES = "0123456789-.\0\0\0\0"
_HEX = "0123456789ABCDEF"
_AGENTS = {0: USER, 1: LID, 128: "hosted", 129: "hosted.lid"}
_AGENT_OF = {server: agent for agent, server in _AGENTS.items()}

_DEEPEST = 64
_LONGEST = 16 * 1024 * 1024


class CodecError(Exception):
    """The bytes are no node."""


def decode(frame: bytes) -> Node:
    """The node of one plain frame (flag byte first; flag 2: the rest is zlib). Raises CodecError, and nothing else."""
    if not frame:
        raise CodecError("an empty frame")
    body = frame[1:]
    if frame[0] & 2:
        body = _inflate(body)
    reader = _Reader(body)
    node = reader.node(0)
    if reader.place != len(body):
        raise CodecError(f"{len(body) - reader.place} bytes after the node")
    return node


def _inflate(data: bytes) -> bytes:
    inflater = zlib.decompressobj()
    try:
        plain = inflater.decompress(data, _LONGEST)
    except zlib.error as error:
        raise CodecError("not zlib") from error
    if inflater.unconsumed_tail or not inflater.eof:
        raise CodecError("the zlib stream is too long or cut off")
    return plain


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.place = 0

    def take(self, count: int) -> bytes:
        end = self.place + count
        if end > len(self._data):
            raise CodecError(f"ends inside a value at byte {self.place}")
        chunk = self._data[self.place : end]
        self.place = end
        return chunk

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def list_size(self, tag: int) -> int:
        if tag == _EMPTY:
            return 0
        if tag in (_LIST_8, _LIST_16):
            return self.number(1 if tag == _LIST_8 else 2)
        raise CodecError(f"{tag} does not begin a list")

    def node(self, depth: int) -> Node:
        if depth > _DEEPEST:
            raise CodecError("nested too deeply")
        size = self.list_size(self.number(1))
        tag = self.string()
        if not size or not tag:
            raise CodecError("a node without a tag")
        attrs: dict[str, Attribute] = {}
        for _ in range((size - 1) // 2):
            name = self.string()
            attrs[name] = self.value()
        return Node(tag, attrs, self.content(depth) if size % 2 == 0 else None)

    def content(self, depth: int) -> Content:
        tag = self.number(1)
        if tag in (_LIST_8, _LIST_16):
            return [self.node(depth + 1) for _ in range(self.list_size(tag))]
        if tag in (_BYTES_8, _BYTES_20, _BYTES_32):
            return self.raw(tag)
        value = self.value(tag)
        return str(value) if value is not None else None

    def string(self) -> str:
        value = self.value()
        if not isinstance(value, str):
            raise CodecError("a string was expected")
        return value

    def raw(self, tag: int) -> bytes:
        if tag == _BYTES_20:
            return self.take(self.number(3) & 0xFFFFF)
        return self.take(self.number(1 if tag == _BYTES_8 else 4))

    def value(self, tag: int | None = None) -> str | Address | None:
        tag = self.number(1) if tag is None else tag
        if tag == _EMPTY:
            return None
        if tag < len(_SINGLE):
            return _SINGLE[tag]
        if _DICT_0 <= tag <= _DICT_3:
            return _DOUBLE[tag - _DICT_0][self.number(1)]
        if tag in (_BYTES_8, _BYTES_20, _BYTES_32):
            return self.raw(tag).decode("utf-8", "surrogateescape")
        if tag in (_NIBBLE_8, _HEX_8):
            return self.packed(_NIBBLES if tag == _NIBBLE_8 else _HEX)
        if tag == _JID_PAIR:
            return self.pair()
        if tag == _AD_JID:
            agent, device = self.number(1), self.number(1)
            if agent not in _AGENTS:
                raise CodecError(f"an address with the unknown agent {agent}")
            return Address(self.string(), _AGENTS[agent], device)
        if tag in (_FB_JID, _INTEROP_JID):
            user, device = self.string(), self.number(2)
            if tag == _INTEROP_JID:
                self.number(2)
            return Address(user, self.string(), device)
        raise CodecError(f"unknown value {tag} at byte {self.place - 1}")

    def pair(self) -> Address:
        user, server = self.value(), self.value()
        if not isinstance(server, str) or isinstance(user, Address):
            raise CodecError("an address whose parts are no strings")
        return Address(user or "", server)

    def packed(self, alphabet: str) -> str:
        first = self.number(1)
        text = "".join(alphabet[byte >> 4] + alphabet[byte & 15] for byte in self.take(first & 127))
        text = text[:-1] if first & 128 else text
        if "\0" in text:
            raise CodecError("a digit that is none")
        return text


def encode(node: Node) -> bytes:
    """One plain frame, uncompressed."""
    out = bytearray(b"\x00")
    _write_node(out, node)
    return bytes(out)


def _write_node(out: bytearray, node: Node) -> None:
    attrs = [(name, value) for name, value in node.attrs.items() if value is not None and value != ""]
    _write_list(out, 1 + 2 * len(attrs) + (node.content is not None))
    _write_string(out, node.tag)
    for name, value in attrs:
        _write_string(out, name)
        if isinstance(value, Address):
            _write_address(out, value)
        else:
            _write_string(out, str(value))
    if isinstance(node.content, list):
        _write_list(out, len(node.content))
        for child in node.content:
            _write_node(out, child)
    elif isinstance(node.content, bytes):
        _write_bytes(out, node.content)
    elif node.content is not None:
        _write_string(out, node.content)


def _write_list(out: bytearray, size: int) -> None:
    if size == 0:
        out.append(_EMPTY)
    elif size < 256:
        out += bytes([_LIST_8, size])
    else:
        out.append(_LIST_16)
        out += size.to_bytes(2, "big")


def _write_bytes(out: bytearray, data: bytes) -> None:
    size = len(data)
    if size < 256:
        out += bytes([_BYTES_8, size])
    elif size < 1 << 20:
        out.append(_BYTES_20)
        out += size.to_bytes(3, "big")
    else:
        out.append(_BYTES_32)
        out += size.to_bytes(4, "big")
    out += data


def _write_string(out: bytearray, text: str) -> None:
    token = _TOKENS.get(text)
    if token is not None:
        out += token
    elif text and len(text) < 128 and not text.strip("0123456789-."):
        _write_packed(out, text, _NIBBLE_8, _NIBBLES)
    elif text and len(text) < 128 and not text.strip(_HEX):
        _write_packed(out, text, _HEX_8, _HEX)
    else:
        _write_bytes(out, text.encode("utf-8", "surrogateescape"))


def _write_packed(out: bytearray, text: str, tag: int, alphabet: str) -> None:
    digits = [alphabet.index(character) for character in text]
    odd = len(digits) % 2
    if odd:
        digits.append(15)
    out += bytes([tag, len(digits) // 2 | (odd << 7)])
    out += bytes(high << 4 | low for high, low in zip(digits[::2], digits[1::2], strict=True))


def _write_address(out: bytearray, address: Address) -> None:
    agent = _AGENT_OF.get(address.server)
    if agent is not None and (address.device or agent >= 128):
        out += bytes([_AD_JID, agent, address.device])
        _write_string(out, address.user)
        return
    out.append(_JID_PAIR)
    if address.user:
        _write_string(out, address.user)
    else:
        out.append(_EMPTY)
    _write_string(out, address.server)
