"""The model's own signature: made by whom the policy names, and over exactly the files that are here.

A root digest of model-signing leaves names out, so two trees with the same bytes under other names share it. Names
and digests are therefore compared with our manifest one by one.
"""

from __future__ import annotations

from pathlib import Path

from model_approval.domain.evidence import Severity
from model_approval.domain.manifest import ArtifactManifest
from model_approval.validators.contract import plain_line
from model_approval.validators.security_scan.scan import Rule
from model_approval.validators.supply_chain.bundle import (
    InvalidSignatureError,
    Signed,
    UnknownSignerError,
    verify_bundle,
)
from model_approval.validators.supply_chain.inspection import Inspection, some

SIGNATURE_FILE = "model.sig"
_SIGN_ANEW = "fetch the model anew from its publisher; if they changed it, have them sign it again"
_INVALID = Rule("signature.invalid", Severity.CRITICAL, _SIGN_ANEW)
_UNKNOWN = Rule(
    "signature.unknown-signer", Severity.HIGH, "have one of the named signers sign it, or add the signer to the policy"
)
_MISSING = Rule("signature.missing", Severity.HIGH, "sign the model, and register it with its model.sig")
_UNCHECKED = Rule("signature.unchecked", Severity.INFO, "name the signer's key in the check's parameters")
_UNSIGNED = Rule("signature.unsigned-file", Severity.HIGH, "remove the file, or sign the model anew with it")
_BOOKKEEPING = Rule("signature.ignored-file", Severity.LOW, "remove what belongs to the repository, not to the model")


def check_signature(inspection: Inspection) -> None:
    """Verify `model.sig`, where there is one or one is required; record findings, and the signer in the evidence."""
    rules, manifest = inspection.parameters.signature, inspection.task.input.manifest
    if manifest.file(SIGNATURE_FILE) is None:
        if rules.required:
            inspection.report(_MISSING, "the policy requires a signature, and the model has none", file=SIGNATURE_FILE)
        inspection.environment["signature"] = "none"
        return
    if not rules.names_signers:
        message = "the model is signed, and the check names nobody whose signature would count"
        inspection.report(_UNCHECKED, message, file=SIGNATURE_FILE)
        inspection.environment["signature"] = "not checked"
        return
    try:
        path = inspection.path_of(SIGNATURE_FILE)
        signed = verify_bundle(path, inspection.task.artifact_path, rules, Path(inspection.task.scratch))
    except UnknownSignerError as why:
        _refuse(inspection, _UNKNOWN, f"the signature does not count: {why}")
        inspection.environment["signature"] = "unknown signer"
    except InvalidSignatureError as why:
        _refuse(inspection, _INVALID, f"the signature does not hold: {why}")
        inspection.environment["signature"] = "invalid"
    else:
        _compare(inspection, signed, manifest)


def _refuse(inspection: Inspection, rule: Rule, message: str) -> None:
    # The subject is these bytes: somebody may accept them, and has then not accepted the next forged signature.
    inspection.report(rule, message, file=SIGNATURE_FILE, subject=inspection.task.input.manifest.artifact_digest)


def _compare(inspection: Inspection, signed: Signed, manifest: ArtifactManifest) -> None:
    pinned = {entry.path: entry.sha256 for entry in manifest.files if entry.path != SIGNATURE_FILE}
    wrong = [f"{path} is missing" for path in sorted(signed.files.keys() - pinned.keys())]
    if signed.is_plain:
        both = sorted(signed.files.keys() & pinned.keys())
        wrong += [f"{path} has other bytes" for path in both if signed.files[path] != pinned[path]]
    if wrong:
        _refuse(inspection, _INVALID, f"the files are not the signed ones: {some(wrong)}")
    unsigned = sorted(pinned.keys() - signed.files.keys())
    for path in unsigned:
        rule = _BOOKKEEPING if path.split("/")[0] in (".git", ".gitattributes", ".github", ".gitignore") else _UNSIGNED
        inspection.report(rule, "the signature leaves this file out", file=path)
    verdict = "invalid" if wrong else "verified"
    left_out = f"; left out: {some(unsigned)}" if unsigned else ""
    words = f"{verdict}: {signed.signer}; {len(signed.files)} of {len(pinned)} files{left_out}"
    inspection.environment["signature"] = plain_line(words, limit=500)
