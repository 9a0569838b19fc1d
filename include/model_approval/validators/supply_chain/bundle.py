"""A model signature (sigstore bundle v0.3 around a DSSE envelope), verified by `model-signing`, offline.

The bundle is the sender's: until a key or chain of the policy has verified it, nothing in it is believed. Slow to
import (`model-signing` brings sigstore), so only loaded for an artifact that holds a signature.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_approval.domain.errors import EvidenceError
from model_approval.domain.scan_parameters import CertificateSigner, SignatureRules
from model_approval.validators.contract import plain_line

if TYPE_CHECKING:
    from cryptography import x509
    from model_signing import manifest
    from model_signing._signing.sign_sigstore_pb import Signature

MAX_BUNDLE_BYTES = 32 * 1024**2
"""100,000 files take 20 MiB."""
_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"


class UnknownSignerError(Exception):
    """None of those whom the policy names has made this signature."""


class InvalidSignatureError(Exception):
    """The bundle is malformed, or it is not what its signer signed."""


@dataclass(frozen=True)
class Signed:
    """What a verified bundle says."""

    signer: str
    """In words: the key's fingerprint, or identity and issuer of the certificate."""
    files: Mapping[str, str]
    """Path -> SHA-256 in hexadecimal, when it was signed so; else path -> the empty string."""
    is_plain: bool
    """Whether `files` holds digests that our own manifest can be compared with."""


def verify_bundle(bundle: Path, root: Path, rules: SignatureRules, scratch: Path) -> Signed:
    """Verify a signature against whom the policy names.

    Args:
        bundle: The file `model.sig`.
        root: The artifact's folder; read again only when it was signed with another digest than SHA-256 of files.
        rules: Keys, roots and signers.
        scratch: Where the library may find keys as files.

    Raises:
        UnknownSignerError: The signature is by somebody else.
        InvalidSignatureError: It is malformed, or changed after signing.
        EvidenceError: A key or root of the policy is none.
    """
    _require_shape(bundle)
    parsed = _parsed(bundle)
    # From here on only the library's own reading counts: judging one reading and verifying another would be a way in.
    material = parsed.bundle.verification_material
    if material.certificate is not None:
        raise UnknownSignerError("it was made with a one-time certificate, and the policy names keys or roots of a PKI")
    if material.public_key is not None and material.x509_certificate_chain is None:
        verifier, signer = _key_verifier(parsed, rules, scratch)
    elif material.x509_certificate_chain is not None and material.public_key is None:
        verifier, signer = _certificate_verifier(material.x509_certificate_chain, rules, scratch)
    else:
        raise InvalidSignatureError("it must hold exactly one kind of proof")
    return _signed(_verified(parsed, verifier), signer, bundle, root, verifier)


def _require_shape(bundle: Path) -> None:
    """Refuse what is not the one shape that we accept, with one signature in it."""
    with bundle.open("rb") as stream:
        data = stream.read(MAX_BUNDLE_BYTES + 1)
    if len(data) > MAX_BUNDLE_BYTES:
        raise InvalidSignatureError(f"the bundle is larger than {MAX_BUNDLE_BYTES} bytes")
    try:
        document = json.loads(data)
        media_type, signatures = document["mediaType"], document["dsseEnvelope"]["signatures"]
    except (ValueError, LookupError, TypeError, RecursionError) as err:
        raise InvalidSignatureError(f"it is not a signature bundle: {type(err).__name__}: {err}") from err
    if media_type != _MEDIA_TYPE:
        raise InvalidSignatureError(f"it is {media_type!r}, not a bundle {_MEDIA_TYPE!r}")
    if not isinstance(signatures, list) or len(signatures) != 1:
        raise InvalidSignatureError("it must hold exactly one signature")


def _parsed(bundle: Path) -> Signature:
    from model_signing._signing.sign_sigstore_pb import Signature

    try:
        found: Signature = Signature.read(bundle)
        if len(found.bundle.dsse_envelope.signatures) != 1:
            raise InvalidSignatureError("it must hold exactly one signature")
        return found
    # What a hostile bundle makes of its parser.
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as err:
        raise InvalidSignatureError(f"it is not a signature bundle: {plain_line(str(err), limit=300)}") from err


def _key_verifier(parsed: Signature, rules: SignatureRules, scratch: Path) -> tuple[Any, str]:
    from model_signing._signing.sign_ec_key import Verifier

    hint = parsed.bundle.verification_material.public_key.hint
    for path, fingerprint, pem_digest in _keys(rules, scratch):
        verifier = Verifier(path)
        if hint == pem_digest or (not hint and _accepts(parsed, verifier)):
            return verifier, f"key sha256:{fingerprint}"
    raise UnknownSignerError("none of the policy's keys has made it")


