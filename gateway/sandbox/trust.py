"""The sandbox's throw-away trust: a TLS certificate authority and the Noise root, both made at start.

TLS: a CA and one leaf for WhatsApp's names. The client gets a bundle of the system's roots plus this CA.
Noise: the root key that a private copy of the library trusts instead of WhatsApp's, and the two-link chain it signed.
"""

from __future__ import annotations

import datetime
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .curve import KeyPair
from .protobufs import CertChain

HOSTS = ("web.whatsapp.com", "*.whatsapp.com", "*.whatsapp.net", "*.cdn.whatsapp.net", "localhost")
_DAYS = 30


@dataclass(frozen=True, slots=True)
class TlsTrust:
    """The server's TLS context and the bundle a client has to trust (a PEM file)."""

    context: ssl.SSLContext
    bundle: Path

    @classmethod
    def create(cls, directory: Path) -> TlsTrust:
        """Write `ca.pem`, `bundle.pem` and the leaf into `directory` (which must exist)."""
        ca_key, leaf_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "wagateway sandbox, not a real authority")])
        leaf_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOSTS[0])])
        start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)

        def certificate(subject: x509.Name, key: ec.EllipticCurvePublicKey, *, is_ca: bool) -> x509.Certificate:
            builder = (
                x509.CertificateBuilder()
                .subject_name(subject)
                .issuer_name(ca_name)
                .public_key(key)
                .serial_number(x509.random_serial_number())
                .not_valid_before(start)
                .not_valid_after(start + datetime.timedelta(days=_DAYS))
                .add_extension(x509.BasicConstraints(ca=is_ca, path_length=0 if is_ca else None), critical=True)
            )
            if not is_ca:
                names = x509.SubjectAlternativeName([x509.DNSName(host) for host in HOSTS])
                usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
                builder = builder.add_extension(names, critical=False).add_extension(usage, critical=False)
            return builder.sign(ca_key, hashes.SHA256())

        ca = certificate(ca_name, ca_key.public_key(), is_ca=True)
        leaf = certificate(leaf_name, leaf_key.public_key(), is_ca=False)
        ca_pem = ca.public_bytes(serialization.Encoding.PEM)
        (directory / "ca.pem").write_bytes(ca_pem)
        bundle = directory / "bundle.pem"
        bundle.write_bytes(_system_roots() + ca_pem)
        leaf_file = directory / "leaf.pem"
        leaf_file.touch(mode=0o600)
        leaf_file.write_bytes(
            leaf_key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
            + leaf.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(leaf_file)
        context.set_alpn_protocols(["http/1.1"])  # h2 would be spoken to a server that has only HTTP/1.1
        return cls(context, bundle)


def _system_roots() -> bytes:
    """The machine's own CA bundle, b"" when it has none: SSL_CERT_FILE replaces the system's roots."""
    place = ssl.get_default_verify_paths().cafile
    for candidate in (place, "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"):
        if candidate and Path(candidate).is_file():
            return Path(candidate).read_bytes().rstrip(b"\n") + b"\n"
    return b""


@dataclass(frozen=True, slots=True)
class NoiseTrust:
    """The server's static Noise key and its certificate chain under `root`."""

    root: KeyPair = field(default_factory=KeyPair.generate)
    static: KeyPair = field(default_factory=KeyPair.generate)

    def certificate_chain(self) -> bytes:
        """A serialized CertChain for `static`: the root is issuer 0 and both validity limits are checked."""
        intermediate_key = KeyPair.generate()
        before, after = int(time.time()) - 3600, int(time.time()) + _DAYS * 86400
        chain = CertChain()
        details = chain.NoiseCertificate.Details
        chain.intermediate.details = details(
            serial=7, issuerSerial=0, key=intermediate_key.public, notBefore=before, notAfter=after
        ).SerializeToString()
        chain.intermediate.signature = self.root.sign(chain.intermediate.details)
        chain.leaf.details = details(
            serial=8, issuerSerial=7, key=self.static.public, notBefore=before, notAfter=after
        ).SerializeToString()
        chain.leaf.signature = intermediate_key.sign(chain.leaf.details)
        return bytes(chain.SerializeToString())
