"""A certificate authority for one control plane, and the identities it signs (package `cryptography`)."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LOOPBACK = "127.0.0.1"
_VALID = datetime.timedelta(days=365)
_PEM = serialization.Encoding.PEM


@dataclass(frozen=True)
class Identity:
    """The files of one certificate and its private key."""

    cert: Path
    key: Path


class Authority:
    """Signs certificates into `folder`; `ca.crt` and `ca.key` are its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.identity = Identity(folder / "ca.crt", folder / "ca.key")
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("octjob-test-ca", ())
        builder = _builder(self._name, self._name, self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        _write(self.identity, builder.sign(self._key, hashes.SHA256()), self._key)

    def sign(
        self, file: str, user: str, groups: tuple[str, ...] = (), names: tuple[str, ...] = ()
    ) -> Identity:
        """A certificate for a client (common name `user`, organisations `groups`) and for serving on loopback.

        file: path without suffix, under the authority's folder.
        names: further DNS names for serving.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        addresses = (ipaddress.ip_address(LOOPBACK), ipaddress.ip_address("10.96.0.1"))
        alternatives = [*map(x509.DNSName, ("localhost", *names)), *map(x509.IPAddress, addresses)]
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        builder = _builder(_name(user, groups), self._name, key.public_key())
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        path = self.folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        identity = Identity(path.with_suffix(".crt"), path.with_suffix(".key"))
        _write(identity, builder.sign(self._key, hashes.SHA256()), key)
        return identity


def write_signing_key(path: Path) -> None:
    """An RSA key for service account tokens."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    path.write_bytes(_private_pem(key))
    path.chmod(0o600)


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + _VALID)
    )


def _name(user: str, groups: tuple[str, ...]) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, user)])


def _write(identity: Identity, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    identity.cert.write_bytes(certificate.public_bytes(_PEM))
    identity.key.write_bytes(_private_pem(key))
    identity.key.chmod(0o600)


def _private_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    encryption = serialization.NoEncryption()
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, encryption)
