"""The model's own signature, made by the real library and verified by the real validator in its confinement."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from model_approval.domain.errors import EvidenceError
from model_approval.domain.evidence import Evidence
from model_approval.domain.manifest import manifest_of_folder
from tests.support.models import write_folder
from tests.support.signed_models import Keys, Pki, make_keys, make_pki, sign
from tests.support.validation import RUNNER, a_validator_input

pytestmark = [pytest.mark.contract, pytest.mark.proof]

FILES = {"config.json": b'{"layers": 2}', "weights/a.txt": b"first", "weights/b.txt": b"second"}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def signed(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_folder(tmp_path_factory.mktemp("signed") / "model", FILES)
    sign(folder, keys)
    return folder


@pytest.fixture
def model(signed: Path, tmp_path: Path) -> Path:
    """A copy of the signed model, to be tampered with."""
    return Path(shutil.copytree(signed, tmp_path / "model"))


def scan(model: Path, **signature: Any) -> Evidence:
    given = a_validator_input(manifest_of_folder(model), parameters={"signature": signature})
    return RUNNER.run_on_folder(given, "security_scan", model, champion=None, timeout_s=120)


def rules(evidence: Evidence) -> list[tuple[str, str]]:
    return [(finding.rule, finding.severity) for finding in evidence.findings]


INVALID, UNKNOWN = [("signature.invalid", "critical")], [("signature.unknown-signer", "high")]


def test_a_signature_by_a_named_key_is_verified_and_its_signer_is_in_the_evidence(model, keys):
    evidence = scan(model, required=True, keys=[keys.public])
    assert rules(evidence) == []
    assert re.fullmatch(r"verified: key sha256:[0-9a-f]{64}; 3 of 3 files", evidence.environment["signature"])
    assert evidence.environment["confinement.seccomp"].startswith("in force")


def test_an_accepted_forgery_is_not_the_acceptance_of_the_next(model, keys):
    (model / "weights/a.txt").write_bytes(b"First")
    first = scan(model, keys=[keys.public]).findings
    (model / "weights/a.txt").write_bytes(b"Second")
    second = scan(model, keys=[keys.public]).findings
    assert [one.rule for one in (*first, *second)] == ["signature.invalid"] * 2
    assert first[0].fingerprint != second[0].fingerprint


def test_one_of_several_keys_is_enough(model, keys, tmp_path):
    other = make_keys(tmp_path, "other")
    assert rules(scan(model, keys=[other.public, keys.public])) == []


def test_a_signature_by_another_key_is_refused(model, tmp_path):
    evidence = scan(model, keys=[make_keys(tmp_path, "other").public])
    assert rules(evidence) == UNKNOWN
    assert "none of the policy's keys" in evidence.findings[0].message


def test_a_changed_file_is_refused_by_name(model, keys):
    (model / "weights/a.txt").write_bytes(b"First")
    evidence = scan(model, keys=[keys.public])
    assert rules(evidence) == INVALID
    assert "weights/a.txt has other bytes" in evidence.findings[0].message


def test_a_removed_file_is_refused_by_name(model, keys):
    (model / "weights/a.txt").unlink()
    evidence = scan(model, keys=[keys.public])
    assert rules(evidence) == INVALID
    assert "weights/a.txt is missing" in evidence.findings[0].message


def test_an_added_file_is_refused_by_name(model, keys):
    (model / "more.txt").write_bytes(b"more")
    evidence = scan(model, keys=[keys.public])
    assert [(f.rule, f.file) for f in evidence.findings] == [("signature.unsigned-file", "more.txt")]


def test_files_that_swapped_names_are_refused(model, keys):
    first, second = model / "weights/a.txt", model / "weights/b.txt"
    first.rename(model / "c")
    second.rename(first)
    (model / "c").rename(second)
    assert rules(scan(model, keys=[keys.public])) == INVALID


def test_renamed_files_are_refused_although_the_library_s_root_digest_stays_the_same(model, keys):
    before, digest_before = root_digest(model), manifest_of_folder(model).artifact_digest
    (model / "weights/a.txt").rename(model / "weights/aa.txt")
    assert root_digest(model) == before
    assert manifest_of_folder(model).artifact_digest != digest_before
    evidence = scan(model, keys=[keys.public])
    assert sorted(rules(evidence)) == [("signature.invalid", "critical"), ("signature.unsigned-file", "high")]


def root_digest(model: Path) -> str:
    """As the statement's subject has it: the digests of the files by order of name, without the names."""
    files = [entry for entry in manifest_of_folder(model).files if entry.path != "model.sig"]
    found = hashlib.sha256(b"".join(bytes.fromhex(entry.sha256) for entry in files)).hexdigest()
    signed = statement(model)["subject"][0]["digest"]["sha256"]
    assert found == signed
    return found


