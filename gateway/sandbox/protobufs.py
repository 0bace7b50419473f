"""WhatsApp's protobuf messages, taken from neonize without starting its Go runtime.

Importing `neonize` loads an 18 MB shared library and starts a Go runtime. The generated modules under
`neonize.proto` need neither, so they are imported under an empty stand-in for the package, which is taken away
again: a later `import neonize` in the same process gets the real one.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any


def package_directory() -> Path:
    """Where neonize is installed. Raises ModuleNotFoundError when it is not."""
    spec = importlib.util.find_spec("neonize")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("the sandbox needs neonize installed: it speaks neonize's protobufs", name="neonize")
    return Path(spec.origin).parent


def _load(*names: str) -> list[Any]:
    if "neonize" in sys.modules:
        return [importlib.import_module(f"neonize.proto.{name}") for name in names]
    before = set(sys.modules)
    stand_in = ModuleType("neonize")
    stand_in.__path__ = [str(package_directory())]
    sys.modules["neonize"] = stand_in
    try:
        return [importlib.import_module(f"neonize.proto.{name}") for name in names]
    finally:
        for name in set(sys.modules) - before:
            if name == "neonize" or name.startswith("neonize."):
                del sys.modules[name]


_wa6, _cert, _adv, _e2e, _server_sync, _sync_action = _load(
    "waWa6.WAWebProtobufsWa6_pb2",
    "waCert.WACert_pb2",
    "waAdv.WAAdv_pb2",
    "waE2E.WAWebProtobufsE2E_pb2",
    "waServerSync.WAWebProtobufsServerSync_pb2",
    "waSyncAction.WAWebProtobufSyncAction_pb2",
)

HandshakeMessage: Any = _wa6.HandshakeMessage
ClientPayload: Any = _wa6.ClientPayload
CertChain: Any = _cert.CertChain
ADVDeviceIdentity: Any = _adv.ADVDeviceIdentity
ADVSignedDeviceIdentity: Any = _adv.ADVSignedDeviceIdentity
ADVSignedDeviceIdentityHMAC: Any = _adv.ADVSignedDeviceIdentityHMAC
Message: Any = _e2e.Message
ProtocolMessage: Any = _e2e.ProtocolMessage
SyncdPatch: Any = _server_sync.SyncdPatch
SyncdMutation: Any = _server_sync.SyncdMutation
SyncActionData: Any = _sync_action.SyncActionData
