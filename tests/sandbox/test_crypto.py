"""The cryptography, against published vectors where there are some and against its own other side."""

from __future__ import annotations

import hashlib
import hmac
import os
import random
import struct
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sandbox.adv import Vouching
from gateway.sandbox.app_state import AppState
from gateway.sandbox.curve import KeyPair, verify
from gateway.sandbox.media import MediaError, seal, unseal
from gateway.sandbox.noise import NoiseError, NoiseResponder, NoiseState
from gateway.sandbox.protobufs import (
    ADVSignedDeviceIdentity,
    ADVSignedDeviceIdentityHMAC,
    CertChain,
    HandshakeMessage,
    SyncActionData,
    SyncdPatch,
)
from gateway.sandbox.sender_keys import SenderKeys
from gateway.sandbox.signal import SignalDevice, cbc_decrypt, hkdf, next_chain, unpad
from gateway.sandbox.signal_wire import SignalError, read_fields, write_fields
from gateway.sandbox.trust import NoiseTrust

# libsignal's own vectors: curve25519 signatures and agreements made by its Java and C implementations.
IDENTITY = bytes.fromhex("ab7e717d4a163b7d9a1d8071dfe9dcf8cdcd1cea3339b6356be84d887e322c64")
EPHEMERAL = bytes.fromhex("05edce9d9c415ca78cb7252e72c2c4a554d3eb29485a0e1d503118d1a82d99fb4a")
SIGNATURE = bytes.fromhex(
    "5de88ca9a89b4a115da79109c67c9c7464a3e4180274f1cb8c63c2984e286dfbede82deb9dcd9fae0bfbb821569b3d9001bd8130cd11d486"
    "cef047bd60b86e88"
)


def test_a_signature_made_by_libsignal_verifies() -> None:
    assert verify(IDENTITY, EPHEMERAL, SIGNATURE)
    for place in range(64):
        damaged = bytearray(SIGNATURE)
        damaged[place] ^= 1
        assert not verify(IDENTITY, EPHEMERAL, bytes(damaged))
    assert not verify(IDENTITY, EPHEMERAL + b"\x00", SIGNATURE)
    assert not verify(IDENTITY[:-1], EPHEMERAL, SIGNATURE)


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200))
def test_what_a_key_signs_verifies_under_it_alone(seed: bytes, message: bytes) -> None:
    pair = KeyPair.generate(seed)
    signature = pair.sign(message)
    assert verify(pair.public, message, signature)
    assert not verify(KeyPair.generate().public, message, signature)


def test_keys_agree_as_x25519_does() -> None:
    pair, other = KeyPair.generate(), X25519PrivateKey.generate()
    assert pair.agree(other.public_key().public_bytes_raw()) == other.exchange(X25519PublicKey.from_public_bytes(pair.public))
    with pytest.raises(ValueError):
        pair.agree(b"\x00" * 32)


def test_hkdf_is_rfc_5869() -> None:
    """Appendix A.3 (no salt, no info) and A.1, without its info."""
    assert hkdf(b"\x0b" * 22, b"", 42).hex() == (
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    )
    assert hkdf(b"\x0b" * 22, bytes(range(0xF0, 0xFA)), 42, salt=bytes(range(13))).hex() == (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    )


# the double ratchet


def _pair() -> tuple[SignalDevice, SignalDevice]:
    alice, bob = SignalDevice(), SignalDevice()
    alice.start("bob", bob.bundle())
    return alice, bob


def test_a_conversation_turns_the_ratchet_both_ways() -> None:
    alice, bob = _pair()
    for turn in range(6):
        for number in range(3):
            for sender, receiver, name, peer in ((alice, bob, "bob", "alice"), (bob, alice, "alice", "bob")):
                if sender is bob and turn == 0 and number == 0:
                    assert bob.knows("alice")
                plain = f"{turn}/{number}".encode()
                kind, data = sender.encrypt(name, plain)
                assert receiver.decrypt(peer, kind, data) == plain
    assert alice.encrypt("bob", b"")[0] == "msg"


def test_until_an_answer_every_message_can_begin_the_session() -> None:
    alice, bob = _pair()
    messages = [alice.encrypt("bob", bytes([number])) for number in range(5)]
    assert {kind for kind, _ in messages} == {"pkmsg"}
    for number in (3, 0, 4, 1, 2):
        assert bob.decrypt("alice", *messages[number]) == bytes([number])
    with pytest.raises(SignalError):
        bob.decrypt("alice", *messages[0])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_messages_arrive_in_any_order_and_each_once(seed: int) -> None:
    chance = random.Random(seed)
    alice, bob = _pair()
    bob.decrypt("alice", *alice.encrypt("bob", b"first"))
    flying: list[tuple[str, tuple[str, bytes], bytes]] = []
    for number in range(30):
        name = chance.choice(["alice", "bob"])
        sender, peer = (alice, "bob") if name == "alice" else (bob, "alice")
        flying.append((name, sender.encrypt(peer, str(number).encode()), str(number).encode()))
        while flying and chance.random() < 0.4:
            author, message, plain = flying.pop(chance.randrange(len(flying)))
            receiver = bob if author == "alice" else alice
            assert receiver.decrypt(author, *message) == plain
    for author, message, plain in flying:
        receiver = bob if author == "alice" else alice
        assert receiver.decrypt(author, *message) == plain
        with pytest.raises(SignalError):
            receiver.decrypt(author, *message)


