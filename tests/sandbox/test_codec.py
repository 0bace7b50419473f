"""Nodes to bytes and back, and bytes that are no node."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sandbox.codec import CodecError, decode, encode
from gateway.sandbox.node import LID, SERVER, USER, Address, Node

digits = st.text("0123456789", min_size=1, max_size=20)
addresses = st.builds(Address, digits, st.sampled_from([USER, LID]), st.integers(0, 255)) | st.builds(
    Address, digits, st.sampled_from(["g.us", "newsletter", "c.us"]), st.just(0)
)
words = st.sampled_from(["message", "receipt", "type", "s.whatsapp.net", "3EB0ABCDEF", "15550001111", "-1.5", "ß", "0"])
texts = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=300) | words | digits
attributes = st.dictionaries(texts, texts | addresses, max_size=5)
nodes = st.recursive(
    st.builds(Node, texts, attributes, st.none() | st.binary(max_size=2000)),
    lambda children: st.builds(Node, texts, attributes, st.lists(children, min_size=1, max_size=4)),
    max_leaves=12,
)


@settings(max_examples=60)
@given(nodes)
def test_a_node_comes_back_as_it_was(node: Node) -> None:
    assert decode(encode(node)) == node


@settings(max_examples=60)
@given(nodes)
def test_a_compressed_frame_is_the_same_node(node: Node) -> None:
    assert decode(b"\x02" + zlib.compress(encode(node)[1:])) == node


@settings(max_examples=500)
@given(st.binary(max_size=400))
def test_random_bytes_are_a_node_or_a_clean_error(data: bytes) -> None:
    try:
        node = decode(data)
    except CodecError:
        return
    assert node.tag


@given(nodes, st.data())
def test_a_damaged_frame_is_a_node_or_a_clean_error(node: Node, data: st.DataObject) -> None:
    frame = bytearray(encode(node))
    place = data.draw(st.integers(0, len(frame) - 1))
    frame[place] ^= data.draw(st.integers(1, 255))
    try:
        decode(bytes(frame))
    except CodecError:
        pass


def test_known_frames() -> None:
    ping = Node("iq", {"from": SERVER, "type": "result", "id": "1234"})
    # list of 7: iq, from, JID pair of nothing and token 3, type, result, id, nibbles 1234
    assert encode(ping) == bytes([0, 248, 7, 25, 6, 250, 0, 3, 4, 20, 8, 255, 2, 0x12, 0x34])
    assert decode(encode(ping)).attrs["from"] == SERVER
    companion = Node("to", {"jid": Address("15550001111", USER, 3)})
    assert encode(companion) == bytes([0, 248, 3, 17, 12, 247, 0, 3, 255, 0x86, 0x15, 0x55, 0, 0x01, 0x11, 0x1F])


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x00",
        b"\x00" + b"\xf8\x02\x13" * 200,
        b"\x02not zlib",
        b"\x02" + zlib.compress(b"\x00" * (20 * 1024 * 1024)),
        encode(Node("iq")) + b"\x00",
    ],
    ids=["nothing", "only a flag", "nested", "not zlib", "a zlib bomb", "bytes after it"],
)
def test_what_is_no_node_is_refused(frame: bytes) -> None:
    with pytest.raises(CodecError):
        decode(frame)


def test_absent_attributes_are_left_out_and_empty_lists_are_nothing() -> None:
    assert decode(encode(Node("iq", {"id": None, "to": "", "t": 5}, []))) == Node("iq", {"t": "5"})


def test_addresses_are_read_and_written() -> None:
    assert str(Address.parse("15550001111:7@s.whatsapp.net")) == "15550001111:7@s.whatsapp.net"
    assert Address.parse("+15550001111") == Address("15550001111", USER)
    assert Address("1", LID, 9).bare == Address("1", LID)
    for wrong in ("", "@lid", "1:x@lid", "1@"):
        with pytest.raises(ValueError, match="not a WhatsApp address"):
            Address.parse(wrong)
