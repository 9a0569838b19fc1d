"""Keys that live and die with a test: real Ed25519 signatures, no file.

The envelope is made and checked by securesystemslib's own DSSE class, the real adapter builds it from parts: the
contract tests hold the two against each other.
"""

from __future__ import annotations

from model_approval.domain.attestation import PAYLOAD_TYPE, Envelope, Signature
from model_approval.domain.errors import IntegrityError, UntrustedKeyError


class MemorySigner:
    """Signs with a key made on the spot."""

    def __init__(self) -> None:
        from securesystemslib.signer import CryptoSigner

        self.key = CryptoSigner.generate_ed25519()

    @property
    def key_id(self) -> str:
        """The id securesystemslib gives the key."""
        return str(self.key.public_key.keyid)

    def sign(self, payload: bytes) -> Envelope:
        """An envelope over the payload."""
        from securesystemslib.dsse import Envelope as DsseEnvelope

        sealed = DsseEnvelope(payload, PAYLOAD_TYPE, {})
        sealed.sign(self.key)
        plain = sealed.to_dict()
        signatures = tuple(Signature(keyid=item["keyid"], sig=item["sig"]) for item in plain["signatures"])
        return Envelope(payload=plain["payload"], signatures=signatures)


class MemoryTrustedKeys:
    """Trusts the signers it was given."""

    def __init__(self, *signers: MemorySigner) -> None:
        self._keys = {signer.key_id: signer.key.public_key for signer in signers}

    def verify(self, envelope: Envelope) -> bytes:
        """The payload, if a trusted signer signed it.

        Raises:
            UntrustedKeyError: No signature names a trusted signer.
            IntegrityError: The signature is not the named signer's, or the envelope is malformed.
        """
        from securesystemslib.dsse import Envelope as DsseEnvelope
        from securesystemslib.exceptions import VerificationError

        try:
            sealed = DsseEnvelope.from_dict(envelope.model_dump(mode="json"))
        except ValueError as err:
            raise IntegrityError(f"the envelope is not canonical base64, or names a key twice: {err}") from err
        if sealed.to_dict() != envelope.model_dump(mode="json"):
            raise IntegrityError("the envelope is not canonical base64")
        if sealed.payload_type != PAYLOAD_TYPE:
            raise IntegrityError(f"the envelope's payload type is {sealed.payload_type!r}, expected {PAYLOAD_TYPE!r}")
        if not sealed.signatures.keys() & self._keys.keys():
            found, trusted = ", ".join(sealed.signatures), ", ".join(sorted(self._keys)) or "none"
            raise UntrustedKeyError(f"signed by key {found}; trusted in memory: {trusted}")
        try:
            sealed.verify(list(self._keys.values()), threshold=1)
        except VerificationError as err:
            named = next(iter(sealed.signatures.keys() & self._keys.keys()))
            raise IntegrityError(f"the signature said to be by key {named} does not fit the payload") from err
        return bytes(sealed.payload)
