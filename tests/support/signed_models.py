"""Signed models for tests: keys and a small PKI made here, signatures made by the real `model-signing`."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.support.validation import PYTHON

_SIGN = """
import sys
import model_signing
from model_signing import hashing, signing
model, signature, key, algorithm, method, certificate, *chain = sys.argv[1:]
config = signing.Config()
if certificate:
    config.use_certificate_signer(private_key=key, signing_certificate=certificate, certificate_chain=chain)
else:
    config.use_elliptic_key_signer(private_key=key)
hashed = hashing.Config().set_ignored_paths(paths=[signature], ignore_git_paths=True)
if method == "shards":
    hashed.use_shard_serialization(hashing_algorithm=algorithm, shard_size=4)
else:
    hashed.use_file_serialization(hashing_algorithm=algorithm)
config.set_hashing_config(hashed).sign(model, signature)
"""


@dataclass(frozen=True)
class Keys:
    """A key pair as PEM texts, and as the file that a signer reads."""

    public: str
    private_file: Path


def make_keys(folder: Path, name: str = "signer") -> Keys:
    """A new P-256 key pair."""
    return _store(ec.generate_private_key(ec.SECP256R1()), folder, name)


def sign(
    model: Path,
    keys: Keys,
    *,
    algorithm: str = "sha256",
    method: str = "files",
    certificate: Path | None = None,
    chain: tuple[Path, ...] = (),
) -> None:
    """Write `model.sig` into a model's folder, as the library does it by default."""
    arguments = [str(model), str(model / "model.sig"), str(keys.private_file), algorithm, method]
    paths = [str(certificate or ""), *map(str, chain)]
    subprocess.run([str(PYTHON), "-I", "-c", _SIGN, *arguments, *paths], check=True, timeout=120)


@dataclass(frozen=True)
class Pki:
    """A root, the certificate of one signer below it, and that signer's key."""

    root: str
    certificate_file: Path
    chain: tuple[Path, ...]
    """Certificates between the signer's and the root."""
    keys: Keys


def make_pki(
    folder: Path,
    *,
    identity: str = "models@example.org",
    issuer: str = "Model CA",
    between: x509.BasicConstraints | None = None,
) -> Pki:
    """A root that issues one signing certificate; `between`: over one more certificate of that kind."""
    root_key, leaf_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer_key, issuer_name, root_name = root_key, _name(issuer), _name(issuer if between is None else "Root")
    root = _certificate(root_name, root_name, root_key, root_key, [(x509.BasicConstraints(True, 1), True)])
    chain: tuple[Path, ...] = ()
    if between is not None:
        issuer_key = ec.generate_private_key(ec.SECP256R1())
        middle = _certificate(issuer_name, root_name, issuer_key, root_key, [(between, True)])
        chain = (_write(folder / "between.pem", middle),)
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(False, None), True),
        (x509.SubjectAlternativeName([x509.RFC822Name(identity)]), False),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False),
    ]
    leaf = _certificate(_name("signer"), issuer_name, leaf_key, issuer_key, extensions)
    root_file = _write(folder / "root.pem", root)
    return Pki(root_file.read_text(), _write(folder / "leaf.pem", leaf), chain, _store(leaf_key, folder, "leaf"))


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _write(path: Path, certificate: x509.Certificate) -> Path:
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return path


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    extensions: list[tuple[x509.ExtensionType, bool]],
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(issuer_key, hashes.SHA256())


def _store(key: ec.EllipticCurvePrivateKey, folder: Path, name: str) -> Keys:
    private_file = folder / f"{name}.key.pem"
    private_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return Keys(key.public_key().public_bytes(serialization.Encoding.PEM, form).decode(), private_file)
