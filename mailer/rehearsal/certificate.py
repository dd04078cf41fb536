"""Certificates of the rehearsal server: made at each start, trusted by nobody else, good for this machine's own name only."""

import datetime as dt
import ipaddress
import os
import ssl
import tempfile
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

#: How long a certificate of ours is good; a server process is not meant to run longer.
LIFETIME = dt.timedelta(days=30)


class Flaw(StrEnum):
    """What can be wrong with the certificate that a fault shows."""

    OTHER_NAME = "other-name"  #: by our authority, but for another host
    UNKNOWN_CA = "unknown-ca"  #: right name, by an authority that nobody knows
    EXPIRED = "expired"  #: right name, our authority, out of date


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority that lives as long as this object."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def make(cls, name: str = "Chancery rehearsal") -> "Authority":
        """Make a new one."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = dt.datetime.now(dt.UTC)
        certificate = (
            _builder(subject, subject, key.public_key(), now)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)

    @property
    def pem(self) -> bytes:
        """The certificate alone, as clients want it; the key never leaves the process by this road."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def context(self, flaw: Flaw | None = None) -> ssl.SSLContext:
        """A server's TLS context with a fresh leaf for localhost, 127.0.0.1 and ::1, or with a flawed one."""
        issuer = Authority.make("Nobody") if flaw is Flaw.UNKNOWN_CA else self
        key = ec.generate_private_key(ec.SECP256R1())
        now = dt.datetime.now(dt.UTC)
        made = now - 2 * LIFETIME if flaw is Flaw.EXPIRED else now
        names: list[x509.GeneralName] = [x509.DNSName("another-host.test")]
        if flaw is not Flaw.OTHER_NAME:
            names = [
                x509.DNSName("localhost"),
                x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
                x509.IPAddress(ipaddress.ip_address("::1")),
            ]
        leaf = (
            _builder(
                x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "rehearsal")]),
                issuer.certificate.subject,
                key.public_key(),
                made,
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), critical=False)
            .sign(issuer.key, hashes.SHA256())
        )
        return _context(leaf, key)


def write_public(path: Path, pem: bytes) -> None:
    """Write a certificate so that a reader never sees half of it."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_bytes(pem)
    unfinished.replace(path)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, made: dt.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(made - dt.timedelta(days=1))
        .not_valid_after(made + LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _context(leaf: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> ssl.SSLContext:
    """`ssl` reads keys from files only, so the key is on disk (0600, in a folder of 0700) for as long as that takes."""
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with tempfile.TemporaryDirectory(prefix="chancery-") as folder:
        path = Path(folder, "leaf.pem")
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secret + leaf.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(path)
    return context