def statement(model: Path) -> dict[str, Any]:
    bundle = json.loads((model / "model.sig").read_bytes())
    return dict(json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"])))


def test_the_bundle_of_another_model_by_the_same_signer_is_refused(model, keys, tmp_path):
    other = write_folder(tmp_path / "other", {"config.json": b"{}"})
    sign(other, keys)
    shutil.copy(other / "model.sig", model / "model.sig")
    assert ("signature.invalid", "critical") in rules(scan(model, keys=[keys.public]))


def test_a_statement_that_was_changed_after_signing_is_refused(model, keys):
    (model / "weights/a.txt").write_bytes(b"First")
    changed = statement(model)
    for resource in changed["predicate"]["resources"]:
        if resource["name"] == "weights/a.txt":
            resource["digest"] = hashlib.sha256(b"First").hexdigest()
    bundle = json.loads((model / "model.sig").read_bytes())
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(changed).encode()).decode()
    (model / "model.sig").write_text(json.dumps(bundle))
    assert rules(scan(model, keys=[keys.public])) == INVALID


@pytest.mark.parametrize(
    "change",
    [
        lambda bundle: bundle.update(mediaType="application/vnd.dev.sigstore.bundle.v0.2+json"),
        lambda bundle: bundle["dsseEnvelope"].update(signatures=[]),
        lambda bundle: bundle["dsseEnvelope"].update(signatures=bundle["dsseEnvelope"]["signatures"] * 2),
        lambda bundle: bundle["dsseEnvelope"].update(payloadType="text/plain"),
        lambda bundle: bundle.update(verificationMaterial={}),
        lambda bundle: bundle.pop("dsseEnvelope"),
    ],
    ids=["older bundle", "no signature", "two signatures", "other payload", "no material", "no envelope"],
)
def test_a_bundle_of_another_shape_is_refused(model, keys, change):
    bundle = json.loads((model / "model.sig").read_bytes())
    change(bundle)
    (model / "model.sig").write_text(json.dumps(bundle))
    assert rules(scan(model, keys=[keys.public])) == INVALID


def test_files_of_the_repository_that_signing_leaves_out_are_named(model, keys):
    (model / ".gitattributes").write_bytes(b"* text=auto\n")
    evidence = scan(model, keys=[keys.public])
    assert [(f.rule, f.file) for f in evidence.findings] == [("signature.ignored-file", ".gitattributes")]
    assert "left out: .gitattributes" in evidence.environment["signature"]


@pytest.mark.parametrize(("algorithm", "method"), [("blake3", "files"), ("sha256", "shards")])
def test_other_ways_of_digesting_are_verified_and_notice_a_change(keys, tmp_path, algorithm, method):
    model = write_folder(tmp_path / "model", FILES)
    sign(model, keys, algorithm=algorithm, method=method)
    assert rules(scan(model, keys=[keys.public])) == []
    (model / "weights/a.txt").write_bytes(b"First")
    assert rules(scan(model, keys=[keys.public])) == INVALID


def test_an_unsigned_model_is_a_finding_only_where_a_signature_is_required(tmp_path, keys):
    model = write_folder(tmp_path / "model", FILES)
    assert rules(scan(model, keys=[keys.public])) == []
    assert rules(scan(model, keys=[keys.public], required=True)) == [("signature.missing", "high")]


def test_a_signature_that_nobody_asked_about_is_only_mentioned(model):
    assert rules(scan(model)) == [("signature.unchecked", "info")]


SIGNERS = [{"identity": "models@example.org", "issuer": "Model CA"}]


