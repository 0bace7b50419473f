"""App state: settings a phone shares with its companions as encrypted, authenticated patches.

Without the push name of the first patch a client cannot say that it is available. The phone sends each new companion
the key; the companion then asks for all collections. Patches that companions upload are kept and handed on.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import struct
import time
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from .iq import result
from .node import SERVER, Attribute, Node
from .people import LinkedDevice, Person
from .protobufs import Message, ProtocolMessage, SyncActionData, SyncdMutation, SyncdPatch
from .signal import cbc_encrypt, hkdf
from .stamps import now, stanza_id
from .world import World

_PUSH_NAME_COLLECTION = "critical_block"


@dataclass
class AppState:
    """One account's key and its patches by collection; a collection's version is how many it has."""

    key_id: bytes = field(default_factory=lambda: b"\x00\x01" + os.urandom(4))
    key: bytes = field(default_factory=lambda: os.urandom(32))
    patches: dict[str, list[bytes]] = field(default_factory=dict)

    @classmethod
    def of(cls, person: Person) -> AppState:
        """A new account's state: nothing but its push name."""
        state = cls()
        state.patches[_PUSH_NAME_COLLECTION] = [state.push_name_patch(person.name)]
        return state

    def push_name_patch(self, name: str) -> bytes:
        """The serialized first patch of `critical_block`."""
        keys = hkdf(self.key, b"WhatsApp Mutation Keys", 160)
        index_key, value_key, value_mac_key, snapshot_key, patch_key = (keys[at : at + 32] for at in range(0, 160, 32))
        index = json.dumps(["setting_pushName"], separators=(",", ":")).encode()
        data = SyncActionData(index=index, padding=b"", version=1)
        data.value.timestamp = int(time.time() * 1000)
        data.value.pushNameSetting.name = name
        iv = os.urandom(16)
        blob = iv + cbc_encrypt(value_key, iv, data.SerializeToString())
        associated = b"\x01" + self.key_id
        value_mac = hmac.digest(value_mac_key, associated + blob + struct.pack(">Q", len(associated)), hashlib.sha512)[:32]
        patch, mutation = SyncdPatch(), SyncdMutation()
        mutation.operation = SyncdMutation.SET
        mutation.record.index.blob = hmac.digest(index_key, index, hashlib.sha256)
        mutation.record.value.blob = blob + value_mac
        mutation.record.keyID.ID = self.key_id
        patch.mutations.append(mutation)
        patch.version.version = 1
        name_bytes, version = _PUSH_NAME_COLLECTION.encode(), struct.pack(">Q", 1)
        patch.snapshotMAC = hmac.digest(snapshot_key, _lt_hash(value_mac) + version + name_bytes, hashlib.sha256)
        patch.patchMAC = hmac.digest(patch_key, patch.snapshotMAC + value_mac + version + name_bytes, hashlib.sha256)
        patch.keyID.ID = self.key_id
        return bytes(patch.SerializeToString())


def _lt_hash(value_mac: bytes) -> bytes:
    """The summation hash of a collection with one value: 64 little-endian words, starting from zero."""
    return hkdf(value_mac, b"WhatsApp Patch Integrity", 128)


def share_key(world: World, device: LinkedDevice) -> None:
    """A companion's first connection: its phone sends it the app-state key, once."""
    if device.key_shared:
        return
    device.key_shared = True
    state = _state(world, device.owner)
    message = Message()
    message.protocolMessage.type = ProtocolMessage.APP_STATE_SYNC_KEY_SHARE
    key = message.protocolMessage.appStateSyncKeyShare.keys.add()
    key.keyID.keyID = state.key_id
    key.keyData.keyData = state.key
    key.keyData.fingerprint.rawID = 1
    key.keyData.timestamp = int(time.time() * 1000)
    world.incoming.write_to_companion(device, message)


def _state(world: World, person: Person) -> AppState:
    if person.number not in world.app_states:
        world.app_states[person.number] = AppState.of(person)
    return world.app_states[person.number]


def synchronize(world: World, device: LinkedDevice, request: Node) -> Node:
    """Reads and writes are the same question: a collection, the version the client has, perhaps a patch."""
    state = _state(world, device.owner)
    asked = request.child("sync")
    answers = []
    for collection in asked.all("collection") if asked is not None else []:
        name, have = collection.text("name"), int(collection.text("version") or "0")
        patches = state.patches.setdefault(name, [])
        uploaded = collection.child("patch")
        attrs: dict[str, Attribute] = {"name": name}
        if uploaded is not None:
            if have == len(patches) and _append(patches, uploaded.data):
                _notify(device, name, len(patches))
            else:
                attrs["type"] = "error"
                error = Node("error", {"code": 409, "text": "conflict"})
                answers.append(Node("collection", {**attrs, "version": len(patches)}, [error]))
                continue
        newer = [Node("patch", {}, patch) for patch in patches[have:]] if uploaded is None else []
        attrs["version"] = len(patches)
        answers.append(Node("collection", attrs, [Node("patches", {}, newer)] if newer else None))
    return result(request, Node("sync", {}, answers))


def _append(patches: list[bytes], data: bytes) -> bool:
    """Keep an uploaded patch under the version it gets, False when it is none."""
    try:
        patch = SyncdPatch.FromString(data)
    except DecodeError:
        return False
    patch.version.version = len(patches) + 1
    patches.append(bytes(patch.SerializeToString()))
    return True


def _notify(author: LinkedDevice, name: str, version: int) -> None:
    """The other companions learn that there is something new."""
    for device in author.owner.active_devices:
        if device is not author:
            stanza_key = stanza_id()
            attrs: dict[str, Attribute] = {"from": SERVER, "type": "server_sync", "id": stanza_key, "t": now()}
            collection = Node("collection", {"name": name, "version": version})
            device.deliver(("notification", stanza_key), Node("notification", attrs, [collection]))
