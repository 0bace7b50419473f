"""How an unmodified neonize arrives here: environment variables and a private copy of its library.

The copy differs in 32 bytes: WhatsApp's Noise root key, which occurs once, is replaced by the sandbox's. A folder with
nothing but `sitecustomize.py` goes first on PYTHONPATH; it swaps the library's path when neonize loads it. The
installed library is read, never written.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path

from .protobufs import package_directory
from .trust import NoiseTrust, TlsTrust

ROOT_KEY = bytes.fromhex("142375574d0a587166aae71ebe516437c4a28b73e3695c6ce1f7f9545da8ee6b")
"""The public key that signs the certificates of WhatsApp's servers."""

_SITECUSTOMIZE = '''\
"""Loads the sandbox's copy of neonize's library. Made by gateway.sandbox; delete it with its folder."""

import ctypes
import importlib.machinery
import importlib.util
import os
import sys

_COPY = {copy!r}
_HERE = os.path.dirname(os.path.abspath(__file__))
_load = ctypes.CDLL.__init__


def _load_copy(self, name, *args, **kwargs):
    base = os.path.basename(str(name))
    if base.startswith("neonize-") and base.endswith({suffix!r}):
        name = _COPY
    return _load(self, name, *args, **kwargs)


ctypes.CDLL.__init__ = _load_copy

_rest = [place for place in sys.path if os.path.abspath(place or ".") != _HERE]
_shadowed = importlib.machinery.PathFinder.find_spec("sitecustomize", _rest)
if _shadowed is not None and _shadowed.loader is not None:
    _shadowed.loader.exec_module(importlib.util.module_from_spec(_shadowed))
'''


class RedirectError(Exception):
    """The installed neonize cannot be redirected (another version, another machine)."""


def redirect(directory: Path, tls: TlsTrust, noise: NoiseTrust, proxy_url: str) -> dict[str, str]:
    """Write the copy and the site folder into `directory`; the environment a child process needs, complete values.

    PYTHONPATH keeps what this process has. Raises RedirectError.
    """
    library = _library()
    content = library.read_bytes()
    if content.count(ROOT_KEY) != 1:
        raise RedirectError(f"{library} holds the Noise root key {content.count(ROOT_KEY)} times, not once")
    patched = content.replace(ROOT_KEY, noise.root.public)
    digest = hashlib.sha256(noise.root.public + hashlib.sha256(content).digest()).hexdigest()[:16]
    copy = directory / f"sandbox-{digest}-{library.name}"
    copy.write_bytes(patched)
    shutil.copymode(library, copy)
    site = directory / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(_SITECUSTOMIZE.format(copy=str(copy), suffix=library.suffix))
    inherited = os.environ.get("PYTHONPATH")
    loopback = "127.0.0.1,localhost,::1"
    return {
        "HTTPS_PROXY": proxy_url,
        "https_proxy": proxy_url,
        "NO_PROXY": loopback,
        "no_proxy": loopback,
        "SSL_CERT_FILE": str(tls.bundle),
        "PYTHONPATH": os.pathsep.join([str(site), *([inherited] if inherited else [])]),
    }


def _library() -> Path:
    suffix = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")
    found = sorted(package_directory().glob(f"neonize-*{suffix}"))
    if len(found) != 1:
        raise RedirectError(f"expected one library in {package_directory()}, found {[path.name for path in found]}")
    return found[0]