def _keys(rules: SignatureRules, scratch: Path) -> Iterator[tuple[Path, str, str]]:
    """Each key as a file, its fingerprint as `openssl` shows it, and its digest as bundles name it."""
    from cryptography.hazmat.primitives import serialization

    for number, pem in enumerate(rules.keys):
        try:
            key = serialization.load_pem_public_key(pem.encode())
        except ValueError as err:
            raise EvidenceError(f"parameter signature.keys.{number}: no public key: {err}") from err
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        der = key.public_bytes(serialization.Encoding.DER, form)
        path = scratch / f"signer-{number}.pem"
        path.write_bytes(key.public_bytes(serialization.Encoding.PEM, form))
        yield path, hashlib.sha256(der).hexdigest(), hashlib.sha256(path.read_bytes()).hexdigest()


def _accepts(parsed: Signature, verifier: Any) -> bool:  # noqa: ANN401  # the library's verifiers have no common type
    try:
        _verified(parsed, verifier)
    except InvalidSignatureError:
        return False
    return True


def _certificate_verifier(chain: Any, rules: SignatureRules, scratch: Path) -> tuple[Any, str]:  # noqa: ANN401
    """A verifier of the chain, for a leaf whose identity and issuer the policy names."""
    from cryptography import x509
    from model_signing._signing.sign_certificate import Verifier

    if not rules.roots:
        raise UnknownSignerError("it was made with a certificate, and the policy names keys alone")
    try:
        leaf = x509.load_der_x509_certificate(chain.certificates[0].raw_bytes)
        signer = _named_signer(leaf, rules)
    except (LookupError, TypeError, ValueError) as err:
        raise InvalidSignatureError(f"its certificate cannot be read: {err}") from err
    paths = []
    for number, pem in enumerate(rules.roots):
        paths.append(scratch / f"root-{number}.pem")
        paths[-1].write_text(pem, encoding="ascii")
    try:
        return Verifier(paths), signer
    except ValueError as err:
        raise EvidenceError(f"parameter signature.roots: no certificates: {err}") from err


def _named_signer(leaf: x509.Certificate, rules: SignatureRules) -> str:
    from cryptography import x509

    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        identities: set[str] = set()
    else:
        kinds = (x509.RFC822Name, x509.UniformResourceIdentifier, x509.DNSName)
        identities = {str(value) for kind in kinds for value in names.get_values_for_type(kind)}
    issuers = {str(part.value) for part in leaf.issuer.get_attributes_for_oid(x509.NameOID.COMMON_NAME)}
    for identity in sorted(identities):
        for issuer in issuers:
            if CertificateSigner(identity=identity, issuer=issuer) in rules.signers:
                return f"{identity}, issued by {issuer}"
    who = ", ".join(sorted(identities)) or "a certificate that names nobody"
    raise UnknownSignerError(f"it was made by {who}, issued by {', '.join(issuers) or 'nobody'}, whom it does not name")


def _verified(parsed: Signature, verifier: Any) -> manifest.Manifest:  # noqa: ANN401  # as above
    from cryptography.exceptions import InvalidSignature
    from OpenSSL.crypto import Error as OpenSslError
    from OpenSSL.crypto import X509StoreContextError

    try:
        found: manifest.Manifest = verifier.verify(parsed)
        return found
    except X509StoreContextError as err:
        raise UnknownSignerError(f"its certificate does not lead to one of the policy's roots: {err}") from err
    except InvalidSignature as err:
        raise InvalidSignatureError("it was changed after it was signed, or signed with another key") from err
    # What a hostile bundle makes of its parsers; all of it means that it proves nothing.
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OpenSslError) as err:
        raise InvalidSignatureError(f"{type(err).__name__}: {err}") from err


def _signed(
    found: manifest.Manifest,
    signer: str,
    bundle: Path,
    root: Path,
    verifier: Any,  # noqa: ANN401  # as above
) -> Signed:
    how = found.serialization_type
    digests = {item.identifier: item.digest for item in found.resource_descriptors()}
    if how["method"] == "files" and all(digest.algorithm == "sha256" for digest in digests.values()):
        return Signed(signer, {name: digest.digest_hex for name, digest in digests.items()}, is_plain=True)
    try:
        _verify_again(how, bundle, root, verifier)
    except (ValueError, LookupError, TypeError, OSError) as err:
        raise InvalidSignatureError(f"the files are not the signed ones: {err}") from err
    shards = how["method"] == "shards"  # `path:start:end`
    return Signed(signer, {name.rsplit(":", 2)[0] if shards else name: "" for name in digests}, is_plain=False)


def _verify_again(how: Mapping[str, Any], bundle: Path, root: Path, verifier: Any) -> None:  # noqa: ANN401  # as above
    """Another digest, or shards of files: only the library can compute them, so it reads the bytes once more."""
    from model_signing import hashing
    from model_signing.verifying import Config

    files = hashing.Config()
    if how["method"] == "shards":
        # 1.1.1 takes the size from JSON as a float, and then cannot verify what it signed itself.
        files.use_shard_serialization(hashing_algorithm=how["hash_type"], shard_size=int(how["shard_size"]))
    else:
        files.use_file_serialization(hashing_algorithm=how["hash_type"])
    config = Config().set_hashing_config(files)
    config._verifier = verifier
    config.verify(root, bundle)
