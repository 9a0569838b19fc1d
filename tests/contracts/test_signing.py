"""Signatures: key files and memory keys keep the same promises, and strangers' software can verify us."""

from __future__ import annotations

import base64
import hashlib
import json
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from securesystemslib.dsse import Envelope as DsseEnvelope
from securesystemslib.signer import SSlibKey

from model_approval.adapters.memory.signing import MemorySigner, MemoryTrustedKeys
from model_approval.adapters.signing import FileSigner, TrustedKeys, create_key
from model_approval.domain.attestation import Envelope, Signature
from model_approval.domain.errors import IntegrityError, UntrustedKeyError
from model_approval.ports import Signer, Verifier

pytestmark = [pytest.mark.contract, pytest.mark.proof]

PAYLOAD = b'{"outcome":"approved"}'


@pytest.fixture(params=["memory", "files"])
def pair(request, tmp_path) -> tuple[Signer, Verifier]:
    """A signer, and a verifier that trusts it and another key."""
    if request.param == "memory":
        signer = MemorySigner()
        return signer, MemoryTrustedKeys(signer, MemorySigner())
    trusted = tmp_path / "trusted"
    create_key(tmp_path / "other.pem", trusted)
    create_key(tmp_path / "signing.pem", trusted)
    return FileSigner(tmp_path / "signing.pem"), TrustedKeys(trusted)


def changed(envelope: Envelope, **fields: object) -> Envelope:
    return envelope.model_copy(update=fields)


def with_signature(envelope: Envelope, sig: str) -> Envelope:
    return changed(envelope, signatures=(Signature(keyid=envelope.signatures[0].keyid, sig=sig),))


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_what_was_signed_comes_back(pair):
    signer, verifier = pair
    assert verifier.verify(signer.sign(PAYLOAD)) == PAYLOAD


def test_the_same_payload_has_the_same_signature(pair):
    signer, _ = pair
    assert signer.sign(PAYLOAD) == signer.sign(PAYLOAD)


def test_an_envelope_names_the_key_that_signed_it(pair):
    signer, _ = pair
    assert [signature.keyid for signature in signer.sign(PAYLOAD).signatures] == [signer.key_id]


def test_a_changed_payload_is_refused_naming_the_key(pair):
    signer, verifier = pair
    with pytest.raises(IntegrityError, match=f"by key {signer.key_id} does not fit the payload") as caught:
        verifier.verify(changed(signer.sign(PAYLOAD), payload=b64(b'{"outcome":"rejected"}')))
    assert not isinstance(caught.value, UntrustedKeyError)


def test_a_signature_of_another_payload_is_refused(pair):
    signer, verifier = pair
    with pytest.raises(IntegrityError, match="does not fit the payload"):
        verifier.verify(with_signature(signer.sign(PAYLOAD), signer.sign(b"something else").signatures[0].sig))


@pytest.mark.parametrize("sig", ["", b64(b"short"), b64(bytes(64)), b64(bytes(65))])
def test_what_is_no_signature_is_refused(pair, sig):
    signer, verifier = pair
    with pytest.raises(IntegrityError):
        verifier.verify(with_signature(signer.sign(PAYLOAD), sig))


def test_a_key_that_is_not_trusted_is_refused_naming_it_and_the_trusted_ones(pair):
    signer, verifier = pair
    stranger = MemorySigner()
    with pytest.raises(UntrustedKeyError, match=f"signed by key {stranger.key_id}; trusted in .*{signer.key_id}"):
        verifier.verify(stranger.sign(PAYLOAD))


def test_a_stranger_in_the_name_of_a_trusted_key_is_refused(pair):
    signer, verifier = pair
    with pytest.raises(IntegrityError, match="does not fit the payload"):
        verifier.verify(with_signature(signer.sign(PAYLOAD), MemorySigner().sign(PAYLOAD).signatures[0].sig))


