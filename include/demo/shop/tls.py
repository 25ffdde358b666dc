"""Throw-away certificates: a server's, its clients', and those that must be refused.

Nothing here is for more than a day or a test: every key is made anew below the folder that the
caller names, and nothing is read from the repository.
"""

from __future__ import annotations

import datetime
import secrets
import ssl
from dataclasses import dataclass, field
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HOSTS = ("127.0.0.1", "localhost", "::1")
_DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Leaf:
    """A certificate and its key, each a PEM file; the key has a passphrase unless it is None."""

    certificate: Path
    key: Path
    passphrase: str | None = field(default=None, repr=False)

    @property
    def x509(self) -> x509.Certificate:
        """The certificate itself, without those of its issuers."""
        return x509.load_pem_x509_certificate(self.certificate.read_bytes())

    @property
    def subject(self) -> str:
        """The subject's distinguished name as RFC 4514 writes it."""
        return self.x509.subject.rfc4514_string()


@dataclass(frozen=True)
class Certificates:
    """All files below one folder.

    ``authority`` signed ``server``, ``client``, ``other_client`` (another subject),
    ``client_with_passphrase`` (subject and certificate of ``client``) and ``expired_client``.
    ``self_signed_client`` has no authority; ``unknown_authority`` signed ``unknown_client`` and
    ``unknown_server``; ``wrong_host_server`` is good for another host's name only.
    """

    folder: Path
    authority: Path
    unknown_authority: Path
    server: Leaf
    wrong_host_server: Leaf
    unknown_server: Leaf
    client: Leaf
    client_with_passphrase: Leaf
    other_client: Leaf
    expired_client: Leaf
    unknown_client: Leaf
    self_signed_client: Leaf

    @property
    def authority_x509(self) -> x509.Certificate:
        """The authority's own certificate."""
        return x509.load_pem_x509_certificate(self.authority.read_bytes())

    def server_context(self, leaf: Leaf | None = None) -> ssl.SSLContext:
        """For a server that takes client certificates without asking for one (TLS 1.2 and later).

        A certificate that is shown must be good: of the authority, or the self-signed one. Whether
        one is needed is for each request to say, so one port serves both kinds of clients.
        """
        leaf = leaf or self.server
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(leaf.certificate, leaf.key, leaf.passphrase)
        context.load_verify_locations(self.authority)
        context.load_verify_locations(self.self_signed_client.certificate)
        context.verify_mode = ssl.CERT_OPTIONAL
        return context


def make_certificates(folder: Path, *names: str) -> Certificates:
    """Write an authority and what it signs into ``folder``, keys with mode 600; some 20 ms.

    ``names`` are what the server is called besides ``HOSTS``.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    ours, theirs = trustme.CA(), trustme.CA(organization_name="Nobody knows")
    client = _issue(ours, folder / "client", common_name="shop-client")
    return Certificates(
        folder=folder,
        authority=_authority(ours, folder / "authority.pem"),
        unknown_authority=_authority(theirs, folder / "unknown-authority.pem"),
        server=_issue(ours, folder / "server", *HOSTS, *names),
        wrong_host_server=_issue(ours, folder / "wrong-host-server", "elsewhere.example"),
        unknown_server=_issue(theirs, folder / "unknown-server", *HOSTS),
        client=client,
        client_with_passphrase=_encrypted(client, folder / "client-with-passphrase"),
        other_client=_issue(ours, folder / "other-client", common_name="other-client"),
        expired_client=_issue(ours, folder / "expired-client", common_name="shop-client", old=True),
        unknown_client=_issue(theirs, folder / "unknown-client", common_name="shop-client"),
        self_signed_client=_self_signed(folder / "self-signed-client"),
    )


def _authority(authority: trustme.CA, path: Path) -> Path:
    authority.cert_pem.write_to_path(str(path))
    return path


def _issue(
    authority: trustme.CA,
    stem: Path,
    *hosts: str,
    common_name: str | None = None,
    old: bool = False,
) -> Leaf:
    today = datetime.datetime.now(datetime.UTC)
    made = authority.issue_cert(
        *(hosts or (f"{common_name}@shop.example",)),
        common_name=common_name,
        organization_name="Demo shop",
        not_before=today - 30 * _DAY if old else None,
        not_after=today - _DAY if old else None,
    )
    chain = b"".join(blob.bytes() for blob in made.cert_chain_pems)
    return _write(stem, chain, made.private_key_pem.bytes())


def _write(stem: Path, chain: bytes, key: bytes, passphrase: str | None = None) -> Leaf:
    leaf = Leaf(stem.with_suffix(".pem"), stem.with_suffix(".key"), passphrase)
    leaf.certificate.write_bytes(chain)
    leaf.key.touch(mode=0o600)
    leaf.key.write_bytes(key)
    return leaf


def _encrypted(plain: Leaf, stem: Path) -> Leaf:
    """The same certificate, its key under a passphrase that is made here."""
    passphrase = secrets.token_urlsafe(18)
    key = serialization.load_pem_private_key(plain.key.read_bytes(), None)
    text = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase.encode()),
    )
    return _write(stem, plain.certificate.read_bytes(), text, passphrase)


def _self_signed(stem: Path) -> Leaf:
    """A certificate that only its thumbprint speaks for (RFC 8705 section 2.2)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "self-signed-client")])
    today = datetime.datetime.now(datetime.UTC)
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - _DAY)
        .not_valid_after(today + 30 * _DAY)
        .add_extension(usage, critical=False)
        .sign(key, hashes.SHA256())
    )
    text = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return _write(stem, certificate.public_bytes(serialization.Encoding.PEM), text)