def test_a_damaged_message_changes_nothing() -> None:
    alice, bob = _pair()
    kind, data = alice.encrypt("bob", b"whole")
    for place in range(0, len(data), 7):
        damaged = bytearray(data)
        damaged[place] ^= 0x41
        with pytest.raises(SignalError):
            bob.decrypt("alice", kind, bytes(damaged))
    assert bob.decrypt("alice", kind, data) == b"whole"


def test_both_may_begin_at_once() -> None:
    alice, bob = _pair()
    bob.start("alice", alice.bundle())
    to_bob, to_alice = alice.encrypt("bob", b"a"), bob.encrypt("alice", b"b")
    assert bob.decrypt("alice", *to_bob) == b"a"
    assert alice.decrypt("bob", *to_alice) == b"b"
    assert bob.decrypt("alice", *alice.encrypt("bob", b"c")) == b"c"
    assert alice.decrypt("bob", *bob.encrypt("alice", b"d")) == b"d"


def test_a_session_begins_without_a_one_time_prekey_and_not_with_a_forged_signed_one() -> None:
    alice, bob = SignalDevice(), SignalDevice()
    bundle = replace(bob.bundle(), one_time_id=None, one_time_key=None)
    alice.start("bob", bundle)
    assert bob.decrypt("alice", *alice.encrypt("bob", b"hi")) == b"hi"
    forged = type(bundle)(bundle.registration, KeyPair.generate().public, bundle.signed_id, bundle.signed_key, bundle.signature)
    with pytest.raises(SignalError, match="not signed"):
        alice.start("bob", forged)
    with pytest.raises(SignalError, match="no session"):
        bob.encrypt("nobody", b"")


@given(st.binary(max_size=300), st.sampled_from(["msg", "pkmsg", "skmsg", "?"]))
def test_random_bytes_are_no_message(data: bytes, kind: str) -> None:
    with pytest.raises(SignalError):
        SignalDevice.decrypt(_LISTENER, "alice", kind, data)
    with pytest.raises(SignalError):
        _READER.decrypt("g", "alice", data)


_LISTENER, _READER = SignalDevice(), SenderKeys()


def test_fields_are_protobuf() -> None:
    fields = {1: b"key", 2: 300, 3: 0, 4: b"", 15: 2**31}
    assert read_fields(write_fields(fields)) == fields
    assert write_fields({2: 300}) == bytes([0x10, 0xAC, 0x02])
    assert write_fields({1: None}) == b""
    for broken in (b"\x0a\x05abc", b"\x10", b"\x10" + b"\xff" * 12, b"\x0d\x00\x00\x00\x00"):
        with pytest.raises(SignalError):
            read_fields(broken)


@pytest.mark.parametrize("padded", [b"", b"\x00", b"ab\x03", b"a\x11"])
def test_wrong_padding_is_refused(padded: bytes) -> None:
    with pytest.raises(SignalError):
        unpad(padded)


# groups


def test_a_group_key_reads_what_comes_after_it_in_any_order() -> None:
    sender, reader, latecomer = SenderKeys(), SenderKeys(), SenderKeys()
    reader.receive_distribution("g", "alice", sender.distribution("g"))
    first, second, third = (sender.encrypt("g", text) for text in (b"1", b"2", b"3"))
    latecomer.receive_distribution("g", "alice", sender.distribution("g"))
    assert [reader.decrypt("g", "alice", message) for message in (third, first, second)] == [b"3", b"1", b"2"]
    with pytest.raises(SignalError, match="already"):
        reader.decrypt("g", "alice", second)
    with pytest.raises(SignalError, match="already"):
        latecomer.decrypt("g", "alice", third)
    with pytest.raises(SignalError, match="no sender key"):
        reader.decrypt("g", "bob", first)
    fourth = bytearray(sender.encrypt("g", b"4"))
    fourth[10] ^= 1
    with pytest.raises(SignalError):
        reader.decrypt("g", "alice", bytes(fourth))


# noise