def test_one_trusted_signature_among_strangers_is_enough(pair):
    signer, verifier = pair
    both = (*MemorySigner().sign(PAYLOAD).signatures, *signer.sign(PAYLOAD).signatures)
    assert verifier.verify(changed(signer.sign(PAYLOAD), signatures=both)) == PAYLOAD


def test_another_payload_type_is_refused(pair):
    signer, verifier = pair
    with pytest.raises(IntegrityError, match=r"payload type is 'text/plain'|does not fit"):
        verifier.verify(changed(signer.sign(PAYLOAD), payloadType="text/plain"))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text + "\n",
        lambda text: text.rstrip("="),
        lambda text: text + "*",
        lambda text: text[:-3] + chr(ord(text[-3]) + 1) + "==",  # the same bytes, other spare bits
    ],
    ids=["newline", "padding", "alphabet", "spare-bits"],
)
def test_base64_is_taken_in_one_spelling_only(pair, spoil):
    signer, verifier = pair
    envelope = signer.sign(PAYLOAD)
    with pytest.raises(IntegrityError, match=r"canonical base64|not base64"):
        verifier.verify(with_signature(envelope, spoil(envelope.signatures[0].sig)))


# ------------------------------------------------------------------------------------------------------------ strangers


def test_securesystemslib_alone_verifies_an_envelope_of_ours(tmp_path):
    key_id = create_key(tmp_path / "signing.pem", tmp_path / "trusted")
    text = json.dumps(FileSigner(tmp_path / "signing.pem").sign(PAYLOAD).model_dump(mode="json"))
    public = serialization.load_pem_public_key((tmp_path / "trusted" / f"{key_id}.pem").read_bytes())
    key = SSlibKey.from_crypto(public)
    assert list(DsseEnvelope.from_dict(json.loads(text)).verify([key], threshold=1)) == [key_id]


def test_an_envelope_made_by_securesystemslib_is_ours_to_verify(tmp_path):
    signer = MemorySigner()
    (tmp_path / "theirs.pem").write_bytes(_public_pem(signer))
    assert TrustedKeys(tmp_path).verify(signer.sign(PAYLOAD)) == PAYLOAD


def test_the_key_id_is_the_documented_hash_of_the_public_key(tmp_path):
    key_id = create_key(tmp_path / "signing.pem", tmp_path / "trusted")
    public = serialization.load_pem_public_key((tmp_path / "trusted" / f"{key_id}.pem").read_bytes())
    raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw).hex()
    text = f'{{"keytype":"ed25519","keyval":{{"public":"{raw}"}},"scheme":"ed25519"}}'
    assert key_id == hashlib.sha256(text.encode()).hexdigest() == FileSigner(tmp_path / "signing.pem").key_id


# ------------------------------------------------------------------------------------------------------------ key files


def test_a_new_private_key_is_readable_by_its_owner_alone(tmp_path):
    create_key(tmp_path / "keys" / "signing.pem", tmp_path / "keys" / "trusted")
    assert stat.S_IMODE((tmp_path / "keys" / "signing.pem").stat().st_mode) == 0o600


def test_a_key_is_never_overwritten(tmp_path):
    create_key(tmp_path / "signing.pem", tmp_path / "trusted")
    before = (tmp_path / "signing.pem").read_bytes()
    with pytest.raises(IntegrityError, match=r"signing\.pem exists and is never replaced"):
        create_key(tmp_path / "signing.pem", tmp_path / "trusted")
    assert (tmp_path / "signing.pem").read_bytes() == before
    assert len(list((tmp_path / "trusted").iterdir())) == 1


def test_of_many_that_make_the_same_key_one_wins_and_only_its_key_is_trusted(tmp_path):
    def make(_: int) -> str | None:
        try:
            return create_key(tmp_path / "signing.pem", tmp_path / "trusted")
        except IntegrityError:
            return None

    with ThreadPoolExecutor(8) as makers:
        made = [key_id for key_id in makers.map(make, range(8)) if key_id]
    assert made == [FileSigner(tmp_path / "signing.pem").key_id]
    assert TrustedKeys(tmp_path / "trusted").key_ids() == frozenset(made)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["signing.pem", "trusted"]