def signed_by(pki: Pki, folder: Path) -> Path:
    model = write_folder(folder / "model", FILES)
    sign(model, pki.keys, certificate=pki.certificate_file, chain=pki.chain or (folder / "root.pem",))
    return model


def test_a_certificate_of_a_named_signer_below_a_named_root_is_verified(tmp_path):
    pki = make_pki(tmp_path)
    evidence = scan(signed_by(pki, tmp_path), roots=[pki.root], signers=SIGNERS)
    assert rules(evidence) == []
    assert evidence.environment["signature"].startswith("verified: models@example.org, issued by Model CA")


def test_a_chain_over_an_authority_in_between_is_verified(tmp_path):
    pki = make_pki(tmp_path, between=x509.BasicConstraints(True, 0))
    assert rules(scan(signed_by(pki, tmp_path), roots=[pki.root], signers=SIGNERS)) == []


def test_a_certificate_that_was_issued_by_no_authority_is_refused(tmp_path):
    pki = make_pki(tmp_path, between=x509.BasicConstraints(False, None))
    assert rules(scan(signed_by(pki, tmp_path), roots=[pki.root], signers=SIGNERS)) == UNKNOWN


@pytest.mark.parametrize(
    "signer", [{"identity": "boss@example.org", "issuer": "Model CA"}, {**SIGNERS[0], "issuer": "Other CA"}]
)
def test_a_certificate_of_somebody_else_below_the_same_root_is_refused(tmp_path, signer):
    pki = make_pki(tmp_path)
    evidence = scan(signed_by(pki, tmp_path), roots=[pki.root], signers=[signer])
    assert rules(evidence) == UNKNOWN
    assert "made by models@example.org, issued by Model CA" in evidence.findings[0].message


def test_a_root_that_only_calls_itself_like_the_named_one_is_refused(tmp_path):
    (tmp_path / "evil").mkdir()
    pki, evil = make_pki(tmp_path), make_pki(tmp_path / "evil")  # the same names, another key
    assert rules(scan(signed_by(evil, tmp_path / "evil"), roots=[pki.root], signers=SIGNERS)) == UNKNOWN


@pytest.mark.parametrize(("named", "other"), [("a", "b"), ("b", "a")])
@pytest.mark.parametrize("level", ["verificationMaterial", "x509CertificateChain"])
def test_a_bundle_that_shows_one_certificate_and_proves_by_another_is_refused(tmp_path, level, named, other):
    folders = {name: tmp_path / name for name in "ab"}
    for folder in folders.values():
        folder.mkdir()
    trusted = make_pki(folders["a"], identity="evil@example.org")
    model = signed_by(trusted, folders["a"])
    shown = signed_by(make_pki(folders["b"]), folders["b"])  # the identity that the policy names, of another PKI
    bundles = {name: json.loads((path / "model.sig").read_bytes()) for name, path in (("a", model), ("b", shown))}
    forged = json.loads(json.dumps(bundles["a"]))
    target = forged if level == "verificationMaterial" else forged["verificationMaterial"]
    source = {name: one if target is forged else one["verificationMaterial"] for name, one in bundles.items()}
    snake = {"verificationMaterial": "verification_material", "x509CertificateChain": "x509_certificate_chain"}[level]
    target[level], target[snake] = source[named][level], source[other][level]
    (model / "model.sig").write_text(json.dumps(forged))
    assert rules(scan(model, roots=[trusted.root], signers=SIGNERS)) in (INVALID, UNKNOWN)


def test_a_certificate_does_not_count_where_the_policy_names_keys_alone(tmp_path, keys):
    assert rules(scan(signed_by(make_pki(tmp_path), tmp_path), keys=[keys.public])) == UNKNOWN


@pytest.mark.parametrize(
    ("signature", "words"),
    [
        ({"required": True}, "a required signature needs keys"),
        ({"roots": ["-----BEGIN CERTIFICATE-----\n"]}, "give both roots and signers"),
        ({"keys": ["nonsense"]}, "signature.keys.0"),
        ({"kyes": []}, "signature.kyes"),
    ],
)
def test_parameters_that_cannot_be_meant_are_named(model, signature, words):
    with pytest.raises(EvidenceError, match=words):
        scan(model, **signature)
