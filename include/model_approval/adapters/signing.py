"""Ed25519 keys in files: signs with one, verifies against a folder of trusted ones.

Statements are signed as DSSE envelopes (pre-authentication encoding over payload type and payload), so any DSSE
implementation can verify them; securesystemslib does both for us. A key's id is the one securesystemslib and TUF give
it: `sha256(canonical JSON of {"keytype": "ed25519", "keyval": {"public": "<64 hex digits>"}, "scheme": "ed25519"})` in
hexadecimal. It is computed from the public key each time a key is read, never taken from a file's name.

Trust is a folder: a key is trusted while its public half (`<anything>.pem`) lies there. Nothing is cached, so removing
a file ends its trust at once.
"""

from __future__ import annotations

import base64
import binascii
import logging
import os
import secrets
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from model_approval.domain.attestation import PAYLOAD_TYPE, Envelope, Signature
from model_approval.domain.errors import IntegrityError, UntrustedKeyError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from securesystemslib.signer import CryptoSigner, SSlibKey

log = logging.getLogger(__name__)


def create_key(private: Path, trusted: Path) -> str:
    """Make a key pair: the private half readable by its owner alone, the public half into the trusted folder.

    The private file appears whole or not at all, and an existing one is never replaced.

    Returns:
        The key's id; the public half is `<trusted>/<id>.pem`.

    Raises:
        IntegrityError: The private file is there already.
    """
    from securesystemslib.signer import CryptoSigner

    _require_absent(private)
    signer = CryptoSigner.generate_ed25519()
    key_id = signer.public_key.keyid
    trusted.mkdir(parents=True, exist_ok=True)
    private.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    public = trusted / f"{key_id}.pem"
    # Public half first: a crash in between leaves trust in a key nobody holds, not a signer nobody trusts.
    _write_new(public, _public_pem(signer.public_key), mode=0o644)
    try:
        _write_new(private, signer.private_bytes, mode=0o600)
    except IntegrityError:
        public.unlink()
        raise
    return key_id


def _require_absent(path: Path) -> None:
    if path.exists():
        raise IntegrityError(f"the key {path} exists and is never replaced", hint="choose another path for a new key")


def _write_new(path: Path, data: bytes, *, mode: int) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.link(draft, path)  # unlike a rename, a link never replaces what is there
    except FileExistsError:
        _require_absent(path)
        raise
    finally:
        draft.unlink()


def _public_pem(key: SSlibKey) -> bytes:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.keyval["public"]))
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


class FileSigner:
    """Signs with the private key of a file. The file is read at the first use: readers of the log need no key."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def key_id(self) -> str:
        """The id of this signer's key (formula in the module's text)."""
        return str(self._signer.public_key.keyid)

    def sign(self, payload: bytes) -> Envelope:
        """An envelope over the payload.

        Raises:
            IntegrityError: The key's file is missing or holds no Ed25519 private key.
        """
        signature = bytes.fromhex(self._signer.sign(_pre_authentication(payload)).signature)
        return Envelope(
            payload=base64.b64encode(payload).decode(),
            signatures=(Signature(keyid=self.key_id, sig=base64.b64encode(signature).decode()),),
        )

    @cached_property
    def _signer(self) -> CryptoSigner:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from securesystemslib.signer import CryptoSigner

        data = _read(self._path, what="signing key", hint="make one with `model-approval init`")
        if self._path.stat().st_mode & 0o007:
            log.warning("the signing key %s can be used by every account of this machine: chmod 600", self._path)
        try:
            key = serialization.load_pem_private_key(data, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as err:
            raise IntegrityError(f"the signing key {self._path} is not an unencrypted PEM private key") from err
        if not isinstance(key, Ed25519PrivateKey):
            raise IntegrityError(f"the signing key {self._path} is not an Ed25519 key")
        return CryptoSigner(key)


class TrustedKeys:
    """Verifies envelopes against the public keys of a folder, or against one public key."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def key_ids(self) -> frozenset[str]:
        """The ids of all keys trusted now."""
        return frozenset(self._keys())

    def verify(self, envelope: Envelope) -> bytes:
        """The payload, if at least one signature in the envelope is a trusted key's and is right.

        Raises:
            UntrustedKeyError: No signature names a trusted key.
            IntegrityError: A trusted key is named but the signature is not its own, or the envelope is malformed.
        """
        from securesystemslib.exceptions import UnverifiedSignatureError
        from securesystemslib.signer import Signature as KeySignature

        if envelope.payloadType != PAYLOAD_TYPE:
            raise IntegrityError(f"the envelope's payload type is {envelope.payloadType!r}, expected {PAYLOAD_TYPE!r}")
        payload, keys = _decoded(envelope.payload, what="payload"), self._keys()
        named = [signature for signature in envelope.signatures if signature.keyid in keys]
        for signature in named:
            raw = _decoded(signature.sig, what="signature").hex()
            try:
                keys[signature.keyid].verify_signature(KeySignature(signature.keyid, raw), _pre_authentication(payload))
            except UnverifiedSignatureError:
                continue
            return payload
        raise self._refusal(envelope, named)

    def _refusal(self, envelope: Envelope, named: list[Signature]) -> IntegrityError:
        if named:
            return IntegrityError(
                f"the signature said to be by key {named[0].keyid} does not fit the payload",
                hint="the content or the signature was changed after signing",
            )
        found = ", ".join(signature.keyid for signature in envelope.signatures)
        trusted = ", ".join(sorted(self.key_ids())) or "none"
        return UntrustedKeyError(
            f"signed by key {found}; trusted in {self._place}: {trusted}",
            hint="if that key is one of ours, put its public half into the folder",
        )

    def _keys(self) -> dict[str, SSlibKey]:
        from securesystemslib.signer import SSlibKey

        if not self._place.exists():
            raise IntegrityError(f"the trusted keys {self._place} do not exist", hint="run `model-approval init`")
        paths = sorted(self._place.glob("*.pem")) if self._place.is_dir() else [self._place]
        keys = (SSlibKey.from_crypto(_public_key(path)) for path in paths)
        return {key.keyid: key for key in keys}


def _pre_authentication(payload: bytes) -> bytes:
    from securesystemslib.dsse import Envelope as DsseEnvelope

    return DsseEnvelope(payload, PAYLOAD_TYPE, {}).pae()


def _public_key(path: Path) -> Ed25519PublicKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = serialization.load_pem_public_key(_read(path, what="trusted key", hint=""))
    except (ValueError, UnsupportedAlgorithm) as err:
        raise IntegrityError(f"the trusted key {path} is not a PEM public key", hint="mend or remove it") from err
    if not isinstance(key, Ed25519PublicKey):
        raise IntegrityError(f"the trusted key {path} is not an Ed25519 key", hint="remove it")
    return key


def _read(path: Path, *, what: str, hint: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as err:
        raise IntegrityError(f"the {what} {path} cannot be read: {err.strerror}", hint=hint) from err


def _decoded(text: str, *, what: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as err:
        raise IntegrityError(f"the envelope's {what} is not base64") from err
    # Python ignores the last character's spare bits: several texts would stand for the same bytes.
    if base64.b64encode(data).decode() != text:
        raise IntegrityError(f"the envelope's {what} is not canonical base64")
    return data