def test_the_handshake_ends_with_both_sides_holding_the_same_keys() -> None:
    trust, client, ephemeral = NoiseTrust(), KeyPair.generate(), KeyPair.generate()
    server = NoiseResponder(trust.static, trust.certificate_chain(), b"WA\x06\x03")
    state = NoiseState(b"WA\x06\x03")
    hello = HandshakeMessage()
    hello.clientHello.ephemeral = ephemeral.public
    state.mix_hash(ephemeral.public)
    answer = HandshakeMessage.FromString(server.hello(hello.SerializeToString())).serverHello
    state.mix_hash(answer.ephemeral)
    state.mix_key(ephemeral.agree(answer.ephemeral))
    static = state.open(answer.static)
    state.mix_key(ephemeral.agree(static))
    chain = CertChain.FromString(state.open(answer.payload))
    finish = HandshakeMessage()
    finish.clientFinish.static = state.seal(client.public)
    state.mix_key(client.agree(answer.ephemeral))
    finish.clientFinish.payload = state.seal(b"who I am")

    server.finish(finish.SerializeToString())

    assert (server.client_static, server.payload, static) == (client.public, b"who I am", trust.static.public)
    up, down = state.split()
    for number in range(3):
        assert server.up.open(up.seal(bytes([number]))) == bytes([number])
        assert down.open(server.down.seal(bytes([number]))) == bytes([number])
    assert verify(trust.root.public, chain.intermediate.details, chain.intermediate.signature)
    issuer = chain.NoiseCertificate.Details.FromString(chain.intermediate.details)
    leaf = chain.NoiseCertificate.Details.FromString(chain.leaf.details)
    assert verify(issuer.key, chain.leaf.details, chain.leaf.signature)
    assert (issuer.issuerSerial, leaf.issuerSerial, leaf.key) == (0, issuer.serial, trust.static.public)


@given(st.binary(max_size=200))
def test_random_bytes_are_no_handshake(data: bytes) -> None:
    server = NoiseResponder(_TRUST.static, b"", b"WA\x06\x03")
    with pytest.raises(NoiseError):
        server.hello(data)
    with pytest.raises(NoiseError):
        server.finish(data)


_TRUST = NoiseTrust()


# what phones sign and share


def test_a_phone_vouches_for_a_companion_and_the_companion_countersigns() -> None:
    phone, companion, secret = KeyPair.generate(), KeyPair.generate(), os.urandom(32)
    vouching = Vouching.by(phone, companion.public, 4, 1_700_000_000)
    container = ADVSignedDeviceIdentityHMAC.FromString(vouching.container(secret))
    assert hmac.digest(secret, container.details, hashlib.sha256) == container.HMAC
    identity = ADVSignedDeviceIdentity.FromString(container.details)
    assert verify(phone.public, b"\x06\x00" + identity.details + companion.public, identity.accountSignature)
    identity.deviceSignature = companion.sign(b"\x06\x01" + identity.details + companion.public + phone.public)
    identity.ClearField("accountSignatureKey")
    complete = vouching.countersigned(identity.SerializeToString())
    assert complete is not None
    assert ADVSignedDeviceIdentity.FromString(complete).accountSignatureKey == phone.public
    identity.deviceSignature = companion.sign(b"something else")
    assert vouching.countersigned(identity.SerializeToString()) is None
    assert vouching.countersigned(b"\xff\xff") is None


def test_the_push_name_patch_authenticates_and_opens_with_the_shared_key() -> None:
    state = AppState()
    patch = SyncdPatch.FromString(state.push_name_patch("Ann"))
    keys = hkdf(state.key, b"WhatsApp Mutation Keys", 160)
    record = patch.mutations[0].record
    blob, mac = record.value.blob[:-32], record.value.blob[-32:]
    signed = b"\x01" + state.key_id + blob + struct.pack(">Q", 7)
    assert mac == hmac.digest(keys[64:96], signed, hashlib.sha512)[:32]
    data = SyncActionData.FromString(cbc_decrypt(keys[32:64], blob[:16], blob[16:]))
    assert data.index == b'["setting_pushName"]'
    assert data.value.pushNameSetting.name == "Ann"


@given(st.binary(max_size=3000), st.sampled_from(["audio", "image", "video", "document"]))
def test_media_opens_with_its_message_and_not_when_touched(plain: bytes, kind: str) -> None:
    sealed = seal(plain, kind)
    assert unseal(sealed.blob, sealed.key, kind, sealed.sha256) == plain
    damaged = bytearray(sealed.blob)
    damaged[len(damaged) // 2] ^= 1
    with pytest.raises(MediaError, match="MAC"):
        unseal(bytes(damaged), sealed.key, kind, sealed.sha256)
    with pytest.raises(MediaError, match="SHA-256"):
        unseal(sealed.blob, sealed.key, kind, b"\x00" * 32)


def test_chain_keys_step_apart() -> None:
    seed, following = next_chain(b"\x00" * 32)
    assert seed == hmac.digest(b"\x00" * 32, b"\x01", hashlib.sha256)
    assert following == hmac.digest(b"\x00" * 32, b"\x02", hashlib.sha256)