def test_a_key_is_recognised_by_its_content_not_its_file_name(tmp_path):
    key_id = create_key(tmp_path / "signing.pem", tmp_path / "trusted")
    other = create_key(tmp_path / "other.pem", tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / f"{other}.pem").rename(tmp_path / "trusted" / f"{key_id}.pem")
    with pytest.raises(UntrustedKeyError):
        TrustedKeys(tmp_path / "trusted").verify(FileSigner(tmp_path / "signing.pem").sign(PAYLOAD))


def test_trust_ends_when_the_public_key_is_removed(tmp_path):
    key_id = create_key(tmp_path / "signing.pem", tmp_path / "trusted")
    envelope, trust = FileSigner(tmp_path / "signing.pem").sign(PAYLOAD), TrustedKeys(tmp_path / "trusted")
    assert trust.verify(envelope) == PAYLOAD
    (tmp_path / "trusted" / f"{key_id}.pem").unlink()
    with pytest.raises(UntrustedKeyError, match=r"trusted in .*: none"):
        trust.verify(envelope)


def test_a_missing_signing_key_says_how_to_make_one(tmp_path):
    signer = FileSigner(tmp_path / "signing.pem")  # reading the log needs no key
    with pytest.raises(IntegrityError, match=r"signing\.pem cannot be read.*model-approval init"):
        signer.sign(PAYLOAD)


def test_a_missing_folder_of_trusted_keys_says_how_to_make_one(tmp_path):
    with pytest.raises(IntegrityError, match=r"trusted do not exist.*model-approval init"):
        TrustedKeys(tmp_path / "trusted").verify(MemorySigner().sign(PAYLOAD))


@pytest.mark.parametrize("content", [b"", b"no key at all"])
def test_a_signing_key_that_is_none_is_named(tmp_path, content):
    (tmp_path / "signing.pem").write_bytes(content)
    (tmp_path / "signing.pem").chmod(0o600)
    with pytest.raises(IntegrityError, match=r"signing\.pem is not an unencrypted PEM private key"):
        FileSigner(tmp_path / "signing.pem").sign(PAYLOAD)


def test_a_key_of_another_kind_is_named(tmp_path):
    elliptic = generate_private_key(SECP256R1())
    private = elliptic.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = elliptic.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (tmp_path / "signing.pem").write_bytes(private)
    (tmp_path / "trusted.pem").write_bytes(public)
    with pytest.raises(IntegrityError, match=r"signing\.pem is not an Ed25519 key"):
        FileSigner(tmp_path / "signing.pem").sign(PAYLOAD)
    with pytest.raises(IntegrityError, match="is not a PEM public key"):
        TrustedKeys(tmp_path).key_ids()
    (tmp_path / "signing.pem").unlink()
    with pytest.raises(IntegrityError, match=r"trusted\.pem is not an Ed25519 key"):
        TrustedKeys(tmp_path).key_ids()


def test_a_signing_key_open_to_everybody_is_warned_of(tmp_path, caplog):
    create_key(tmp_path / "signing.pem", tmp_path / "trusted")
    (tmp_path / "signing.pem").chmod(0o644)
    FileSigner(tmp_path / "signing.pem").sign(PAYLOAD)
    assert "can be used by every account" in caplog.text


def _public_pem(signer: MemorySigner) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    raw = bytes.fromhex(signer.key.public_key.keyval["public"])
    return Ed25519PublicKey.from_public_bytes(raw).public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def test_one_public_key_can_be_trusted_without_a_folder(tmp_path):
    key_id = create_key(tmp_path / "private.pem", tmp_path / "trusted")
    envelope = FileSigner(tmp_path / "private.pem").sign(b"{}")

    assert TrustedKeys(tmp_path / "trusted" / f"{key_id}.pem").verify(envelope) == b"{}"
